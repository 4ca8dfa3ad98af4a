"""Run images through a network in batches on this machine's devices, and verify the features with probe images."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from featcache.core.forked import require_jax
from featcache.core.parallel import default_workers
from featcache.datasets import Dataset
from featcache.errors import FeatcacheError, IdentityError, ImageError
from featcache.extraction.batching import (
    CPU_CHUNK,
    NO_MEMORY,
    Chunk,
    Prepare,
    Schedule,
    micro_batches,
    out_of_memory,
    platform_schedule,
    run_pipelined,
)
from featcache.extraction.engines import JAX, Asked, Engine, chosen_engine, probe_images
from featcache.extraction.planning.content_hashes import read_unchanged
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.colour_statistics import image_statistics
from featcache.images.limits import room_for_file
from featcache.images.transforms import Transforms
from featcache.images.views import PLAIN, Views

if TYPE_CHECKING:
    from featcache.extraction.resolved import ResolvedExtraction

# Relative to the layer's root mean square. Measured between micro-batches, batch positions and XLA's vector
# widths: below 1e-5 in float32; bfloat16 keeps 8 bits of each product's factors.
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}

PROBE_VALUES = 64

PIXELS = "image:pixels"
"""Layer of the prepared images themselves, if no other is requested."""

Probes = Mapping[str, Sequence[Sequence[float]]]
"""Layer to a few values of the features of each probe image."""


@dataclass(frozen=True)
class RecordImages:
    """The images of a dataset, read and preprocessed as a network's input.

    Parameters
    ----------
    data, hashes
        The records, and the sha256 of each one's bytes, uint8 ``[N, 32]``.
    transforms, views
        The preprocessing, and the views of each image.
    """

    data: Dataset
    hashes: np.ndarray
    transforms: Transforms
    views: Views = PLAIN

    def prepare(self, row: int) -> np.ndarray:
        """Read, check and decode one image to uint8 ``[H, W, 3]``, or ``[V, H, W, 3]``; raises `ImageError`."""
        record = self.data.records[row]
        with room_for_file(record.size):
            digest = bytes(self.hashes[row])
            data = read_unchanged(record, digest)
            try:
                return self.views.prepare(data, self.transforms, digest)
            except MemoryError as error:
                raise ImageError("out of memory", "there was none to prepare the image") from error


class Runner(Protocol):
    """What computes the rows of an extraction: `FeatureRunner` in this process, or actors of a cluster."""

    @property
    def running(self) -> Any:
        """What computes: its `name` and `version`, and as text for users."""
        ...

    @property
    def provenance(self) -> dict[str, Any]:
        """What a cache records of the processes that computed it, beside this one."""
        ...

    def probe(self) -> Probes:
        """Return feature values of fixed images; see `FeatureRunner.probe`."""
        ...

    def require_same_probes(self, ours: Probes, theirs: Probes, *, origin: str) -> None:
        """Raise if the probe images of a cache have other features."""
        ...

    def chunks_of(self, rows: Sequence[int], images: RecordImages) -> Iterator[Chunk]:
        """Yield the features of a dataset's rows, in any order; an empty chunk says that some are waited for."""
        ...


