"""Hand out work to workers that may die: blocks in any order, given again when lost, a bounded number on the way.

Nothing here knows of Ray: workers are whatever satisfies `Workers`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from featcache.errors import FeatcacheError

LONE_DEATHS = 2
"""A batch that ends its worker this often while nothing else runs there is not tried again."""

SUSPECT = 2
"""A block that was being computed in this many workers when they died is computed alone from then on."""

HEARTBEAT_S = 0.5

Rows = Sequence[int]


class Answer(NamedTuple):
    """What came from a worker: the value of a call, the error that it raised, or the news that the worker is dead."""

    worker: int
    ticket: int = -1
    value: Any = None
    error: FeatcacheError | None = None
    death: str | None = None


class Workers(Protocol):
    """Processes that are numbered from 0 and called by the names of methods."""

    count: int
    in_flight: int
    """Calls that a worker is sent before it has answered one."""

    def send(self, worker: int, method: str, argument: Any) -> int:
        """Call a method; returns the call's number, which its answer carries."""
        ...

    def answers(self, timeout: float) -> list[Answer]:
        """Wait for answers, at most `timeout` seconds. Of a dead worker comes one, without the number of a call."""
        ...

    def replace(self, worker: int) -> None:
        """Start another process in the place of a dead one."""
        ...

    def name(self, worker: int) -> str:
        """Return a worker's name for messages."""
        ...


@dataclass(frozen=True)
class Step:
    """A call that each worker answers before it is given rows, and a function that refuses a wrong answer."""

    method: str
    argument: Any
    check: Callable[[int, Any], None]


class Done(NamedTuple):
    """What a worker made of some rows."""

    worker: int
    rows: Rows
    value: Any


@dataclass
class _Job:
    rows: Rows
    deaths: int = 0
    alone: bool = False


