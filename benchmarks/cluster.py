"""One process beside actors of Ray on the same cores, in pairs that take turns, as ratios.

Each run is a process of its own that extracts the same made-up JPEGs into a new file. Of each are told: seconds until
the first row (imports, weights, compilation; with actors also Ray's start and theirs), images/s of the last four
fifths of the rows, seconds in all, and the processor's milliseconds for each image, of all processes: where other
programs want the same cores, more processes get a larger share of them, and only that says what actors cost. Files
are compared: all bytes but the provenance.

Command: ``python benchmarks/cluster.py [--images 5000] [--pairs 2] [--actors 2] [--weights FILE]
[--backbone mobilenet_v2 resnet50]`` (needs the extra ray; random weights unless a file is given).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import psutil
from PIL import Image

PICTURES = 40
"""Different pictures; the others are these with another comment in their bytes, so that each is computed."""


class Timing(NamedTuple):
    """Seconds until the first row, of the last four fifths of the rows, and in all; the processor's, of the same rows.

    `images` is the number of these rows.
    """

    first: float
    computing: float
    total: float
    processor: float
    images: int


def make_photos(folder: Path, count: int) -> None:
    """Write JPEGs of 500 × 375 pixels whose bytes all differ."""
    draw = np.random.default_rng(0)
    encoded = []
    for number in range(min(count, PICTURES)):
        small = Image.fromarray(draw.integers(0, 256, (24, 32, 3), np.uint8))
        path = folder / f"{number}.jpg"
        small.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        encoded.append(path.read_bytes())
        path.unlink()
    for number in range(count):
        data, comment = encoded[number % len(encoded)], f"photo {number}".encode()
        place = folder / ("a", "b")[number % 2] / f"{number:06}.jpg"
        place.parent.mkdir(exist_ok=True)
        # A comment (marker FFFE, its length, its text) behind the start of the image.
        place.write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:])


def run(arguments: dict[str, Any]) -> None:
    """Extract in this process, which is one run, and print its timing."""
    began = time.perf_counter()
    import featcache

    seen: list[tuple[float, float, int]] = []

    def told(progress: "featcache.Progress") -> None:
        now = time.perf_counter() - began
        done = progress.done == progress.total
        if progress.stage == "compute" and progress.done and (done or not seen or now > seen[-1][0] + 1):
            seen.append((now, processor_seconds(), progress.done))

    featcache.enable_compilation_cache()
    featcache.extract(on_progress=told, **arguments)
    # From a fifth on: the second actor still starts while the first one computes.
    since, before, some = next(each for each in seen if each[2] >= seen[-1][2] / 5)
    last, after, most = seen[-1]
    print(json.dumps([seen[0][0], last - since, time.perf_counter() - began, after - before, most - some]))


def processor_seconds() -> float:
    """Return what this process and those below it have used."""
    me = psutil.Process()
    used = 0.0
    for each in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used += sum(each.cpu_times()[:2])
    return used


def timed(home: Path, arguments: dict[str, Any]) -> Timing:
    """Return the timing of a run in a new process; `home` holds compiled programs, and no hashes."""
    for file in (home / "hashes").glob("*"):
        file.unlink()
    done = subprocess.run(
        [sys.executable, __file__, "--run", json.dumps(arguments)],
        env=os.environ | {"FEATCACHE_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Timing(*json.loads(done.stdout.splitlines()[-1]))


def stored(path: Path) -> dict[str, bytes]:
    """Return the bytes of all that a cache holds but its identity, whose provenance says who computed it."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()].tobytes()})
                if isinstance(item, h5py.Dataset) and name != "identity"
                else None
            )
        )
    return found


def compare(name: str, folder: Path, work: Path, asked: argparse.Namespace) -> None:
    """Print the medians of pairs of runs and their ratios."""
    timings: dict[int, list[Timing]] = {0: [], asked.actors: []}
    held = {}
    for pair in range(asked.pairs + 1):  # the first one compiles
        for actors in [*timings][:: 1 if pair % 2 else -1]:
            (work / str(actors)).mkdir(exist_ok=True)
            output = work / str(actors) / f"{name}-{pair}.h5"
            arguments = {
                "dataset": str(folder),
                "backbone": name,
                "weights": asked.weights or "random",
                "output": str(output),
                **({"cluster": "ray", "actors": actors} if actors else {}),
            }
            if pair == 0:
                arguments["split"] = "[:300]"
            timing = timed(work / "home", arguments)
            if pair:
                timings[actors].append(timing)
                held[actors] = stored(output)
            output.unlink()
    assert held[0] == held[asked.actors], f"{name}: actors computed other bytes"
    print(f"{name}, {asked.images} images, medians of {asked.pairs} pairs (the same bytes)")
    for actors, label in ((0, "one process"), (asked.actors, f"{asked.actors} actors")):
        used = 1000 * statistics.median(each.processor / each.images for each in timings[actors])
        rates = [each.images / each.computing for each in timings[actors]]
        first, total = (
            statistics.median(getattr(each, field) for each in timings[actors])
            for field in ("first", "total")
        )
        print(
            f"  {label:<12} first row {first:6.1f} s, then {statistics.median(rates):7.1f} images/s, "
            f"in all {total:7.1f} s; {used:.1f} ms of the processor"
        )
    for what, value in (
        ("computing", lambda each: each.computing / each.images),
        ("computing, of the processor", lambda each: each.processor / each.images),
        ("in all", lambda each: each.total),
    ):
        ratios = [value(b) / value(a) for a, b in zip(timings[0], timings[asked.actors], strict=True)]
        told = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        print(
            f"  time with actors / without, {what}: {statistics.median(ratios):.3f} (pairs: {told})",
            flush=True,
        )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--weights")
    parser.add_argument("--backbone", nargs="+", default=["mobilenet_v2", "resnet50"])
    parser.add_argument("--run", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        run(asked.run)
        return
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "photos")
        folder.mkdir()
        make_photos(folder, asked.images)
        for name in asked.backbone:
            compare(name, folder, Path(work), asked)


if __name__ == "__main__":
    main()
