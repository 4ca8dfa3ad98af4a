"""How often heads with default settings are right, beside scikit-learn's grid search and nearest class means.

Contenders learn from the same draws of a cache's training rows, and all test rows judge them:

- ``full``: `featcache.train_head` with default settings, with ``head="logistic"``, and the winner of a default
  `featcache.sweep`, beside scikit-learn's ``GridSearchCV`` over C = 1e-4 … 1e2 (standardised, five folds, refitted);
  100, 300 and 1,000 training rows (or as many as there are); as they are, with the labels of 10 % of the training rows
  wrong, and, where there are four classes or more, with the first half of the classes told from the others;
- ``few``: every kind of head with 1, 2, 5 and 10 rows of each class, beside nearest class means of rows of unit length
  (``prototype``).

A figure is the mean over the draws, and its standard error; in brackets, the difference to the grid search, or to the
class means, on the same draws.

Command: ``python benchmarks/accuracy.py CACHE… [--draws 20] [--rows 100,300,1000] [--only few]``.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import featcache
from featcache.cache import FeatureCache
from featcache.heads.feature_table import ArrayTable, FeatureRows
from featcache.heads.fitted_head import FittedHead
from featcache.heads.settings import HEADS, Settings
from featcache.heads.usual_settings import for_rows, with_fading_votes
from featcache.solvers.fit import fit_heads

STRENGTHS = [10.0**power for power in range(-4, 3)]
NOISE = 0.1


class DrawnCache(FeatureCache):
    """A cache of whose training rows some are drawn, with the labels of some of these replaced.

    Its other rows are test rows, whatever they are called: what validates is held out of the training rows. With
    `halves` it has two classes, each of half of the cache's (of five, of three and of two).
    """

    def __init__(self, path: Path, *, rows: int, seed: int, noise: float = 0.0, halves: bool = False) -> None:
        super().__init__(path)
        self._halves = halves
        if halves:
            first = (len(super().classes) + 1) // 2
            self.labels = (self.labels >= first).astype(self.labels.dtype)
        self._held = super().rows_of("test" if "test" in super().splits else "val")
        random = np.random.default_rng(seed)
        train = super().rows_of("train")
        self._drawn = np.sort(random.permutation(train)[:rows])
        wrong = random.permutation(self._drawn)[: round(noise * len(self._drawn))]
        steps = random.integers(1, len(self.classes), len(wrong))
        self.labels = self.labels.copy()
        self.labels[wrong] = (self.labels[wrong] + steps) % len(self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """The cache's classes, or its two halves."""
        return ("first", "second") if getattr(self, "_halves", False) else super().classes

    @property
    def splits(self) -> tuple[str, ...]:
        """The training rows, and those that test."""
        return ("train", "test") if hasattr(self, "_held") else super().splits

    def rows_of(self, split: str | None = None, **more: Any) -> np.ndarray:
        """Return the training rows that were drawn, or the test rows."""
        own = {"train": self._drawn, "test": self._held} if hasattr(self, "_drawn") else {}
        return own[split] if split in own else super().rows_of(split, **more)


