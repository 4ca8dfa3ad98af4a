"""From row numbers to features on this machine's devices, and the proof that they are what they should be."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.parallel import default_workers
from featcache.core.sharding import DeviceMesh
from featcache.datasets import Dataset
from featcache.errors import FeatcacheError, IdentityError
from featcache.extraction.batching import (
    ACCELERATOR_BATCH,
    CPU_MICRO_BATCH,
    Chunk,
    micro_batches,
    run_pipelined,
)
from featcache.extraction.content_hashes import read_unchanged
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.colour_statistics import image_statistics
from featcache.images.transforms import Transforms
from featcache.images.views import PLAIN, Views

if TYPE_CHECKING:
    from featcache.backbones.layer import Layer
    from featcache.backbones.loaded import LoadedBackbone

# Relative to the layer's root mean square. Measured between micro-batches, batch positions and XLA's vector
# widths: below 1e-5 in float32; bfloat16 keeps 8 bits of each product's factors.
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}

PROBE_VALUES = 64

Probes = Mapping[str, Sequence[Sequence[float]]]
"""Layer to a few values of the features of each probe image."""


@dataclass(frozen=True)
class FeatureRunner:
    """A backbone about to run over some records.

    Parameters
    ----------
    network, layers, transforms, compute_dtype
        What is computed.
    data, hashes
        The records, and what their bytes hashed to.
    batch_size, workers
        ``None``: as the platform likes it. Neither changes what is computed.
    image_statistics
        Whether the statistics of the plain images are computed as one layer more.
    views
        Which views of each image are computed.
    """

    network: "LoadedBackbone"
    layers: "Sequence[Layer]"
    transforms: Transforms
    compute_dtype: str
    data: Dataset
    hashes: Sequence[bytes]
    batch_size: int | None = None
    workers: int | None = None
    image_statistics: bool = False
    views: Views = PLAIN

    @cached_property
    def on_cpu(self) -> bool:
        """Whether the micro-batch schedule is used."""
        import jax

        return jax.default_backend() == "cpu"

    @cached_property
    def size(self) -> int:
        """Views per call of the network; images where each has one view."""
        return min(self._most, self.rows * self.views.count)

    @cached_property
    def rows(self) -> int:
        """Images per batch. All of their views go into one call, or on a CPU into several that they fill."""
        if self.on_cpu:
            return self._most // math.gcd(self._most, self.views.count)
        return max(1, self._most // self.views.count)

    @cached_property
    def _most(self) -> int:
        usual = CPU_MICRO_BATCH if self.on_cpu else ACCELERATOR_BATCH
        return min(self.batch_size or usual, max(len(self.data.records), 1) * self.views.count)

    @cached_property
    def compute(self) -> Callable[[np.ndarray], dict[str, Any]]:
        """What makes layer features ``[B, …]`` of uint8 ``[B, H, W, 3]``; or ``[B, V, …]`` of ``[B, V, H, W, 3]``.

        Statistics are of the plain images alone, ``[B, 54]``.
        """
        network = self._network if self.views.count == 1 else self._of_all_views
        if not self.image_statistics:
            return network
        plain = slice(None) if self.views.count == 1 else (slice(None), 0)
        # The device is busy with the network meanwhile.
        return lambda images: network(images) | {STATISTICS: image_statistics(images[plain])}

    def _of_all_views(self, images: np.ndarray) -> dict[str, Any]:
        """Run the network on every view, uint8 ``[B, V, H, W, 3]``, at most `size` at a time."""
        flat = images.reshape(-1, *images.shape[2:])
        size = min(self.size, len(flat))
        parts = [flat[first : first + size] for first in range(0, len(flat), size)]
        missing = size - len(parts[-1])
        if missing:  # so that nothing recompiles
            parts[-1] = np.concatenate([parts[-1], parts[-1][-1:].repeat(missing, axis=0)])
        found = [self._network(part) for part in parts]
        shape = images.shape[:2]
        return {layer: _joined([each[layer] for each in found], size, shape) for layer in found[0]}

    @cached_property
    def _network(self) -> Callable[[np.ndarray], dict[str, Any]]:
        """The compiled network: uint8 ``[B, H, W, 3]`` to layer features."""
        function = self.network.function(
            self.layers, transforms=self.transforms, compute_dtype=self.compute_dtype
        )
        if self.on_cpu:
            return lambda images: function(self.network.state, images)
        devices = DeviceMesh()
        state = devices.replicated(self.network.state)
        return lambda images: function(state, devices.sharded(images))

    def chunks(self, rows: Sequence[int]) -> Iterator[Chunk]:
        """Yield finished rows, in the order of `rows`."""
        schedule = micro_batches if self.on_cpu else run_pipelined
        return schedule(
            rows,
            self.prepare,
            self.compute,
            batch_size=self.rows,
            workers=self.workers or default_workers(),
        )

    def prepare(self, row: int) -> np.ndarray:
        """Read, check and decode one image to uint8 ``[H, W, 3]``, or ``[V, H, W, 3]``; raises `ImageError`."""
        data = read_unchanged(self.data.records[row], self.hashes[row])
        return self.views.prepare(data, self.transforms, self.hashes[row])

    def probe(self) -> dict[str, list[list[float]]]:
        """Return values of the features of fixed images, and check that a batch's company changes nothing.

        A network left in training mode normalises an image by the others in its batch; features that depend
        on company are worthless in a cache.

        Raises
        ------
        FeatcacheError
            If an image's features depend on the other images in its batch.
        """
        images = probe_images(*self.transforms.input_size)
        order = [0, 1] * self.size
        first = self._features(images[order[: self.size]])
        second = self._features(images[order[1 : self.size + 1]])
        if self.size == 1:
            return {layer: _signature(np.stack([first[layer][0], second[layer][0]])) for layer in first}
        for layer, values in first.items():
            gap = relative_gap(values[:2], second[layer][1::-1])
            if not gap < TOLERANCE[self.compute_dtype]:
                raise FeatcacheError(
                    f"self-test failed: layer {layer} of an image differs by {gap:.1e} with the other images in "
                    "its batch. Is a normalisation left in training mode?"
                )
        return {layer: _signature(values[:2]) for layer, values in first.items()}

    def _features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the features of plain images uint8 ``[size, H, W, 3]``."""
        values = self._network(images)
        statistics = {STATISTICS: image_statistics(images)} if self.image_statistics else {}
        return {layer: np.asarray(value) for layer, value in (values | statistics).items()}

    def require_same_probes(self, ours: Probes, theirs: Probes, *, origin: str) -> None:
        """Refuse to mix rows with those of a cache whose probe images gave other features.

        Raises
        ------
        IdentityError
            Naming the layer and the gap: the recipe is the same, so a library or device must differ.
        """
        for layer in ours.keys() & theirs.keys():
            gap = relative_gap(np.array(ours[layer]), np.array(theirs[layer]))
            if not gap < TOLERANCE[self.compute_dtype]:
                raise IdentityError(
                    f"{origin} has the same recipe, but its probe images gave other features than this machine "
                    f"does: layer {layer} differs by {gap:.1e}, at most {TOLERANCE[self.compute_dtype]:.0e} is "
                    "rounding. A library or device computes differently; extract into a new file with --output"
                )


