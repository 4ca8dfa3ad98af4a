"""Batches of input for the trained part: photos, the frozen part's output on them, or a cached cut.

Batches depend on an epoch's order alone, and an image's augmentation on the epoch and its own bytes: a run resumed in
the middle of an epoch gets the same batches.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from featcache.backbones.layer import Layer
from featcache.cache import FeatureCache
from featcache.core.parallel import ordered_map
from featcache.datasets import Dataset
from featcache.extraction.planning.content_hashes import read_unchanged
from featcache.extraction.resolved import ResolvedExtraction
from featcache.extraction.runner import FeatureRunner
from featcache.extraction.spec import ExtractionSpec
from featcache.finetuning.model import Model
from featcache.finetuning.settings import HEAD
from featcache.images.augmentation import Augmentation
from featcache.images.limits import room_for_file
from featcache.images.random_views import decode_view

KEPT_BYTES = 2**30
"""Inputs of validation rows are kept in memory up to this size, so that they are computed once, not every epoch."""

_VIEWS, _ORDER = 1, 2  # separate the streams of random numbers


class Batch(NamedTuple):
    """The input of one step.

    Parameters
    ----------
    rows
        Row numbers, int ``[B]``; -1 at padded places.
    x
        Values ``[B, …]``, of any dtype.
    """

    rows: np.ndarray
    x: np.ndarray


class Inputs(Protocol):
    """A source of input for the trained part."""

    @property
    def after(self) -> str | None:
        """The stage whose output the values are; see `featcache.finetuning.train_step.Phase`."""
        ...

    @property
    def unreadable(self) -> dict[int, str]:
        """Rows that could not be read so far, with the reason."""
        ...

    def stream(
        self, rows: np.ndarray, *, epoch: int | None, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield row numbers and values ``[n, …]`` in the order of `rows`; unreadable ones are left out.

        `epoch` seeds the augmentation, ``None`` gives the plain image; `size` is the number of rows per block.
        """
        ...


