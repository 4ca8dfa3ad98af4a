"""Reading and writing a cache beside plain numpy, in one run, as ratios.

- all rows into memory: `FeatureCache.to_numpy`, every row verified, and the same unverified, against
  ``numpy.load`` of the same array;
- 256 random rows: `FeatureCache.mapped` and the verified `features`, against a raw ``numpy.memmap``;
- append in batches of 32: `CacheWriter.write`, checksums included, against writing into a raw ``numpy.memmap``
  (both without fsync);
- opening, in milliseconds.

The contenders take turns within a repeat, so that a busy machine slows all of them; a ratio is the median over
the repeats of (time of numpy) / (time of featcache). Above 1 featcache is faster.

Command: ``python benchmarks/cache.py --repeats 21`` (needs 1 GB of memory and of disk)

Result on two cores (Xeon 2.8 GHz, a virtual machine; 45 s): of 40,000 rows of 1280 float32, unverified 0.92x
and verified 0.52x of ``numpy.load``; mapped 0.98x of ``numpy.memmap``, verified random rows 0.37x; append 0.11x
(470 MB/s); opening 4.5 ms. float16: 0.95x, 0.35x, 0.96x, 0.21x. 25,000 rows of 2048 float32: 0.96x, 0.57x,
1.00x, 0.44x. Verifying costs one CRC-32, which zlib computes at about 2 GB/s on a core.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from featcache.cache import CacheWriter, FeatureCache, LayerSpec, RowTable
from featcache.cache.layout import build_identity


def create(path: Path, count: int, width: int, dtype: str) -> CacheWriter:
    rows = RowTable(
        ids=tuple(f"train/class/{row:07d}.jpg" for row in range(count)),
        sha256=np.arange(count * 32, dtype=np.uint64).astype(np.uint8).reshape(count, 32),
        labels=np.zeros(count, np.int32),
        splits=np.zeros(count, np.int16),
        sizes=np.zeros(count, np.int64),
        mtimes_ns=np.zeros(count, np.int64),
    )
    identity = build_identity(
        recipe={"stored_dtype": dtype, "views": {"count": 1}},
        layers={"pool": LayerSpec((width,), dtype, "ab" * 32)},
        dataset={"spec": "", "classes": ["class"], "splits": ["train"], "rule": None},
        rows=rows,
        provenance={"backbone": "none"},
    )
    return CacheWriter.create(path, identity=identity, rows=rows)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def medians(contenders: Mapping[str, Callable[[], object]], repeats: int, base: str) -> dict[str, str]:
    """Median ratio of the base's time to each other's, with the middle half of the ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats + 1):
        for name, work in contenders.items():
            taken = timed(work)
            if repeat:  # the first is for the page cache
                seconds[name].append(taken)
    lines = {base: f"{1000 * statistics.median(seconds[base]):.2f} ms"}
    for name in contenders:
        if name != base:
            ratios = [a / b for a, b in zip(seconds[base], seconds[name], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            lines[name] = f"{middle:.2f}x ({low:.2f} to {high:.2f})"
    return lines


def append(store: Callable[[int, np.ndarray], None], values: np.ndarray, batch: int = 32) -> None:
    for first in range(0, len(values), batch):
        store(first, values[first : first + batch])


def bench_append(writer: CacheWriter, raw: np.ndarray, values: np.ndarray, repeats: int) -> dict[str, str]:
    writer.sync = lambda: None  # type: ignore[method-assign] - the memmap is not synced either

    def into_cache(first: int, part: np.ndarray) -> None:
        writer.write(np.arange(first, first + len(part)), {"pool": part})

    def into_memmap(first: int, part: np.ndarray) -> None:
        raw[first : first + len(part)] = part

    contenders = {
        "raw memmap": lambda: append(into_memmap, values),
        "CacheWriter.write": lambda: append(into_cache, values),
    }
    with writer:
        found = medians(contenders, repeats, "raw memmap")
        writer.publish()
    return found


def bench(count: int, width: int, dtype: str, repeats: int, folder: Path) -> None:
    values = np.random.default_rng(0).normal(size=(count, width)).astype(dtype)
    npy, path = folder / "a.npy", folder / "a.h5"
    np.save(npy, values)
    raw = np.lib.format.open_memmap(folder / "b.npy", "w+", values.dtype, values.shape)
    writing = bench_append(create(path, count, width, dtype), raw, values, max(3, repeats // 4))
    cache = FeatureCache(path)
    everything = cache.rows_of()
    contenders = {
        "numpy.load": lambda: np.load(npy),
        "to_numpy, verified": cache.to_numpy,
        "features, verify=False": lambda: cache.features(everything, verify=False),
    }
    reading = medians(contenders, repeats, "numpy.load")
    chance = np.random.default_rng(1)
    mapped, memmap = cache.mapped(), np.load(npy, mmap_mode="r")
    picks = [chance.permutation(count)[:256] for _ in range(50)]
    contenders = {
        "numpy.memmap": lambda: [memmap[pick] for pick in picks],
        "mapped": lambda: [mapped[pick] for pick in picks],
        "features, verified": lambda: [cache.features(pick) for pick in picks],
    }
    picking = medians(contenders, repeats, "numpy.memmap")
    opening = statistics.median(timed(lambda: FeatureCache(path).close()) for _ in range(repeats))
    print(f"\n{count} rows of {width} {dtype} ({values.nbytes / 1e6:.0f} MB)")
    for title, lines in (
        ("all rows into memory", reading),
        ("50 times 256 random rows", picking),
        ("append", writing),
    ):
        print(f"  {title}: " + ", ".join(f"{name} {figure}" for name, figure in lines.items()))
    print(f"  open: {1000 * opening:.2f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--rows", type=int, default=40000)
    arguments = parser.parse_args()
    for width, dtype in ((1280, "float32"), (1280, "float16"), (2048, "float32")):
        with tempfile.TemporaryDirectory() as folder:
            bench(arguments.rows * 1280 // width, width, dtype, arguments.repeats, Path(folder))


if __name__ == "__main__":
    main()
