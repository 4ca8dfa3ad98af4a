"""Batch images through a network: micro-batches on a CPU, a pipeline on an accelerator.

On a CPU, micro-batches of one or two images run on one worker thread per core, decoding included: larger
batches push intermediates out of the cache. A worker takes several of them at once: to hand over what it has made (a
row to write, a step of progress, a turn of Python's lock) costs the same for one image as for many. On an accelerator,
threads decode ahead, batches are dispatched before the previous one is fetched, and a batch that does not fit in
memory is halved.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.core.devices.choice import on_cpu
from featcache.core.devices.sharding import DeviceMesh
from featcache.core.parallel import ordered_map
from featcache.errors import FeatcacheError, ImageError

Prepare = Callable[[int], np.ndarray]
"""Row number to uint8 ``[H, W, 3]``; raises `ImageError`."""

Compute = Callable[[np.ndarray], Mapping[str, Any]]
"""uint8 ``[B, H, W, 3]`` to layer features ``[B, …]`` (device arrays; may return before they are ready)."""

CPU_MICRO_BATCH = 2
CPU_CHUNK = 16
"""Images that a worker takes at once at most."""
QUICK_S = 0.05
"""Seconds; while a chunk takes less, the next ones are larger. A slow network's rows are handed over one by one."""

ACCELERATOR_BATCH = 256
"""Images per call and device."""

NO_MEMORY = "the device has no memory for a single image; free some, or compute on the CPU"


@dataclass(frozen=True)
class Schedule:
    """The way to run batches on one kind of platform.

    Parameters
    ----------
    batch_size
        Images per call that are fastest on this kind of platform.
    large_batches
        Whether batches are large, and a caller may ask for another number of images per call: `run_pipelined` runs
        them; otherwise `micro_batches`.
    """

    batch_size: int
    large_batches: bool


def platform_schedule() -> Schedule:
    """Return the schedule of the platform that networks run on; several accelerators share each batch."""
    if on_cpu():
        return Schedule(CPU_MICRO_BATCH, False)
    return Schedule(ACCELERATOR_BATCH * DeviceMesh().count, True)


@dataclass
class Chunk:
    """The features of some rows.

    Parameters
    ----------
    rows
        int ``[n]`` row numbers, ascending.
    features
        Layer to float ``[n, …]``.
    failures
        Row number and error of each unreadable image.
    decode_s, device_s
        Seconds spent on decoding and in the network, summed over threads.
    """

    rows: np.ndarray
    features: dict[str, np.ndarray]
    failures: list[tuple[int, ImageError]]
    decode_s: float
    device_s: float


