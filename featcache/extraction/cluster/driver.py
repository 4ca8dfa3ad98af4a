"""The driver's side of a cluster: actors started early, and asked for hashes and for features."""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.parallel import default_workers
from featcache.core.progress import OnProgress, Progress
from featcache.core.version import __version__
from featcache.datasets import Dataset
from featcache.errors import DataError, ImageError
from featcache.extraction.cluster.blocks import cut
from featcache.extraction.cluster.crew import Crew, Step
from featcache.extraction.cluster.ray_workers import RayWorkers
from featcache.extraction.cluster.runner import ClusterRunner, Rates
from featcache.extraction.cluster.settings import ClusterSettings
from featcache.extraction.cluster.worker import PASSED_ON, Order, Sight
from featcache.extraction.planning.content_hashes import iter_hashes

if TYPE_CHECKING:
    from featcache.extraction.arguments import ExtractionArguments
    from featcache.extraction.resolved import ResolvedExtraction

FILES_TO_HASH = 256
"""Files that an actor hashes at a time."""

HASHED_HERE = 500_000_000
"""Bytes that this process hashes itself, sooner than actors have started."""


class Cluster:
    """Actors at work for one extraction.

    Parameters
    ----------
    workers
        The actors.
    data
        The dataset as this process sees it.
    report
        Told while actors are waited for.
    kind
        What drives them, such as ``"Ray"``.
    """

    def __init__(self, workers: RayWorkers, data: Dataset, report: OnProgress, kind: str = "Ray") -> None:
        self._workers, self._data, self._report, self._kind = workers, data, report, kind
        self._crew: Crew | None = None
        self.rates = Rates()

    @property
    def crew(self) -> Crew:
        """The actors, of which at least one has opened the dataset and loaded the network."""
        if self._crew is None:
            self._workers.wait(self._waiting)
            self._crew = Crew(self._workers, self._waiting)
            seen = Sight.of(self._data)
            self._crew.climb(Step("start", None, lambda worker, found: self._check(worker, found, seen)))
        return self._crew

    def _waiting(self) -> None:
        self._report(Progress("load", total=len(self._data.records), note="waiting for actors"))

    def _check(self, worker: int, found: tuple[str, Sight], seen: Sight) -> None:
        """Refuse a node that sees other images."""
        node, theirs = found
        self._workers.placed(worker, node)
        if why := theirs.why_other(seen):
            raise DataError(
                f"{self._workers.name(worker)} {why}: each node must see the same files at {self._data.spec}, on "
                "shared storage or as copies; mount them there, or use nodes that have them"
            )

    def runner(self, resolved: "ResolvedExtraction", expected: int) -> ClusterRunner:
        """Return what computes features."""
        return ClusterRunner(
            self.crew, resolved, expected, f"{self._kind} {self._workers.version}", self.rates
        )

    def digests(self, rows: Sequence[int]) -> Generator[bytes | ImageError]:
        """Yield the sha256 of records in the order of `rows`, or why they cannot be read.

        Few bytes are hashed here: that is done before actors have started.
        """
        if self._data.columns.sizes[np.asarray(rows, np.int64)].sum() > HASHED_HERE:
            return self._hashed_there(rows)
        return iter_hashes(map(self._data.records.__getitem__, rows), default_workers())

    def _hashed_there(self, rows: Sequence[int]) -> Generator[bytes | ImageError]:
        """Let actors hash the records, in any order."""
        crew = self.crew
        places = crew.workers.count * crew.workers.in_flight
        blocks = cut(range(len(rows)), batch=16, places=places, most=FILES_TO_HASH)
        found: dict[int, bytes | ImageError] = {}
        following = 0
        for done in crew.map("digests", blocks, lambda block: [rows[place] for place in block]):
            if done is None:
                self._waiting()
                continue
            for place, value in zip(done.rows, done.value, strict=True):
                found[place] = ImageError(*value) if isinstance(value, tuple) else value
            while following in found:
                yield found.pop(following)
                following += 1


@contextmanager
def opened_cluster(
    settings: ClusterSettings,
    arguments: "ExtractionArguments",
    source: Any,
    data: Dataset,
    report: OnProgress,
) -> Iterator[Cluster | None]:
    """Yield the actors of an extraction, being started; ``None`` if none were asked for. They end with the block."""
    if settings.cluster is None:
        yield None
        return
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    order = Order(arguments, source, os.getcwd(), environment, __version__)
    workers = RayWorkers(settings, order, arguments.workers)
    try:
        yield Cluster(workers, data, report)
    finally:
        workers.close()
