"""The measurements of `accelerator.py`: made-up photos, the device's own rate, and the rate of an extraction."""

import dataclasses
import io
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.images.transforms import Transforms

BATCHES = {"cpu": (2,)}
ACCELERATOR_BATCHES = (256, 128, 512, 64)
"""In the order in which they are tried: the first is an extraction's, and the last may find no time."""
SIZE, QUALITY, TEXTURES = (500, 375), 90, 32


class LeftOutError(Exception):
    """A part cannot be measured: no time, or no memory, is left for it."""


class Budget:
    """What is left of some seconds.

    Parameters
    ----------
    seconds
        From now on.
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.perf_counter()

    def share(self, part: float) -> "Budget":
        """Return a part of what is left as a budget of its own."""
        return Budget(max(0.0, self.left * part))

    def require(self, seconds: float) -> None:
        """Raise `LeftOutError` if fewer seconds are left."""
        if self.left < seconds:
            raise LeftOutError("no time")


# Material ---------------------------------------------------------------------------------------------------------


class Photos:
    """A growing folder of JPEGs like photos: smooth textures with noise, 500×375, quality 90, no two the same bytes.

    Parameters
    ----------
    folder
        Where they lie, in two folders as two classes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def folder_of(self, count: int) -> str:
        """Return the folder, with so many photos or more."""
        for number in range(self.count, count):
            path = self.folder / "ab"[number % 2] / f"{number:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Rows are computed once for each content: a comment makes each file another, and decodes as fast.
            texture, comment = textures()[number % TEXTURES], b"%08d" % number
            path.write_bytes(texture[:2] + b"\xff\xfe\x00\x0a" + comment + texture[2:])
        self.count = max(count, self.count)
        return str(self.folder)


@cache
def textures() -> list[bytes]:
    """Return the pictures that the files are made of."""
    random = np.random.default_rng(0)
    return [_jpeg(random) for _ in range(TEXTURES)]


def _jpeg(random: np.random.Generator) -> bytes:
    coarse = random.integers(0, 255, (9, 12, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC), np.float32)
    noisy = np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def decoded(count: int, transforms: "Transforms") -> list[np.ndarray]:
    """Return pictures uint8 that need no resizing but a crop, all of them windows of one array: they take no memory."""
    height, width = (math.floor(side / transforms.crop_pct) for side in transforms.input_size)
    random = np.random.default_rng(0)
    tall = random.integers(0, 255, (height + count, width, 3), dtype=np.uint8)
    return [tall[first : first + height] for first in range(count)]


# The device's own rate --------------------------------------------------------------------------------------------


