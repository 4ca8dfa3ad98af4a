"""The runner of an extraction whose rows are computed by actors: `FeatureRunner`'s interface over a crew."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.warning import warn_all
from featcache.errors import FeatcacheError, IdentityError, ImageError
from featcache.extraction.batching import Chunk
from featcache.extraction.cluster.blocks import cut, most_rows
from featcache.extraction.cluster.crew import Crew, HopelessRowsError, Step
from featcache.extraction.cluster.rates import Rates
from featcache.extraction.cluster.worker import Ready, Wanted, recipe_digest
from featcache.extraction.runner import FeatureRunner, Probes, RecordImages

if TYPE_CHECKING:
    from featcache.extraction.resolved import ResolvedExtraction


@dataclass(frozen=True)
class ClusterEngine:
    """What computes in the actors, and how many there are."""

    name: str
    version: str
    where: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}, {self.where}"


class ClusterRunner:
    """Computes rows by the actors of a crew, in any order.

    Parameters
    ----------
    crew
        The actors, which have opened the dataset.
    resolved
        The network and the layers to compute.
    expected
        How many images will be computed.
    kind
        What drives the actors, such as ``"Ray 2.60.0"``.
    rates
        Filled with what each actor computes.
    """

    def __init__(
        self, crew: Crew, resolved: "ResolvedExtraction", expected: int, kind: str, rates: Rates
    ) -> None:
        self._crew, self._resolved, self._expected = crew, resolved, expected
        self._kind, self.rates = kind, rates
        self._first: Ready | None = None
        self._since: dict[str, float] = {}

    @property
    def ready(self) -> Ready:
        """What the first actor said when its network ran."""
        if self._first is None:
            layers = tuple(map(str, self._resolved.layers))
            wanted = Wanted(layers, self._resolved.image_statistics, self._expected)
            self._crew.climb(Step("probe", wanted, self._check))
        assert self._first is not None
        return self._first

    def probe(self) -> Probes:
        """Return the features of the probe images; waits for the first actor whose network runs."""
        return self.ready.probes

    @cached_property
    def running(self) -> ClusterEngine:
        """What computes."""
        count = self._crew.workers.count
        where = f"{count} actor{'s' if count > 1 else ''} of {self._kind}"
        return ClusterEngine(self.ready.engine, self.ready.version, where)

    @property
    def provenance(self) -> dict[str, Any]:
        """What a cache records of the cluster."""
        name, _, version = self._kind.partition(" ")
        cluster = {"name": name.lower(), "version": version, "actors": self._crew.workers.count}
        return {"cluster": cluster, "device": self.ready.device}

    def require_same_probes(self, ours: Probes, theirs: Probes, *, origin: str) -> None:
        """Raise `IdentityError` if other features have been computed; see `FeatureRunner`."""
        FeatureRunner(extraction=self._resolved).require_same_probes(ours, theirs, origin=origin)

    def _check(self, worker: int, ready: Ready) -> None:
        """Refuse an actor whose features are not those of the others, or of this process's recipe."""
        name, first = self._crew.workers.name(worker), self._first
        self._since[name] = time.monotonic()
        if ready.recipe != recipe_digest(self._resolved):
            raise IdentityError(
                f"{name} would compute other features than were asked for: its weights or its code are not those of "
                "this machine; give every node the same weights file and the same featcache"
            )
        if first is None:
            self._first = ready
            warn_all(ready.warnings)
            return
        for what, mine, others in (
            ("engine", f"{ready.engine} {ready.version}", f"{first.engine} {first.version}"),
            ("device", ready.device, first.device),
            ("images per batch", str(ready.batch), str(first.batch)),
        ):
            if mine != others:
                raise IdentityError(
                    f"{name} has another {what} than the actors before it, {mine} and not {others}: their features "
                    "differ in the last bits; use nodes of one kind (or --engine jax where an engine is missing)"
                )
        self.require_same_probes(first.probes, ready.probes, origin=name)

    def chunks_of(self, rows: Sequence[int], images: RecordImages) -> Iterator[Chunk]:
        """Yield the features of rows as they arrive; an empty chunk now and then while none do.

        Raises
        ------
        FeatcacheError
            What an actor raised, or why actors die. Rows that were yielded are finished.
        """
        ready, workers = self.ready, self._crew.workers
        most = most_rows(ready.batch, self._row_bytes, large_batches=ready.large_batches)
        blocks = cut(rows, batch=ready.batch, places=workers.count * max(1, workers.in_flight - 1), most=most)

        def argument(block: Sequence[int]) -> tuple[Sequence[int], bytes]:
            return block, b"".join(bytes(images.hashes[row]) for row in block)

        began = time.monotonic()
        try:
            for done in self._crew.map("compute", blocks, argument, smallest=ready.batch):
                if done is None:
                    yield Chunk(np.empty(0, np.int64), {}, [], 0.0, 0.0)
                    continue
                chunk, failures = done.value
                name, now = workers.name(done.worker), time.monotonic()
                self.rates.take(name, len(chunk.rows), now, since=max(began, self._since.get(name, began)))
                chunk.failures = [(row, ImageError(reason, detail)) for row, reason, detail in failures]
                yield chunk
                del (
                    done,
                    chunk,
                )  # the block's memory is shared with Ray's: nothing holds it while others are awaited
        except HopelessRowsError as error:
            raise FeatcacheError(self._named(error, images)) from None

    def _named(self, error: HopelessRowsError, images: RecordImages) -> str:
        names = [images.data.records[row].id for row in error.rows]
        told = ", ".join(names[:4]) + (f", and {len(names) - 4} more" if len(names) > 4 else "")
        return (
            f"{told}: whoever computes {'it' if len(names) == 1 else 'one of them'} dies ({error.reason}), with "
            "nothing else to do and more than once. All other rows are finished and kept: give actors more memory, or "
            "take the image out of the dataset, and run the same command again"
        )

    @property
    def _row_bytes(self) -> int:
        return sum(4 * spec.views * int(np.prod(spec.shape)) for spec in self._resolved.specs.values())
