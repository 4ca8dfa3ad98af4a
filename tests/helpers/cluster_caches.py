"""What two caches hold, for a comparison byte by byte, and actors without Ray."""

import json
from pathlib import Path

import h5py

from featcache.extraction.cluster.worker import ExtractionWorker
from helpers.fake_workers import FakeWorkers


def contents(path: Path) -> dict[str, object]:
    """All bytes of a cache by the names of its datasets and attributes, but for its provenance and what it cost."""
    found: dict[str, object] = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and name != "identity":
            found[name] = (item.shape, str(item.dtype), item[()].tobytes())

    with h5py.File(path) as file:
        file.visititems(visit)
        identity = json.loads(bytes(file["identity"][()]))
    return found | {key: value for key, value in identity.items() if key != "provenance"}


class ActorsHere(FakeWorkers):
    """Actors in this process in the place of `RayWorkers`: calls and answers are those of Ray's.

    `options` are arguments of `FakeWorkers`; `tamper` may change what an actor answers, or raise `Death`.
    """

    version = "0.0"
    options: dict = {}  # noqa: RUF012 - set by each test
    made: "ActorsHere"

    def __init__(self, settings, order, threads):
        super().__init__(settings.actors or 2, self._call, **self.options)
        self.order, self.actors, self.names = order, {}, {}
        type(self).made = self

    def tamper(self, worker, method, argument, value):
        return value

    def _call(self, method, argument): ...

    def send(self, worker, method, argument):
        return super().send(worker, method, (worker, self.order if method == "start" else argument))

    def work_of(self, method, argument):
        worker, given = argument
        actor = self.actors.setdefault((worker, self.lives[worker]), ExtractionWorker(1, 0))
        value, error = getattr(actor, method)(given)
        if error is not None:
            raise error
        return self.tamper(worker, method, given, value)

    def answers(self, timeout):
        self.work = self.work_of
        return super().answers(timeout)

    def wait(self, heartbeat):
        heartbeat()

    def placed(self, worker, node):
        self.names[worker] = node

    def close(self):
        self.closed = True