@dataclass(frozen=True, kw_only=True)
class FeatureRunner:
    """Runs images through a network's layers in batches that suit the platform.

    Parameters
    ----------
    extraction
        The network and the layers to compute.
    images
        Number of images, so that a few are not padded to a large batch; ``None`` if unknown.
    batch_size, workers
        Views per call of the network, and threads; ``None`` for the platform's default. Neither changes the
        features.
    engine
        One of `featcache.extraction.engines.ENGINES`.
    expected
        How many images will be computed, which decides whether a faster engine is worth its start; `images` by default.
    """

    extraction: "ResolvedExtraction"
    images: int | None = None
    batch_size: int | None = None
    workers: int | None = None
    engine: str = JAX
    expected: int | None = None

    @cached_property
    def schedule(self) -> Schedule:
        """The schedule of the platform."""
        return platform_schedule()

    @cached_property
    def running(self) -> Engine:
        """The engine that computes, opened: chosen when it is first asked for."""
        asked = self.extraction
        expected = self.images if self.expected is None else self.expected
        views = asked.views.count
        return chosen_engine(
            self.engine,
            Asked(asked.network, asked.layers, asked.transforms, asked.compute_dtype),
            None if expected is None else expected * views,
        )

    @cached_property
    def size(self) -> int:
        """Views per call of the network."""
        return min(self._most, self.rows * self.extraction.views.count)

    @cached_property
    def rows(self) -> int:
        """Images per batch. All of their views go into one call, or on a CPU into several that they fill."""
        views = self.extraction.views.count
        if self.schedule.large_batches:
            return max(1, self._most // views)
        return self._most // math.gcd(self._most, views)

    @cached_property
    def _most(self) -> int:
        size = self.batch_size or self.running.batch_size or self.schedule.batch_size
        return size if self.images is None else min(size, max(self.images, 1) * self.extraction.views.count)

    @cached_property
    def compute(self) -> Callable[[np.ndarray], dict[str, Any]]:
        """The function from uint8 ``[B, H, W, 3]`` to features ``[B, …]``, or ``[B, V, H, W, 3]`` to ``[B, V, …]``.

        Statistics are computed from the plain images only, ``[B, 54]``.
        """
        several = self.extraction.views.count > 1
        network = self._of_all_views if several else self._of_images
        if not self.extraction.image_statistics:
            return network if self.extraction.layers else lambda images: {PIXELS: images}
        plain = (slice(None), 0) if several else slice(None)
        # The statistics run on the CPU while the device computes the network.
        return lambda images: network(images) | {STATISTICS: image_statistics(images[plain])}

    def _of_all_views(self, images: np.ndarray) -> dict[str, Any]:
        """Run the network on every view, uint8 ``[B, V, H, W, 3]``."""
        shape = images.shape[:2]
        found = self._in_calls(images.reshape(-1, *images.shape[2:]))
        return {layer: values.reshape(*shape, *values.shape[1:]) for layer, values in found.items()}

    def _of_images(self, images: np.ndarray) -> dict[str, Any]:
        """Run the network on images uint8 ``[B, H, W, 3]``: at once on an accelerator, whose schedule pads batches."""
        return self.running.run(images) if self.schedule.large_batches else self._in_calls(images)

    def _in_calls(self, images: np.ndarray) -> dict[str, Any]:
        """Run the network on images uint8 ``[B, H, W, 3]``, at most `size` at a time."""
        size, engine = self.size, self.running
        parts = [images[first : first + size] for first in range(0, len(images), size)]
        missing = size - len(parts[-1])
        if missing and not engine.any_size and (len(parts) > 1 or not self.schedule.large_batches):
            # So that nothing recompiles.
            parts[-1] = np.concatenate([parts[-1], parts[-1][-1:].repeat(missing, axis=0)])
        found = [engine.run(part) for part in parts]
        return {layer: _joined([each[layer] for each in found], size, len(images)) for layer in found[0]}

    def chunks(
        self, rows: Sequence[int], prepare: Prepare, *, images_per_call: int | None = None
    ) -> Iterator[Chunk]:
        """Yield the features of rows, in the order of `rows`.

        Parameters
        ----------
        rows
            Numbers of images.
        prepare
            Row number to uint8 ``[H, W, 3]``, or ``[V, H, W, 3]`` of several views; raises `ImageError`.
        images_per_call
            Batch size instead of the default, on platforms with large batches.
        """
        require_jax()
        workers = self.workers or default_workers()
        _ = self.running, self.size  # here, so that no two threads open an engine
        if self.schedule.large_batches:
            size = images_per_call or self.rows
            return run_pipelined(rows, prepare, self.compute, batch_size=size, workers=workers)
        # Who asks for batches of a size gets rows handed over in such batches, too.
        most = 0 if self.batch_size else CPU_CHUNK // self.extraction.views.count
        return micro_batches(rows, prepare, self.compute, batch_size=self.rows, workers=workers, most=most)

    def chunks_of(self, rows: Sequence[int], images: RecordImages) -> Iterator[Chunk]:
        """Yield the features of a dataset's rows, in the order of `rows`."""
        return self.chunks(rows, images.prepare)

    @property
    def provenance(self) -> dict[str, Any]:
        """What a cache records of the processes that computed it, beside this one."""
        return {}

    def probe(self) -> dict[str, list[list[float]]]:
        """Return feature values of fixed images, and check that features do not depend on the rest of the batch.

        A network left in training mode normalises an image by the others in its batch; such features are
        useless in a cache.

        Raises
        ------
        FeatcacheError
            If an image's features depend on the other images in its batch, or the device has no memory for one.
        """
        size = self.size
        while size:
            try:
                return self._probe(size)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            size //= 2  # as the schedule does
        raise FeatcacheError(NO_MEMORY)

    def _probe(self, size: int) -> dict[str, list[list[float]]]:
        """Run the probe images in batches of `size`."""
        images = probe_images(*self.extraction.transforms.input_size)
        order = [0, 1] * size
        first = self._features(images[order[:size]])
        second = self._features(images[order[1 : size + 1]])
        if size == 1:
            return {layer: _signature(np.stack([first[layer][0], second[layer][0]])) for layer in first}
        for layer, values in first.items():
            gap = relative_gap(values[:2], second[layer][1::-1])
            if not gap < TOLERANCE[self.extraction.compute_dtype]:
                raise FeatcacheError(
                    f"self-test failed: layer {layer} of an image differs by {gap:.1e} with the other images in "
                    "its batch. Is a normalisation left in training mode?"
                )
        return {layer: _signature(values[:2]) for layer, values in first.items()}

    def _features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the features of plain images uint8 ``[B, H, W, 3]``."""
        values = self._of_images(images)
        statistics = {STATISTICS: image_statistics(images)} if self.extraction.image_statistics else {}
        return {layer: np.asarray(value) for layer, value in (values | statistics).items()}

    def require_same_probes(self, ours: Probes, theirs: Probes, *, origin: str) -> None:
        """Raise if the probe images of a cache have other features, so that its rows must not be mixed with new ones.

        Raises
        ------
        IdentityError
            Naming the layer and the gap: the recipe is the same, so a library or device must differ.
        """
        most = TOLERANCE[self.extraction.compute_dtype]
        for layer in ours.keys() & theirs.keys():
            gap = relative_gap(np.array(ours[layer]), np.array(theirs[layer]))
            if not gap < most:
                raise IdentityError(
                    f"{origin} has the same recipe, but its probe images gave other features than this machine "
                    f"does: layer {layer} differs by {gap:.1e}, at most {most:.0e} is "
                    "rounding. A library or device computes differently; extract into a new file with --output"
                )


def relative_gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest absolute difference relative to the root mean square of both; infinite if shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    scale = np.sqrt(np.mean(np.square([ours, theirs], dtype=np.float64)))
    return float(np.max(np.abs(np.float64(ours) - theirs)) / max(scale, 1e-12))


def _joined(parts: Sequence[Any], size: int, count: int) -> Any:
    """Join the features of calls of `size` images to those of `count`; several devices may have padded each call."""
    # A single part may still be computing on the device: waiting for it here would stall the pipeline.
    values = parts[0] if len(parts) == 1 else np.concatenate([np.asarray(part)[:size] for part in parts])
    return values if len(values) == count else values[:count]


def _signature(features: np.ndarray) -> list[list[float]]:
    flat = np.asarray(features, np.float64).reshape(len(features), -1)
    chosen = np.linspace(0, flat.shape[1] - 1, min(PROBE_VALUES, flat.shape[1])).astype(int)
    return [[float(f"{value:.7g}") for value in row] for row in flat[:, chosen]]