def micro_batches(
    rows: Sequence[int],
    prepare: Prepare,
    compute: Compute,
    *,
    batch_size: int,
    workers: int,
    most: int = CPU_CHUNK,
) -> Iterator[Chunk]:
    """Yield chunks computed by worker threads that decode and run the network themselves.

    Parameters
    ----------
    rows
        Row numbers to compute.
    prepare, compute
        See `Prepare` and `Compute`; both are called from several threads. `compute` takes any number of images.
    batch_size
        Images of the first chunks. Later ones have up to `most`, in whole multiples, as long as they are quick.
    workers
        Threads.
    most
        Images of a chunk at most, if a batch has fewer.
    """
    size = batch_size

    def work(chunk: Sequence[int]) -> Chunk:
        started = time.perf_counter()
        images, good, failures = _prepare_all(chunk, prepare)
        decoded = time.perf_counter()
        features = _fetch(compute(np.stack(images)), len(good)) if good else {}
        return Chunk(
            np.array(good, np.int64), features, failures, decoded - started, time.perf_counter() - decoded
        )

    def chunks() -> Iterator[Sequence[int]]:
        first = 0
        while first < len(rows):
            # The last ones are smaller, so that no worker waits long for another.
            share = -(-(len(rows) - first) // (workers * batch_size)) * batch_size
            last = first + min(size, share)
            yield rows[first:last]
            first = last

    for chunk in ordered_map(work, chunks(), workers=workers, ahead=3 * workers):
        if 2 * size <= most and chunk.decode_s + chunk.device_s < QUICK_S:
            size *= 2
        yield chunk


def run_pipelined(
    rows: Sequence[int], prepare: Prepare, compute: Compute, *, batch_size: int, workers: int
) -> Iterator[Chunk]:
    """Yield chunks from a pipeline that keeps the device busy: decode ahead, dispatch batch n + 1 before fetching n.

    Parameters are those of `micro_batches`. If a batch does not fit in the device's memory, it and
    all later ones are halved.
    """
    size = batch_size
    flying: deque[tuple[Chunk, np.ndarray, int, Any]] = deque()

    def decode(row: int) -> tuple[int, np.ndarray | ImageError, float]:
        started = time.perf_counter()
        try:
            image: np.ndarray | ImageError = prepare(row)
        except ImageError as error:
            image = _without_frames(error)
        return row, image, time.perf_counter() - started

    def land() -> Chunk:
        nonlocal size
        chunk, images, width, pending = flying.popleft()
        started = time.perf_counter()
        if len(chunk.rows):
            chunk.features, size = _fetch_or_halve(pending, images, compute, width, size)
        chunk.device_s += time.perf_counter() - started
        return chunk

    decoded = ordered_map(decode, rows, workers=workers, ahead=2 * batch_size)
    while part := list(itertools.islice(decoded, size)):
        good = [(row, image) for row, image, _ in part if isinstance(image, np.ndarray)]
        failures = [(row, image) for row, image, _ in part if isinstance(image, ImageError)]
        chunk = Chunk(
            np.array([r for r, _ in good], np.int64), {}, failures, sum(seconds for *_, seconds in part), 0.0
        )
        images = np.stack([image for _, image in good]) if good else np.empty((0, 0, 0, 3), np.uint8)
        flying.append((chunk, images, size, _dispatch(images, compute, size)))
        if len(flying) > 2:
            yield land()
    while flying:
        yield land()


def _prepare_all(
    rows: Sequence[int], prepare: Prepare
) -> tuple[list[np.ndarray], list[int], list[tuple[int, ImageError]]]:
    images, good, failures = [], [], []
    for row in rows:
        try:
            images.append(prepare(row))
            good.append(row)
        except ImageError as error:
            failures.append((row, _without_frames(error)))
    return images, good, failures


def _without_frames(error: ImageError) -> ImageError:
    """Return the same error without its traceback, whose frames would keep the picture and its bytes in memory."""
    return ImageError(error.reason, error.detail)


def _padded(images: Sequence[np.ndarray], size: int) -> np.ndarray:
    return np.stack([*images, *[images[-1]] * (size - len(images))])


def _fetch(values: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
    return {layer: np.asarray(value)[:count] for layer, value in values.items()}


def _dispatch(images: np.ndarray, compute: Compute, size: int) -> Mapping[str, Any] | None:
    """Start a batch; ``None`` if the device is out of memory (`_fetch_or_halve` then halves it)."""
    if not len(images):
        return None
    try:
        return compute(_padded(list(images), size))
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return None


def _fetch_or_halve(
    pending: Mapping[str, Any] | None, images: np.ndarray, compute: Compute, width: int, size: int
) -> tuple[dict[str, np.ndarray], int]:
    """Fetch a batch that was dispatched `width` wide; returns it and the batch size that fits (at most `size`)."""
    try:
        if pending is not None:
            return _fetch(pending, len(images)), size
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    # Several batches were in flight when the first did not fit: that one determined the size that fits.
    size = min(size, width // 2)
    while size:
        try:
            parts = [
                _fetch(compute(_padded(list(images[i : i + size]), size)), len(images[i : i + size]))
                for i in range(0, len(images), size)
            ]
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            size //= 2
            continue
        return {layer: np.concatenate([p[layer] for p in parts]) for layer in parts[0]}, size
    raise FeatcacheError(NO_MEMORY)


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error means that the device is out of memory."""
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
