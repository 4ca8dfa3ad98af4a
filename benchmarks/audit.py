"""How many flipped labels an audit finds, beside cleanlab's Datalab, and what an audit costs.

- ``flips``: of each cache the labels of 3 % of the rows are replaced by another class, in several draws. Of each
  contender the share of the flips among the first 3 % and 6 % of its list, how many it calls wrong and which share of
  these are flips (a photo that was labelled wrongly before counts as none), and seconds. Contenders are
  `featcache.audit` (features to list) and Datalab's label issues on probabilities by scikit-learn's cross-validated
  ``LogisticRegression``, as its documentation does it, or on its own nearest neighbours (``--datalab PYTHON``, a Python
  with ``cleanlab[datalab]``).
- ``made``: seconds and peak memory of a whole audit, all lists, on made-up features of 10,000 and of 100,000 rows of
  1280.

Command: ``python benchmarks/audit.py flips CACHE… [--draws 5] [--datalab PYTHON]``, ``python benchmarks/audit.py made
[--rows 10000]``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from featcache.auditing.audit import audit
from featcache.cache import FeatureCache

SHARE = 0.03

DATALAB = """
import sys, time, json, warnings
import numpy as np
warnings.simplefilter("ignore")
from cleanlab import Datalab
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
found = np.load(sys.argv[1])
x, y, how = found["x"], found["y"], sys.argv[2]
started = time.monotonic()
given = {"features": x}
if how == "probabilities":
    given = {"pred_probs": cross_val_predict(LogisticRegression(max_iter=1000), x, y, cv=5, method="predict_proba")}
lab = Datalab(data={"label": y}, label_name="label", verbosity=0)
lab.find_issues(**given, issue_types={"label": {}})
issues = lab.get_issues("label")
score = issues["label_score"].to_numpy()
print(json.dumps({"order": np.argsort(score, kind="stable").tolist(),
                  "wrong": np.flatnonzero(issues["is_label_issue"].to_numpy()).tolist(),
                  "seconds": time.monotonic() - started}))
"""


class FlippedCache(FeatureCache):
    """A cache in which the labels of some rows are replaced by another class; `flipped` says which."""

    def __init__(self, path: Path, *, seed: int, share: float = SHARE) -> None:
        super().__init__(path)
        rows = self.rows_of()
        random = np.random.default_rng(seed)
        self.flipped = random.permutation(rows)[: round(share * len(rows))]
        steps = random.integers(1, len(self.classes), len(self.flipped))
        self.labels = self.labels.copy()
        self.labels[self.flipped] = (self.labels[self.flipped] + steps) % len(self.classes)


def ours(cache: FlippedCache, seed: int) -> dict[str, Any]:
    """Return the rows in the order of the list of wrong labels, those called wrong, and seconds."""
    started = time.monotonic()
    (found,) = audit(cache, only="wrong-labels", seed=seed).lists
    return {
        "order": [entry.row for entry in found.entries],
        "wrong": [entry.row for entry in found.entries if entry.certain],
        "seconds": time.monotonic() - started,
        "share": found.figures["share"],
        "interval": found.figures["interval"],
    }


def datalab(python: str, cache: FlippedCache, how: str) -> dict[str, Any]:
    """Return the same of cleanlab's Datalab, in a process of its own."""
    rows = cache.rows_of()
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "given.npz")
        np.savez(given, x=np.asarray(cache.features(rows), np.float32), y=cache.labels[rows])
        ran = subprocess.run(
            [python, "-c", DATALAB, str(given), how], capture_output=True, text=True, check=True
        )
    found = json.loads(ran.stdout.splitlines()[-1])
    return found | {name: rows[found[name]].tolist() for name in ("order", "wrong")}