@dataclass
class _Queue:
    """Blocks to hand out: those that were lost, then fresh ones."""

    fresh: Iterator[Rows]
    smallest: int
    again: deque[_Job] = field(default_factory=deque)
    hopeless: list[Rows] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._upcoming = next(self.fresh, None)

    def __bool__(self) -> bool:
        return bool(self.again) or self._upcoming is not None

    def take(self, *, idle: bool) -> _Job | None:
        """Return what a worker is given next; only an idle one is given a block that is to be alone."""
        for job in self.again:
            if idle or not job.alone:
                self.again.remove(job)
                return job
        rows, self._upcoming = self._upcoming, next(self.fresh, None)
        return None if rows is None else _Job(rows)

    def lost(self, job: _Job) -> None:
        """Take back a block whose worker died: to be tried again, alone, in halves, or not at all."""
        job.deaths += 1
        if not job.alone:
            suspect = job.deaths >= SUSPECT
            self.again.append(_Job(job.rows, 0 if suspect else job.deaths, alone=suspect))
        elif len(job.rows) > self.smallest:
            half = -(-len(job.rows) // (2 * self.smallest)) * self.smallest
            self.again += [_Job(part, 0, True) for part in (job.rows[:half], job.rows[half:])]
        elif job.deaths < LONE_DEATHS:
            self.again.append(job)
        else:
            self.hopeless.append(job.rows)


class HopelessRowsError(FeatcacheError):
    """Some rows end every worker that computes them; all others are finished.

    Parameters
    ----------
    rows
        Their numbers.
    reason
        How the last worker died.
    """

    def __init__(self, rows: Rows, reason: str) -> None:
        super().__init__(f"{len(rows)} rows ended every worker that computed them: {reason}")
        self.rows, self.reason = rows, reason


@dataclass
class Crew:
    """Workers that take the same steps and are then handed rows.

    Parameters
    ----------
    workers
        The processes.
    heartbeat
        Called while a step is waited for; it may raise.
    """

    workers: Workers
    heartbeat: Callable[[], None]
    deaths: int = field(default=0, init=False)
    """Workers that have died so far."""

    def __post_init__(self) -> None:
        self._steps: list[Step] = []
        self._taken = [0] * self.workers.count
        self._calls: list[dict[int, _Job | Step]] = [{} for _ in range(self.workers.count)]
        self._in_vain, self._last_death = 0, ""

    @property
    def most_in_vain(self) -> int:
        """Deaths without a finished block between them that end the work."""
        return 3 + 2 * self.workers.count

    def climb(self, step: Step) -> None:
        """Have all workers take a step; returns when one has. The others follow while rows are computed."""
        self._steps.append(step)
        while len(self._steps) not in self._taken:
            self._send_steps()
            if not self._events(None):
                self.heartbeat()

    def map(
        self, method: str, blocks: Iterable[Rows], argument: Callable[[Rows], Any], *, smallest: int = 1
    ) -> Iterator[Done | None]:
        """Yield what workers make of blocks of rows, as it arrives; ``None`` where nothing did for a while.

        Parameters
        ----------
        method, argument
            The method that is called, and what makes its argument of the rows.
        blocks
            Rows, in the order in which they are handed out.
        smallest
            Rows of a block that is not divided any more to find which of them ends its worker.

        Raises
        ------
        FeatcacheError
            What a worker raised; or too many workers died in a row.
        HopelessRowsError
            If some rows end every worker that computes them, after all others were computed.
        """
        queue = _Queue(iter(blocks), smallest)
        while self._hand_out(queue, method, argument) or queue:
            events = self._events(queue)
            yield from events or [None]
        if queue.hopeless:
            raise HopelessRowsError([row for rows in queue.hopeless for row in rows], self._last_death)

    def _hand_out(self, queue: _Queue, method: str, argument: Callable[[Rows], Any]) -> int:
        """Fill the workers' hands, the emptiest first; returns how many blocks are on the way."""
        self._send_steps()
        full: set[int] = set()
        while free := [worker for worker in self._ready() if worker not in full]:
            worker = min(free, key=lambda each: len(self._calls[each]))
            job = queue.take(idle=not self._calls[worker])
            if job is None:
                full.add(worker)
            else:
                self._calls[worker][self.workers.send(worker, method, argument(job.rows))] = job
        return sum(len(self._jobs(worker)) for worker in range(self.workers.count))

    def _send_steps(self) -> None:
        for worker, taken in enumerate(self._taken):
            if taken < len(self._steps) and not self._calls[worker]:
                step = self._steps[taken]
                self._calls[worker][self.workers.send(worker, step.method, step.argument)] = step

    def _ready(self) -> list[int]:
        """Return the workers that may be given rows."""
        return [
            worker
            for worker, taken in enumerate(self._taken)
            if taken == len(self._steps)
            and len(self._calls[worker]) < self.workers.in_flight
            and not any(job.alone for job in self._jobs(worker))
        ]

    def _jobs(self, worker: int) -> list[_Job]:
        return [call for call in self._calls[worker].values() if isinstance(call, _Job)]

    # What comes back -----------------------------------------------------------------------------------------

    def _events(self, queue: _Queue | None) -> list[Done]:
        """Wait for answers; returns the blocks that are done. Steps are checked, and the dead are replaced."""
        done = []
        for answer in self.workers.answers(HEARTBEAT_S):
            if answer.death is not None:
                self._bury(answer.worker, answer.death, queue)
                continue
            call = self._calls[answer.worker].pop(answer.ticket, None)
            if answer.error is not None:
                raise answer.error
            if isinstance(call, Step):
                call.check(answer.worker, answer.value)
                self._taken[answer.worker] += 1
            elif isinstance(call, _Job):
                self._in_vain = 0
                done.append(Done(answer.worker, call.rows, answer.value))
        return done

    def _bury(self, worker: int, reason: str, queue: _Queue | None) -> None:
        lost, self._calls[worker], self._taken[worker] = self._jobs(worker), {}, 0
        self.deaths, self._in_vain, self._last_death = self.deaths + 1, self._in_vain + 1, reason
        for job in lost:
            if queue is not None:
                queue.lost(job)
        if self._in_vain >= self.most_in_vain:
            raise FeatcacheError(
                f"{self._in_vain} actors died one after another and none finished a row between them; the last, "
                f"{self.workers.name(worker)}: {reason}. Rows that are finished are kept: mend it (memory? the network "
                "between the nodes?), and run the same command again"
            )
        self.workers.replace(worker)
