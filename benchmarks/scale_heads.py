"""Time and peak memory of what follows an extraction, at a million rows: heads, scores, searches, audits.

Features are made up: a hundred classes, each a mean and forty directions in which its photos vary, behind a ReLU as a
network's are, 1,280 of float16, and beside them the colours that every extraction measures. Two rows in a thousand are
near copies of the row before, one in a thousand has the bytes of it, and one in fifty has a wrong label. No photo is
there: what reads pictures (the second evidence of copies, odd looks, contact sheets) says so and goes without.

Each command runs in a process of its own, as users run it; its peak is that of its resident memory, the largest of it
and its children, of which pages of the cache that were mapped are a part. What takes longer than `--limit` is ended,
and shown as such.

Measured at 1,000,000 rows on two cores that nine or more other programs wanted, so that only seconds of cores and peaks
can be compared; what is not named was not run. Of the sweep 145 s are three epochs of three heads, 51 the fit of two on
all rows, 19 what calibrates and checks the chosen one. The audit was run with one thread for each product, as threads
that wait for each other there count as work, and its parts are what it took from one list to the next:

==================  ================  ==========  ======================================================
command             seconds of cores  peak        found
==================  ================  ==========  ======================================================
train-head          178               2,362 MiB   98.1 % of 100,000 right; epoch 1 of 3
sweep               237               2,441 MiB   98.1 % of 100,000 right; three learning rates, epoch 1 of 3
evaluate            7                 599 MiB
similar             5                 329 MiB
audit               514               3,145 MiB   all lists, in 1,224 s there; the parts:
  wrong labels      237               2,634 MiB   19,624 wrong labels, 2.0 % (1.9–2.0); 99.4 % of those flipped
  copies            205               3,145 MiB   all 1,939 near and 1,018 exact ones
  outliers          61                            12,464; none is planted
==================  ================  ==========  ======================================================

Command: ``python benchmarks/scale_heads.py [--rows 1000000] [--parts train-head,sweep,…] [--limit 600]``.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcache.cache import CacheWriter, LayerSpec, RowTable
from featcache.cache.layout import build_identity
from featcache.core.identity import Recipe
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.colour_statistics import WIDTH as COLOURS

RECIPE = Recipe("mobilenet_v2", 1, {"width": 1.0}, "ab" * 32, {"input_size": [224, 224], "crop_pct": 0.875})
CLASSES, LATENT = 100, 40
SPLITS = ("train", "val", "test")
NEAR, SAME, FLIPPED = 0.002, 0.001, 0.02
_BLOCK = 8192


@dataclass(frozen=True)
class Ran:
    """What one command took.

    Parameters
    ----------
    name, seconds
        The command and how long it ran.
    cores
        Seconds of all cores together: half of `seconds` and less where others worked on the machine beside it.
    peak
        Resident MiB at most.
    ended, said
        How it ended, if not well, and the last line that it printed.
    """

    name: str
    seconds: float
    cores: float
    peak: float
    ended: str
    said: str


def made_rows(rows: int, seed: int = 0) -> tuple[RowTable, np.ndarray]:
    """Return the row table; and of each row its true class, and whether it is a near or an exact copy, ``[3, N]``."""
    random = np.random.default_rng(seed)
    true = random.integers(0, CLASSES, rows)
    drawn = random.random((3, rows))
    near, same = drawn[0] < NEAR, drawn[1] < SAME
    near[0] = same[0] = False
    same &= ~near & ~np.roll(near | same, 1)  # of a row that is itself no copy
    true[near | same] = true[np.flatnonzero(near | same) - 1]
    labels = np.where(drawn[2] < FLIPPED, random.integers(0, CLASSES, rows), true).astype(np.int32)
    numbers = np.arange(rows)
    digests = b"".join(
        hashlib.sha256(b"%d" % (row - own)).digest()
        for row, own in zip(range(rows), same.tolist(), strict=True)
    )
    table = RowTable(
        ids=tuple(f"c{label:03d}/{row:08d}.jpg" for row, label in enumerate(labels.tolist())),
        sha256=np.frombuffer(digests, np.uint8).reshape(rows, 32),
        labels=labels,
        splits=np.select([numbers % 10 < 8, numbers % 10 == 8], [0, 1], 2).astype(np.int16),
        sizes=np.full(rows, 100_000),
        mtimes_ns=np.zeros(rows, np.int64),
    )
    return table, np.stack([true, near, same])


def made_features(
    true: np.ndarray, copied: np.ndarray, width: int, seed: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Yield features float16 ``[n, D]`` and colours ``[n, 54]``, block by block; see the module.

    `copied` says of which kind a copy of the row before is: 1 for nearly the same, 2 for the same.
    """
    random = np.random.default_rng(seed + 1)
    means = random.normal(0, 0.35, (CLASSES, width)).astype(np.float32)
    directions = random.normal(0, 1 / np.sqrt(LATENT), (LATENT, width)).astype(np.float32)
    last, seen = np.zeros(width, np.float32), np.zeros(COLOURS, np.float32)
    for start in range(0, len(true), _BLOCK):
        own = true[start : start + _BLOCK]
        x = means[own] + random.standard_normal((len(own), LATENT), np.float32) @ directions
        x += 0.3 * random.standard_normal((len(own), width), np.float32)
        x = np.maximum(x, 0)
        colours = random.random((len(own), COLOURS), np.float32)
        kinds = copied[start : start + _BLOCK]
        for place in np.flatnonzero(kinds):
            x[place], colours[place] = (x[place - 1], colours[place - 1]) if place else (last, seen)
            if kinds[place] == 1:
                x[place] = np.maximum(x[place] + 0.03 * random.standard_normal(width, np.float32), 0)
        last, seen = x[-1], colours[-1]
        yield {"pool": x.astype(np.float16), STATISTICS: colours}