def parts(cache: FeatureCache, layer: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return features ``[n, D]`` and labels of training rows, then of test rows."""
    rows = cache.rows_of("train"), cache.rows_of("test" if "test" in cache.splits else "val")
    features = [np.reshape(cache.features(own, layer), (len(own), -1)) for own in rows]
    return features[0], cache.labels[rows[0]], features[1], cache.labels[rows[1]]


def right_share(cache: FeatureCache, layer: str, classifier: Any) -> float:
    _, _, x, labels = parts(cache, layer)
    return float(np.mean(classifier.logits(x).argmax(axis=1) == labels))


def trained(head: str | None) -> Callable[[FeatureCache, str, Path], float]:
    def run(cache: FeatureCache, layer: str, folder: Path) -> float:
        del folder
        return right_share(
            cache, layer, featcache.train_head(cache, output=None, layer=layer, head=head, test="none")
        )

    return run


def swept(cache: FeatureCache, layer: str, folder: Path) -> float:
    result = featcache.sweep(cache, output=folder, layer=layer, test="none")
    return right_share(cache, layer, featcache.Classifier.load(str(result.classifier)))


def searched(cache: FeatureCache, layer: str, folder: Path) -> float:
    del folder
    x, labels, test, known = parts(cache, layer)
    steps = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    # As many folds as the smallest class has rows, at most five: else a fold lacks it.
    folds = StratifiedKFold(int(np.clip(np.bincount(labels).min(), 2, 5)), shuffle=True, random_state=0)
    search = GridSearchCV(steps, {"logisticregression__C": STRENGTHS}, cv=folds).fit(x, labels)
    return float(np.mean(search.predict(test) == known))


CONTENDERS: Mapping[str, Callable[[FeatureCache, str, Path], float]] = {
    "grid search": searched,
    "train-head": trained(None),
    "logistic": trained("logistic"),
    "sweep": swept,
}


def shown(scores: Mapping[str, list[float]], beside: str) -> Iterator[str]:
    base = np.array(scores[beside])
    for name, values in scores.items():
        own = np.array(values)
        error = own.std(ddof=1) / np.sqrt(len(own)) if len(own) > 1 else 0.0
        told = f"{name} {100 * own.mean():.2f} ± {100 * error:.2f}"
        yield told if name == beside else f"{told} ({100 * np.mean(own - base):+.2f})"


CASES: Mapping[str, Mapping[str, Any]] = {
    "": {},
    f", {NOISE:.0%} of the labels wrong": {"noise": NOISE},
    ", half of the classes against the others": {"halves": True},
}
"""What is said of a case, and how its rows are drawn."""


def full(path: Path, layer: str, rows: int, draws: int, case: Mapping[str, Any]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for seed in range(draws):
        cache = DrawnCache(path, rows=rows, seed=seed, **case)
        for name, run in CONTENDERS.items():
            with tempfile.TemporaryDirectory() as folder:
                scores[name].append(run(cache, layer, Path(folder) / "sweep"))
    return scores


def few(path: Path, layer: str, shots: int, draws: int) -> dict[str, list[float]]:
    """Fit all draws of a kind of head in one program, as a sweep with ``--shots`` does."""
    cache = FeatureCache(path)
    x, labels, test, known = parts(cache, layer)
    classes = len(cache.classes)
    weight = np.zeros((draws, len(x)), np.float32)
    for seed, own in enumerate(weight):
        order = np.random.default_rng(seed).permutation(len(x))
        for label in range(classes):
            own[order[labels[order] == label][:shots]] = 1
    used = weight.any(axis=0)
    rows = FeatureRows(ArrayTable(x[used]), labels[used], weight[:, used])
    nothing = FeatureRows(ArrayTable(x[:0]), labels[:0], weight[:, :0])
    scores = {}
    for head in ("prototype", *(name for name in HEADS if name != "prototype")):
        usual = with_fading_votes(Settings(head=head))
        enough = for_rows(usual, shots * classes, ())
        settings = [replace(enough, seed=seed) for seed in range(draws)]
        fits = fit_heads(settings, rows, nothing, classes=classes)
        heads = [FittedHead(usual, fit.parameters, classes, cache.task) for fit in fits]
        scores[head] = [float(np.mean(head.logits(test).argmax(axis=1) == known)) for head in heads]
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("caches", nargs="+", type=Path)
    parser.add_argument("--layer", default=None)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--rows", default="100,300,1000")
    parser.add_argument("--shots", default="1,2,5,10")
    parser.add_argument("--only", choices=("full", "few"))
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    for path in given.caches:
        cache = FeatureCache(path)
        layer = cache.layer(given.layer)
        for shots in map(int, given.shots.split(",")) if given.only != "full" else ():
            scores = few(path, layer, shots, given.draws)
            print(f"{path.name}, {shots} of each class:", ", ".join(shown(scores, "prototype")), flush=True)
        most = len(cache.rows_of("train"))
        sizes = sorted({min(most, int(rows)) for rows in given.rows.split(",")})
        for rows in sizes if given.only != "few" else ():
            for what, case in CASES.items():
                if case.get("halves") and len(cache.classes) < 4:
                    continue
                scores = full(path, layer, rows, given.draws, case)
                print(f"{path.name}, {rows} rows{what}:", ", ".join(shown(scores, "grid search")), flush=True)


if __name__ == "__main__":
    main()
