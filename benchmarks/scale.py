"""Time and peak memory of an extraction's own work at a million rows: plan, resume, publish, verify.

Nothing is decoded and no network runs: features are drawn, 1,280 of float16 (`--width`). What a row costs beside its
computing is left: scan, hash, identify, plan, write, verify. Images are records in memory whose bytes are made when
they are read (their sha256 is of different bytes each), or with `--files` as many real files of 64 bytes.

The parts, each in a process of its own, in this order:

- ``plan``: `featcache.extract` from nothing to the first row that would be computed, then stopped;
- ``fill``: the same to half of the rows, then stopped (drawing is taken off its time, writing is not);
- ``resume``: the same command to the first row again, its hashes remembered, half of the rows verified;
- ``publish``: the same to the end; what is told apart is the time after the last row;
- ``again``: the same command once more: nothing is left to do, which is found out by verifying every row;
- ``rename``: every image has another name: all rows are copied to a new cache;
- ``open``: `FeatureCache(path)` and its ids;
- ``verify``: `featcache.cache.verify`, on one core, in GB/s.

What has to hold at 1,000,000 rows of 1,280 float16: plan and publish under 2 minutes and 1 GB, verify 1 GB/s of a core.

Command: ``python benchmarks/scale.py --rows 1000000 [--parts plan,fill,resume,publish] [--files] [--folder DIR]``
(2.7 GB for a cache of a million rows, twice that for ``rename``)

Result at 1,000,000 rows on two cores under a load of 8, whose wall times say little; before the arrays in brackets:
plan 10 s of CPU, 866 MB (954); fill 15 s, 904 MB (1,078); resume 10 s, 900 MB (1,078); publish 12 s, 937 MB (1,078);
again 9 s, 900 MB (1,079); open 0.4 s, 209 MB (281); verify 4.2 GB for each second of the core, 246 MB (1.6, 375 MB).
About 500 MB of that are the made-up records themselves. Of a million real files (`--files`), whose records are columns:
plan 459 MB, fill 506 MB.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CLASSES = 100
BLOCK = 256
PARTS = ("plan", "fill", "resume", "publish", "again", "rename", "open", "verify")


# What is extracted --------------------------------------------------------------------------------------------


def content(number: int) -> bytes:
    """Return the bytes of an image."""
    return b"%064d" % number


def name_of(number: int, prefix: str = "photo") -> str:
    """Return the id of an image."""
    return f"class{number % CLASSES:03}/{prefix}-{number:08}.jpg"


def write_files(root: Path, rows: int) -> None:
    """Write the images as files."""
    for number in range(CLASSES):
        (root / f"class{number:03}").mkdir(parents=True, exist_ok=True)
    for number in range(rows):
        (root / name_of(number)).write_bytes(content(number))


def made_up(rows: int, prefix: str) -> Any:
    """Return a dataset of records in memory, which have the state of a file."""
    from featcache.datasets import Dataset, Record

    records = [
        Record(
            name_of(number, prefix),
            number % CLASSES,
            "",
            partial(content, number),
            size=64,
            mtime_ns=number,
            state=hashlib.blake2b(content(number), digest_size=16).digest(),
        )
        for number in range(rows)
    ]
    classes = tuple(f"class{number:03}" for number in range(CLASSES))
    return Dataset("made", "made", classes, records, location=f"made:{prefix}")


class Drawn:
    """Stands for what runs the network: features are drawn, and the seconds that it takes are counted."""

    running = SimpleNamespace(name="drawn", version="1")
    provenance: dict[str, Any] = {}  # noqa: RUF012  (nothing is recorded of it)
    seconds = 0.0

    def __init__(self, *, extraction: Any, **others: Any) -> None:
        self.width = extraction.specs["pool"].shape[0]

    def probe(self) -> dict[str, list[list[float]]]:
        """Return the features of the probe images."""
        return {"pool": [[1.0], [2.0]]}

    def require_same_probes(self, ours: Any, theirs: Any, *, origin: str) -> None:
        """Compare the probe images' features."""
        assert ours == theirs, origin

    def chunks_of(self, rows: Sequence[int], images: Any) -> Iterator[Any]:
        """Yield drawn features."""
        import numpy as np

        from featcache.extraction.batching import Chunk

        pool = np.random.default_rng(0).random((BLOCK + 64, self.width), np.float32).astype(np.float16)
        for first in range(0, len(rows), BLOCK):
            began = time.perf_counter()
            some = np.array(rows[first : first + BLOCK], np.int64)
            drawn = pool[first // BLOCK % 64 :][: len(some)]
            Drawn.seconds += time.perf_counter() - began
            yield Chunk(some, {"pool": drawn}, [], 0.0, 0.0)


def network(width: int) -> Any:
    """Return as much of a loaded backbone as a request looks at."""
    from featcache.core.identity import Recipe
    from featcache.images.transforms import Transforms

    transforms = Transforms(
        input_size=(8, 8),
        crop_mode="squash",
        interpolation="bilinear",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )

    def recipe(*, stored_dtype: str = "float32", **others: Any) -> Recipe:
        return Recipe(
            "drawn", 1, {"width": width}, "00" * 32, transforms.to_json(), stored_dtype=stored_dtype
        )

    return SimpleNamespace(
        name="drawn.none",
        tag="none",
        weights_path=None,
        state=None,
        pretrained=SimpleNamespace(arch="drawn", tag="none", name="drawn.none"),
        transforms=transforms,
        layers=lambda texts, transforms=None: list(texts),
        feature_shapes=lambda layers, transforms=None: dict.fromkeys(layers, (width,)),
        weights_sha256_to=lambda layer: "00" * 32,
        recipe=recipe,
    )


# The parts ----------------------------------------------------------------------------------------------------


def extraction(
    folder: Path, rows: int, width: int, *, until: int | None, prefix: str = "photo"
) -> dict[str, float]:
    """Extract until that many rows are there; returns the seconds of each stage."""
    import featcache
    import featcache.extraction.arguments as arguments
    from featcache.errors import Interrupted

    arguments.FeatureRunner = Drawn  # pyright: ignore[reportAttributeAccessIssue]
    began = time.perf_counter()
    stamps: dict[str, float] = {}
    last = [began, "open"]
    first_row: list[float] = []
    done = [0]

    def note(progress: Any) -> None:
        now = time.perf_counter()
        stamps[last[1]] = stamps.get(last[1], 0.0) + now - last[0]
        last[:] = [now, progress.stage]
        done[0] = progress.done if progress.stage == "compute" else 0
        if progress.stage == "compute" and not first_row:
            first_row.append(now - began)

    def stop() -> bool:
        return until is not None and last[1] == "compute" and done[0] >= until

    files = folder / "files"
    source = str(files) if files.exists() and prefix == "photo" else made_up(rows, prefix)
    found = {"open": time.perf_counter() - began}
    try:
        done_extraction = featcache.extract(
            source,
            backbone=network(width),
            layers=["pool"],
            image_statistics=False,
            dtype="float16",
            output=folder / f"{prefix}.h5",
            on_progress=note,
            stop=stop,
        )
        assert done_extraction.images == rows
    except Interrupted:
        pass
    ended = time.perf_counter()
    stamps[last[1]] = stamps.get(last[1], 0.0) + ended - last[0]
    first = first_row[0] if first_row else ended - began
    found |= {"before the first row": first} if first_row else {}
    found |= {f"in stage {name}": seconds for name, seconds in stamps.items() if name != "open"}
    return {"seconds": ended - began - Drawn.seconds, **found}


def verification(folder: Path, rows: int) -> dict[str, float]:
    """Verify on one core; returns seconds and GB/s."""
    from featcache.cache import FeatureCache
    from featcache.cache.maintenance import verify

    path = folder / "photo.h5"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with FeatureCache(path) as cache:
        size = cache.nbytes
    runs = []
    for _ in range(3):
        began, cpu = time.perf_counter(), time.process_time()
        assert verify(path).ok
        runs.append((time.perf_counter() - began, time.process_time() - cpu))
    wall, cpu = min(runs)
    return {"seconds": wall, "GB/s": size / wall / 1e9, "GB per second of the core": size / cpu / 1e9}


def opening(folder: Path, rows: int) -> dict[str, float]:
    """Open the cache, then ask for its ids."""
    from featcache.cache import FeatureCache

    began = time.perf_counter()
    cache = FeatureCache(folder / "photo.h5")
    opened = time.perf_counter()
    assert len(cache.ids) == rows
    return {"seconds": time.perf_counter() - began, "open": opened - began}


def run_part(part: str, folder: Path, rows: int, width: int) -> Mapping[str, float]:
    """Do one part in this process; returns its figures."""
    import resource

    extract = partial(extraction, folder, rows, width)
    parts: Mapping[str, Callable[[], dict[str, float]]] = {
        "plan": lambda: extract(until=0),
        "fill": lambda: extract(until=rows // 2),
        "resume": lambda: extract(until=0),
        "publish": lambda: extract(until=None),
        "again": lambda: extract(until=None),
        "rename": lambda: extract(until=None, prefix="renamed"),
        "open": lambda: opening(folder, rows),
        "verify": lambda: verification(folder, rows),
    }
    found = parts[part]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {
        "cpu": time.process_time(),
        "megabytes": peak / (1e6 if sys.platform == "darwin" else 1e3),
    }


def measure(part: str, folder: Path, rows: int, width: int) -> Mapping[str, float]:
    """Do one part in a process of its own."""
    command = [sys.executable, os.path.abspath(__file__), "--part", part, "--folder", str(folder)]
    environment = os.environ | {"FEATCACHE_HOME": str(folder / "home")}
    done = subprocess.run(
        [*command, "--rows", str(rows), "--width", str(width)],
        check=True,
        stdout=subprocess.PIPE,
        env=environment,
    )
    return json.loads(done.stdout)


def table(folder: Path, parts: Sequence[str], rows: int, width: int, *, files: bool) -> None:
    """Measure the parts and print a line of each."""
    if files and not (folder / "files").exists():
        write_files(folder / "files", rows)
    print(f"{rows:,} rows of {width} float16, {'files' if files else 'records in memory'}")
    for part in parts:
        found = dict(measure(part, folder, rows, width))
        seconds, cpu, peak = found.pop("seconds"), found.pop("cpu"), found.pop("megabytes")
        told = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        print(f"{part:<8} {seconds:8.2f} s {cpu:8.2f} s of CPU {peak:7.0f} MB   ({told})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--files", action="store_true", help="real files of 64 bytes")
    parser.add_argument("--folder", type=Path, help="keep everything there")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(run_part(asked.part, asked.folder, asked.rows, asked.width)))
        return
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part {min(unknown)}; they are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        table(folder, asked.parts, asked.rows, asked.width, files=asked.files)


if __name__ == "__main__":
    main()