def scores(found: dict[str, Any], cache: FlippedCache) -> dict[str, float]:
    """Return how many flips are among the first rows and among those called wrong."""
    flipped, count = set(cache.flipped.tolist()), len(cache.rows_of())
    first = {share: set(found["order"][: round(share * count)]) for share in (SHARE, 2 * SHARE)}
    wrong = set(found["wrong"])
    return {
        "first 3 %": len(first[SHARE] & flipped) / len(flipped),
        "first 6 %": len(first[2 * SHARE] & flipped) / len(flipped),
        "called wrong": len(wrong) / count,
        "precision": len(wrong & flipped) / max(1, len(wrong)),
        "recall": len(wrong & flipped) / len(flipped),
        "seconds": found["seconds"],
    }


def flips(paths: list[Path], draws: int, python: str | None) -> Iterator[str]:
    """Yield a line for each cache and contender."""
    for path in paths:
        contenders: dict[str, list[dict[str, float]]] = {}
        estimates = []
        for seed in range(draws):
            with FlippedCache(path, seed=seed) as cache:
                found = {"featcache": ours(cache, seed)}
                for how in ("probabilities", "features") if python else ():
                    found[f"Datalab, {how}"] = datalab(str(python), cache, how)
                for name, each in found.items():
                    contenders.setdefault(name, []).append(scores(each, cache))
                estimates.append((found["featcache"]["share"], *found["featcache"]["interval"]))
        for name, drawn in contenders.items():
            means = {key: np.mean([own[key] for own in drawn]) for key in drawn[0]}
            least = min(own["first 6 %"] for own in drawn)
            told = "  ".join(f"{key} {value:.3f}" for key, value in means.items())
            yield f"{path.stem}  {name}: {told}  (least in 6 %: {least:.3f})"
        share, low, high = np.mean(estimates, axis=0)
        yield f"{path.stem}  estimated share of wrong labels: {share:.4f} ({low:.4f}–{high:.4f})"


def made(rows: int, width: int = 1280, classes: int = 10) -> Iterator[str]:
    """Yield seconds and the peak of memory of each list on made-up features of overlapping classes."""
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]
    from helpers.feature_caches import feature_cache

    random = np.random.default_rng(0)
    labels = random.integers(0, classes, rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "made.h5")
        middles = random.normal(size=(classes, width)).astype(np.float32) * 0.15
        features = middles[labels] + random.standard_normal((rows, width), np.float32)
        np.maximum(features, 0, out=features)
        wrong = random.permutation(rows)[: round(SHARE * rows)]
        given = labels.copy()
        given[wrong] = (given[wrong] + 1) % classes
        names = [f"class {number}" for number in range(classes)]
        feature_cache(path, features, given, ["train"] * rows, classes=names).close()
        del features
        yield f"{rows:,} rows x {width}, {classes} classes"
        ran = subprocess.run(
            [sys.executable, __file__, "one", str(path)], capture_output=True, text=True, check=True
        )
        yield ran.stdout.rstrip()


def one(path: Path) -> Iterator[str]:
    """Yield seconds and the peak of memory of an audit of a cache, in this process."""
    began = time.monotonic()
    times: list[tuple[float, str]] = []
    found = audit(path, on_progress=lambda own: times.append((time.monotonic(), own.note)))
    for (start, note), (end, _) in pairwise(times):
        yield f"  {note}: {end - start:.1f} s"
    spent = f"{time.monotonic() - began:.1f} s ({time.process_time():.1f} s of CPU with imports)"
    yield f"  all: {spent}, peak {_peak():.2f} GiB; {found['wrong-labels'].finding}"


def _peak() -> float:
    """Return the most memory that this process held, in GiB; ``ru_maxrss`` would count the one that started it, too."""
    told = Path("/proc/self/status").read_text()
    return int(told.split("VmHWM:")[1].split()[0]) / 2**20


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["flips", "made", "one"])
    parser.add_argument("caches", nargs="*", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--datalab", help="a Python with cleanlab[datalab]")
    parser.add_argument("--rows", type=int, default=10_000)
    given = parser.parse_args()
    lines = {
        "flips": lambda: flips(given.caches, given.draws, given.datalab),
        "made": lambda: made(given.rows),
        "one": lambda: one(given.caches[0]),
    }
    for line in lines[given.what]():
        print(line, flush=True)


if __name__ == "__main__":
    main()