def epoch_order(rows: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Return the rows in the random order of an epoch."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(rows)


def batches(
    inputs: Inputs,
    order: np.ndarray,
    size: int,
    *,
    epoch: int | None,
    first: int = 0,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """Yield the batches of an order of rows, from batch `first` on, each of `size` places.

    A place without a row (unreadable, or beyond the end) is padded with the values of another row.
    """
    whole = len(order) // size
    count = whole if drop_last and whole else -(-len(order) // size)
    found: dict[int, np.ndarray] = {}
    stream = inputs.stream(order[first * size : count * size], epoch=epoch, size=size)
    for number in range(first, count):
        wanted = order[number * size : (number + 1) * size].tolist()
        while not all(row in found or row in inputs.unreadable for row in wanted):
            numbers, values = next(stream)
            found |= dict(zip(numbers.tolist(), values, strict=True))
        good = [row for row in wanted if row in found]
        if not good:
            continue
        rows = [row if row in found else -1 for row in wanted] + [-1] * (size - len(wanted))
        x = np.stack([found[row if row >= 0 else good[0]] for row in rows])
        for row in good:
            del found[row]
        yield Batch(np.array(rows), x)


@dataclass(frozen=True)
class PhotoInputs:
    """Photos, decoded and run through the frozen part of the network ahead of the training steps.

    Parameters
    ----------
    model
        The backbone, the head's layer, and how photos become its input.
    data, hashes
        The records, and the sha256 of each one's bytes.
    after
        The last frozen stage; ``None``: nothing is frozen; ``"head"``: everything but the head is.
    augmentation, seed
        Augmentation of training photos, and its seed.
    workers
        Decoding threads; ``None``: one for each core.
    """

    model: Model
    data: Dataset
    hashes: np.ndarray | Sequence[bytes]
    after: str | None
    augmentation: Augmentation
    seed: int
    workers: int | None = None
    unreadable: dict[int, str] = field(default_factory=dict)

    def stream(
        self, rows: np.ndarray, *, epoch: int | None, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield row numbers and values; threads decode and run the frozen part ahead of the consumer."""
        chunks = self._runner.chunks(
            rows.tolist(), lambda row: self._prepare(row, epoch), images_per_call=size
        )
        for chunk in chunks:
            self.unreadable.update({row: error.reason for row, error in chunk.failures})
            if len(chunk.rows):
                yield chunk.rows, next(iter(chunk.features.values()))
            else:
                yield chunk.rows, np.zeros(0)

    def _prepare(self, row: int, epoch: int | None) -> np.ndarray:
        record, plain = self.data.records[row], Augmentation() if epoch is None else self.augmentation
        with room_for_file(record.size):
            digest = bytes(self.hashes[row])
            image = read_unchanged(record, digest)
            return decode_view(
                image, self.model.transforms, plain, seed=self.seed, image=digest, number=epoch or 0
            )

    @cached_property
    def _runner(self) -> FeatureRunner:
        model = self.model
        layers = (
            () if self.after is None else (model.layer if self.after == HEAD else Layer(self.after, "map"),)
        )
        spec = ExtractionSpec(
            backbone=model.network,
            layers=tuple(map(str, layers)),
            transforms=model.transforms,
            compute_dtype=model.compute_dtype,
            image_statistics=False,
        )
        return FeatureRunner(
            extraction=ResolvedExtraction(spec=spec, network=model.network, layers=layers),
            images=len(self.data.records),
            workers=self.workers,
        )


@dataclass(frozen=True)
class CachedActivations:
    """The cached output of the last frozen stage: nothing is decoded, and the frozen part does not run.

    Parameters
    ----------
    cache, layer
        The cache, and its layer that holds that output.
    after
        The stage whose output it is.
    seed
        Seed of the draw of views, where the cache holds several.
    """

    cache: FeatureCache
    layer: str
    after: str
    seed: int
    unreadable: dict[int, str] = field(default_factory=dict)

    def stream(
        self, rows: np.ndarray, *, epoch: int | None, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield row numbers and stored values; one thread reads and verifies rows ahead of the consumer."""
        count = self.cache.views
        # Drawn for all rows at once, so that a row's view does not depend on where a run is resumed.
        views = np.zeros(len(self.cache), np.int64)
        if epoch is not None and count > 1:
            views = np.random.default_rng([self.seed, _VIEWS, epoch]).integers(0, count, len(self.cache))

        def read(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return part, self.cache.features(part, self.layer, view=views[part])

        parts = [rows[first : first + size] for first in range(0, len(rows), size)]
        return ordered_map(read, parts, workers=1, ahead=3)


@dataclass(frozen=True)
class InMemoryInputs:
    """Inputs that are the same in every epoch, kept in memory once computed, as far as they fit.

    Parameters
    ----------
    inputs
        Where the values come from.
    limit
        Most bytes to keep.
    """

    inputs: Inputs
    limit: int = KEPT_BYTES
    _rows: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def after(self) -> str | None:
        """See `Inputs`."""
        return self.inputs.after

    @property
    def unreadable(self) -> dict[int, str]:
        """See `Inputs`."""
        return self.inputs.unreadable

    def stream(
        self, rows: np.ndarray, *, epoch: int | None, size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield plain rows, from memory where they are kept."""
        wanted = [row for row in rows.tolist() if row not in self.unreadable]
        known = list(itertools.takewhile(self._rows.__contains__, wanted))
        for first in range(0, len(known), size):
            part = known[first : first + size]
            yield np.array(part), np.stack([self._rows[row] for row in part])
        missing = np.array(wanted[len(known) :], np.int64)
        if not len(missing):
            return
        used = sum(value.nbytes for value in self._rows.values())
        for numbers, values in self.inputs.stream(missing, epoch=None, size=size):
            if len(numbers) and used + values.nbytes <= self.limit:
                self._rows.update(zip(numbers.tolist(), values, strict=True))
                used += values.nbytes
            yield numbers, values