def make_cache(path: Path, rows: int, width: int) -> None:
    """Write a cache of made-up features."""
    table, (true, near, same) = made_rows(rows)
    layers = {
        "pool": LayerSpec((width,), "float16", RECIPE.fingerprint("pool")),
        STATISTICS: LayerSpec((COLOURS,), "float32", RECIPE.fingerprint(STATISTICS)),
    }
    identity = build_identity(
        recipe=RECIPE.to_json(),
        layers=layers,
        dataset={
            "spec": "photos",
            "classes": [f"c{number:03d}" for number in range(CLASSES)],
            "splits": list(SPLITS),
            "rule": None,
        },
        rows=table,
        provenance={"backbone": "mobilenet_v2.tv_in1k", "weights": None},
    )
    with CacheWriter.create(path, identity=identity, rows=table) as writer:
        start = 0
        for features in made_features(true, near + 2 * same, width):
            end = start + len(features["pool"])
            writer.write(np.arange(start, end), features)
            start = end
        writer.publish()


def commands(folder: Path) -> Mapping[str, Sequence[str]]:
    """Return the arguments of each command, in the order in which they use each other's files."""
    cache, head = str(folder / "features.h5"), str(folder / "head")
    return {
        "train-head": ["train-head", cache, "-o", head],
        "sweep": ["sweep", cache, "-o", str(folder / "sweep")],
        "evaluate": ["evaluate", head, cache, "--errors", str(folder / "errors.csv")],
        "predict": ["predict", head, cache, "-q", "--csv", str(folder / "predictions.csv")],
        "similar": ["similar", cache, "row:0", "row:17"],
        "audit": ["audit", cache, "--csv", str(folder / "audit.csv")],
        "audit-labels": ["audit", cache, "--only", "wrong-labels"],
        "audit-copies": ["audit", cache, "--only", "copies"],
        "audit-outliers": ["audit", cache, "--only", "outliers"],
        "suggest": ["suggest", cache, "--split", "train"],
        "suggest-unsure": ["suggest", cache, head, "--split", "test"],
        "report": ["report", head, "-o", str(folder / "report.html")],
    }


USUAL = ("train-head", "sweep", "evaluate", "predict", "similar", "audit", "suggest", "report")


def run(name: str, arguments: Sequence[str], limit: float, log: Path) -> Ran:
    """Run a command, and end it after `limit` seconds."""
    with log.open("wb") as out:
        started = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "featcache", *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended = ""
        while True:
            found, status, used = os.wait4(child.pid, os.WNOHANG)
            if found:
                break
            if not ended and time.monotonic() - started > limit:
                ended = f"ended after {limit:.0f} s"
                os.killpg(child.pid, signal.SIGKILL)
            time.sleep(0.05)
        seconds = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    child.returncode = code
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = lines[-1] if lines else ""
    cores = used.ru_utime + used.ru_stime
    return Ran(
        name, seconds, cores, used.ru_maxrss / 1024, ended or ("" if code == 0 else f"exit {code}"), said
    )


def measure(
    folder: Path, *, rows: int, width: int, parts: Sequence[str], limit: float, quiet: bool = False
) -> list[Ran]:
    """Make the cache, unless it is there, and run the commands; `parts` may name any of `commands`."""
    path = folder / "features.h5"
    if not path.exists():
        started = time.monotonic()
        make_cache(path, rows, width)
        if not quiet:
            print(f"{rows:,} rows of {width}: written in {time.monotonic() - started:.0f} s", flush=True)
    found = []
    for name in parts:
        own = run(name, commands(folder)[name], limit, folder / f"{name}.log")
        found.append(own)
        if not quiet:
            took = f"{own.seconds:7.1f} s ({own.cores:6.1f} of cores) {own.peak:7.0f} MiB"
            print(f"{name:15} {took}  {own.ended or own.said[:90]}", flush=True)
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, and return how many commands failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--parts", default=",".join(USUAL))
    parser.add_argument("--limit", type=float, default=600.0)
    parser.add_argument(
        "--folder", type=Path, help="kept, with the cache; by default a new one, which is removed"
    )
    parser.add_argument("--json", action="store_true")
    own = parser.parse_args(given)
    folder = own.folder or Path(tempfile.mkdtemp(prefix="scale-heads-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        parts = own.parts.split(",")
        ran = measure(folder, rows=own.rows, width=own.width, parts=parts, limit=own.limit, quiet=own.json)
    finally:
        if own.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    if own.json:
        print(json.dumps([vars(each) for each in ran]))
    return sum(bool(each.ended) for each in ran)


if __name__ == "__main__":
    raise SystemExit(main())