def probe_images(height: int, width: int) -> np.ndarray:
    """Return two fixed images uint8 ``[2, height, width, 3]``: coloured blocks, and smooth gradients."""
    draw = np.random.Generator(np.random.PCG64(20_261_121))
    blocks = draw.integers(0, 256, (-(-height // 16), -(-width // 16), 3), np.uint8)
    blocks = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    down, across = np.mgrid[0:height, 0:width]
    channels = (down * 255 // height, across * 255 // width, (down + across) % 256)
    return np.stack([blocks, np.stack(channels, axis=-1).astype(np.uint8)])


def relative_gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest absolute difference, relative to the root mean square of both; infinite where shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    scale = np.sqrt(np.mean(np.square([ours, theirs], dtype=np.float64)))
    return float(np.max(np.abs(np.float64(ours) - theirs)) / max(scale, 1e-12))


def _joined(parts: Sequence[Any], size: int, shape: tuple[int, ...]) -> Any:
    """Return features ``[B, V, …]`` of parts ``[size, …]``: each may be padded for the devices, the last anyway."""
    # One part may still be on its way from the device: waiting for it here would stop the pipeline.
    values = parts[0] if len(parts) == 1 else np.concatenate([np.asarray(part)[:size] for part in parts])
    return values[: math.prod(shape)].reshape(*shape, *values.shape[1:])


def _signature(features: np.ndarray) -> list[list[float]]:
    flat = np.asarray(features, np.float64).reshape(len(features), -1)
    chosen = np.linspace(0, flat.shape[1] - 1, min(PROBE_VALUES, flat.shape[1])).astype(int)
    return [[float(f"{value:.7g}") for value in row] for row in flat[:, chosen]]
