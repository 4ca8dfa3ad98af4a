"""Workers of a crew that live in this process, answer in any order, and die when they are told to."""

import random
from collections.abc import Callable
from typing import Any

from featcache.extraction.cluster.crew import Answer


class FakeWorkers:
    """Workers that answer one call in each turn, a random one of those on the way.

    Parameters
    ----------
    count, in_flight
        How many there are, and how many calls each takes.
    work
        Method and argument to the value; it may raise `FeatcacheError`, or `Death` of the worker.
    seed
        Of the order of answers.
    """

    def __init__(self, count: int, work: Callable[[str, Any], Any], *, in_flight: int = 2, seed: int = 0):
        self.count, self.in_flight, self.work = count, in_flight, work
        self.draw = random.Random(seed)
        self.calls: list[list[tuple[int, str, Any]]] = [[] for _ in range(count)]
        self.tickets, self.most, self.lives = 0, 0, [1] * count
        self.sent: list[tuple[int, str, Any]] = []

    def send(self, worker: int, method: str, argument: Any) -> int:
        self.tickets += 1
        self.calls[worker].append((self.tickets, method, argument))
        self.sent.append((worker, method, argument))
        self.most = max(self.most, len(self.calls[worker]))
        return self.tickets

    def answers(self, timeout: float) -> list[Answer]:
        busy = [worker for worker, calls in enumerate(self.calls) if calls]
        if not busy:
            return []
        worker = self.draw.choice(busy)
        ticket, method, argument = self.calls[worker].pop(self.draw.randrange(len(self.calls[worker])))
        try:
            return [Answer(worker, ticket, self.work(method, argument))]
        except Death as death:
            return [Answer(worker, death=str(death))]
        except Exception as error:
            return [Answer(worker, ticket, error=error)]

    def replace(self, worker: int) -> None:
        self.calls[worker] = []
        self.lives[worker] += 1

    def name(self, worker: int) -> str:
        return f"actor {worker + 1} on node-{worker}"


class Death(BaseException):
    """The worker's process ends; the text says how."""