def own_rate(network: "LoadedBackbone", dtype: str, budget: Budget, *, quick: bool) -> dict[str, Any]:
    """Measure the bare jitted network on resident data; images/s of the best batch, with all batches that ran."""
    import jax

    from featcache.core.jit_options import cpu_options
    from featcache.core.parallel import default_workers
    from featcache.extraction.batching import on_cpu, out_of_memory

    function = network.uncompiled(network.layers(["pool"]), compute_dtype=dtype)
    options = cpu_options(xla_cpu_prefer_vector_width=512, xla_cpu_multi_thread_eigen=False)
    program = jax.jit(function, compiler_options=options)
    state = jax.device_put(network.state)
    threads = default_workers() if on_cpu() else 1
    sizes = BATCHES.get(jax.default_backend(), ACCELERATOR_BATCHES)
    batches: dict[int, Loop] = {}
    compiling, notes, too_large = 0.0, [], math.inf
    for batch in sizes[:1] if quick or (on_cpu() and dtype != "float32") else sizes:
        if batch >= too_large:
            continue
        if batches and budget.left < 2 * compiling:
            notes.append(f"no time for batches of {batch}")
            continue
        try:
            shape = (batch, *network.transforms.input_size, 3)
            images = jax.device_put(np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))
            compiled, seconds = timed(program.lower(state, images).compile)
            compiling = compiling or seconds
            loop = loop_rate(
                partial(compiled, state, images), 0.1 if quick else budget.share(0.5).left, threads
            )
        except RuntimeError as error:  # jax.errors.JaxRuntimeError is one
            if not out_of_memory(error):
                raise
            notes.append(f"no memory for batches of {batch}")
            too_large = batch
            continue
        # An extraction computes on all devices of an accelerator.
        several = 1 if on_cpu() else jax.local_device_count()
        batches[batch] = Loop(loop.calls_per_s * batch * several, loop.cpu_s / batch)
    if not batches:
        raise LeftOutError("; ".join(notes))
    best = max(batches, key=lambda batch: batches[batch].calls_per_s)
    return {
        "dtype": dtype,
        "batch": best,
        "images_per_s": batches[best].calls_per_s,
        # What the processor does while an accelerator computes is no measure of it.
        "cpu_ms": 1e3 * batches[best].cpu_s if on_cpu() else None,
        "batches": {str(batch): loop.calls_per_s for batch, loop in batches.items()},
        "compile_s": compiling,
        "note": "; ".join(notes),
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and wall seconds, until what it computes is there."""
    import jax

    began = time.perf_counter()
    result = jax.block_until_ready(work())
    return result, time.perf_counter() - began


class Loop(NamedTuple):
    """Calls per second, and the processor's seconds for each."""

    calls_per_s: float
    cpu_s: float


def loop_rate(call: Callable[[], Any], seconds: float, threads: int) -> Loop:
    """Rate of a call: the median of three loops, each dispatched without waiting and waited for at its end."""
    import jax

    one = min(timed(call)[1] for _ in range(3))  # the first may still load what was compiled
    calls = max(1, min(1000, int(min(seconds, 3.0) / 3 / max(one, 1e-6))))

    def loop(count: int) -> None:
        last = None
        for number in range(count):
            last = call()
            if number % 32 == 31:  # a device computes in order; more than some calls ahead only take memory
                jax.block_until_ready(last)
        jax.block_until_ready(last)

    with ThreadPoolExecutor(threads) as pool:
        rates, cpu = [], time.process_time()
        for _ in range(3 if calls > 1 else 1):
            began = time.perf_counter()
            list(pool.map(loop, [calls] * threads))
            rates.append(threads * calls / (time.perf_counter() - began))
    return Loop(statistics.median(rates), (time.process_time() - cpu) / (threads * calls * len(rates)))


# Extraction -------------------------------------------------------------------------------------------------------


def extraction_rate(network: "LoadedBackbone", dtype: str, budget: Budget, **source: Any) -> dict[str, Any]:
    """Measure `featcache.extract` in its steady state; it is stopped when its time is over."""
    import featcache
    from featcache.core.progress import Progress

    stamps: list[tuple[float, float, Progress]] = []

    def note(progress: Progress) -> None:
        if progress.stage == "compute" and (not stamps or progress.done > stamps[-1][-1].done):
            stamps.append((time.perf_counter(), time.process_time(), dataclasses.replace(progress)))

    began = time.perf_counter()
    # A folder of its own: caches beside each other serve each other.
    with tempfile.TemporaryDirectory() as folder, suppress(featcache.errors.Interrupted):
        featcache.extract(
            **source,
            backbone=network,
            compute_dtype=dtype,
            engine="jax",
            output=Path(folder) / "features.h5",
            on_progress=note,
            stop=lambda: budget.left < 0,
        )
    if len(stamps) < 2:
        raise LeftOutError("no time")
    done = stamps[-1][-1].done
    start = next(place for place, (*_, progress) in enumerate(stamps) if 5 * progress.done >= done)
    (before, cpu_before, first), (after, cpu_after, last) = stamps[min(start, len(stamps) - 2)], stamps[-1]
    images = last.done - first.done
    steps = {"decode": "decode_s", "network": "device_s", "write": "write_s"}
    spent = {name: getattr(last, field) - getattr(first, field) for name, field in steps.items()}
    total = sum(spent.values()) or 1.0
    return {
        "images": images,
        "images_per_s": images / (after - before),
        "cpu_ms": 1e3 * (cpu_after - cpu_before) / images,
        "shares": {name: seconds / total for name, seconds in spent.items()},
        "whole_call_s": time.perf_counter() - began,
    }
