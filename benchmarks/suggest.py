"""How many labels a head needs where `featcache.suggest` chooses the photos, beside random and other choices.

The labels of a cache's training rows are hidden; each contender asks for some, a logistic head learns from them, more
are asked for, and all test (or validation) rows judge it. The contenders:

- ``suggest``: what featcache does (`featcache.labelling.representatives`); ``typical``: the same without asking a
  head how sure it is, TypiClust at every size;
- ``k-means``: the nearest to each of as many weighted means (Zhdanov, 2019, over all photos); ``coverage``: ProbCover
  (Yehuda et al., 2022), with the radius within which clusters of twice as many as classes are 95 % pure;
- ``margin``, ``entropy``: the most uncertain; ``badge``: k-means++ over the gradients of the last layer (Ash et al.,
  2020), the outer products of errors and features, whose distances factorise; ``core-set``: the farthest from all
  labelled ones (Sener and Savarese, 2018). Those that need a head begin with ``typical``.

Measured with features of efficientnet_lite0 (layer pool), ten seeds, accuracy in per cent; in brackets the difference
to random choice with the same seed, and half of its 95 % interval (Student).

RESULTS

Command: ``python benchmarks/suggest.py CACHE… [--seeds 10] [--start random] [--sizes 10,25,50,100,200] [--step 10]``.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

from featcache.cache import FeatureCache
from featcache.core.tasks import MULTICLASS
from featcache.heads.probabilities import softmax
from featcache.heads.scaling import divisors, unit_length
from featcache.heads.usual_settings import DECAY, DECAY_ROWS
from featcache.labelling.pool import Left, read_pool
from featcache.labelling.representatives import representatives
from featcache.labelling.uncertainty import uncertainty
from featcache.metrics.intervals import mean_interval


@dataclass(frozen=True)
class Material:
    """Features ``[N, D]`` and labels of the rows to choose from and of those that judge, and components ``[N, P]``."""

    x: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    known: np.ndarray
    vectors: np.ndarray
    classes: int

    @classmethod
    def of(cls, path: Path, layer: str | None) -> "Material":
        """Read a cache."""
        cache = FeatureCache(path)
        name = cache.layer(layer)
        rows, judges = cache.rows_of("train"), cache.rows_of("test" if "test" in cache.splits else "val")
        x, test = (np.reshape(cache.features(own, name), (len(own), -1)) for own in (rows, judges))
        vectors = read_pool(cache, name, rows, rows[:0], Left()).vectors
        return cls(x, cache.labels[rows], test, cache.labels[judges], vectors, len(cache.classes))


@dataclass(frozen=True)
class State:
    """What a contender knows: places without a label ``[M]``, those with one, and probabilities of the former."""

    free: np.ndarray
    labelled: np.ndarray
    probabilities: np.ndarray | None
    seed: int


Contender = Callable[[Material, State, int], np.ndarray]
"""Returns places among the free ones."""


def by_chance(material: Material, state: State, count: int) -> np.ndarray:
    order = np.random.default_rng(state.seed).permutation(len(material.x))
    place = np.argsort(order)
    return np.argsort(place[state.free], kind="stable")[:count]


def by_type(material: Material, state: State, count: int) -> np.ndarray:
    own = material.vectors[state.free], material.vectors[state.labelled]
    return representatives(*own, count, seed=state.seed).places


def suggested(material: Material, state: State, count: int) -> np.ndarray:
    own = material.vectors[state.free], material.vectors[state.labelled]
    weight = uncertainty(_probabilities(state), MULTICLASS)
    return representatives(*own, count, weight=weight, seed=state.seed).places


def by_weighted_means(material: Material, state: State, count: int) -> np.ndarray:
    weight = uncertainty(_probabilities(state), MULTICLASS)
    vectors = material.vectors[state.free]
    found = KMeans(count, max_iter=50, random_state=state.seed).fit(vectors, sample_weight=weight)
    distance, taken = np.asarray(found.transform(vectors)), []
    for column in distance.T:
        taken.append(next(int(place) for place in np.argsort(column) if place not in taken))
    return np.array(taken)


def by_margin(material: Material, state: State, count: int) -> np.ndarray:
    weight = uncertainty(_probabilities(state), MULTICLASS)
    assert weight is not None
    return np.argsort(-weight, kind="stable")[:count]


def by_entropy(material: Material, state: State, count: int) -> np.ndarray:
    shares = _probabilities(state)
    return np.argsort(np.sum(shares * np.log(shares + 1e-12), axis=1), kind="stable")[:count]


def by_gradient(material: Material, state: State, count: int) -> np.ndarray:
    h = material.vectors[state.free]
    error = _probabilities(state).copy()
    error[np.arange(len(error)), error.argmax(axis=1)] -= 1
    squares = np.sum(error**2, axis=1) * np.sum(h**2, axis=1)
    random, found, near = np.random.default_rng(state.seed), [int(np.argmax(squares))], squares + np.inf
    while len(found) < count:
        last = found[-1]
        # ⟨a ⊗ h, b ⊗ k⟩ = ⟨a, b⟩ ⟨h, k⟩: no outer product is formed.
        distance = squares + squares[last] - 2 * (error @ error[last]) * (h @ h[last])
        near = np.minimum(near, distance).clip(0)
        near[found] = 0
        found.append(int(random.choice(len(near), p=near / near.sum())))
    return np.array(found)


def farthest(material: Material, state: State, count: int) -> np.ndarray:
    h, found = material.vectors[state.free], []
    near = np.full(len(h), np.inf)
    for centre in material.vectors[state.labelled]:
        near = np.minimum(near, np.sum((h - centre) ** 2, axis=1))
    for _ in range(count):
        start = int(np.random.default_rng(state.seed).integers(len(h)))
        found.append(int(np.argmax(near)) if np.isfinite(near).all() else start)
        near = np.minimum(near, np.sum((h - h[found[-1]]) ** 2, axis=1))
    return np.array(found)


def by_coverage(material: Material, state: State, count: int) -> np.ndarray:
    near = within_radius(material)
    bare = ~near[state.labelled].any(axis=0)
    found: list[int] = []
    random = np.random.default_rng(state.seed)
    for _ in range(count):
        new = near[np.ix_(state.free, np.flatnonzero(bare))].sum(axis=1) + 0.5 * random.random(
            len(state.free)
        )
        new[found] = -1
        found.append(int(np.argmax(new)))
        bare &= ~near[state.free[found[-1]]]
    return np.array(found)


_RADII: dict[int, np.ndarray] = {}


def within_radius(material: Material) -> np.ndarray:
    """Return bool ``[N, N]``: which photos cover which."""
    if id(material) not in _RADII:
        h = material.vectors
        groups = np.asarray(KMeans(2 * material.classes, random_state=0).fit(h).labels_)
        squares = np.sum(h**2, axis=1)
        distance = np.sqrt((squares[:, None] + squares - 2 * h @ h.T).clip(0))
        near = distance < 0
        for share in np.linspace(0.001, 0.2, 40):
            wider = distance < np.quantile(distance[::7, ::7], share)
            pure = np.mean([np.all(groups[own] == group) for own, group in zip(wider, groups, strict=True)])
            if pure < 0.95:
                break
            near = wider
        _RADII[id(material)] = near
    return _RADII[id(material)]


def _probabilities(state: State) -> np.ndarray:
    assert state.probabilities is not None
    return state.probabilities


CONTENDERS: Mapping[str, Contender] = {
    "random": by_chance,
    "suggest": suggested,
    "typical": by_type,
    "k-means": by_weighted_means,
    "coverage": by_coverage,
    "margin": by_margin,
    "entropy": by_entropy,
    "badge": by_gradient,
    "core-set": farthest,
}
ON_THE_WAY = ("random", "suggest", "typical", "k-means", "margin", "badge")
"""Those whose way to 90 % is followed."""
NEED_NO_HEAD = ("random", "typical", "coverage", "core-set")


class Head:
    """Logistic regression of scikit-learn on features as featcache scales them, with its usual penalty.

    Its weights lie in the span of the rows, in which it is fitted: as many numbers as rows instead of features.
    """

    def __init__(self, material: Material, places: np.ndarray) -> None:
        x, rows = unit_length(material.x[places].astype(np.float64)), len(places)
        self._mean = x.mean(axis=0)
        self._divisor = divisors("unit", x.var(axis=0), self._mean, rows)
        left, size, right = np.linalg.svd((x - self._mean) / self._divisor, full_matrices=False)
        labels = material.labels[places]
        self._present = np.unique(labels)
        decay = min(DECAY, DECAY * DECAY_ROWS / rows)
        head = LogisticRegression(C=1 / (decay * rows), max_iter=500).fit(left * size, labels)
        self._kernel, self._bias = right.T @ head.coef_.T, head.intercept_
        self._classes = material.classes

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return float ``[N, C]``; classes without a row have 0."""
        outputs = (unit_length(x) - self._mean) / self._divisor @ self._kernel + self._bias
        if outputs.shape[1] == 1:
            outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
        found = np.zeros((len(x), self._classes))
        found[:, self._present] = softmax(outputs)
        return found


def accuracy(material: Material, head: Head) -> float:
    return float(np.mean(head.probabilities(material.test).argmax(axis=1) == material.known))


def learnt(material: Material, name: str, sizes: Sequence[int], seed: int, start: str) -> list[float]:
    """Return the accuracy at each size of a contender that asks for labels until it has as many."""
    chosen, head, found = np.zeros(0, np.int64), None, []
    for size in sizes:
        free = np.setdiff1d(np.arange(len(material.x)), chosen)
        shares = None if head is None else head.probabilities(material.x[free])
        first = by_chance if start == "random" else by_type
        ask = first if head is None and (start == "random" or name not in NEED_NO_HEAD) else CONTENDERS[name]
        new = free[ask(material, State(free, chosen, shares, seed), size - len(chosen))]
        chosen = np.concatenate([chosen, new])
        assert len(np.unique(chosen)) == size
        head = head_of(material, chosen)
        found.append(0.0 if head is None else accuracy(material, head))
    return found


def head_of(material: Material, chosen: np.ndarray) -> Head | None:
    """Return a head, or ``None`` where all labels are the same."""
    return Head(material, chosen) if len(np.unique(material.labels[chosen])) > 1 else None


def simulated(material: Material, name: str, sizes: Sequence[int], seeds: int, start: str) -> np.ndarray:
    """Return accuracies ``[seeds, sizes]`` of a contender."""
    return np.array([learnt(material, name, sizes, seed, start) for seed in range(seeds)])


def shown(own: np.ndarray, base: np.ndarray) -> str:
    cells = []
    for score, difference in zip(own.T, (own - base).T, strict=True):
        low, high = mean_interval(difference)
        told = f"({100 * difference.mean():+5.1f} ±{50 * (high - low):4.1f})"
        cells.append(f"{100 * score.mean():5.1f} {told}")
    return "  ".join(cells)


def labels_needed(scores: np.ndarray, sizes: Sequence[int], goal: float) -> str:
    """Return how many labels bring each seed to the goal and keep it there on the mean, with an interval."""
    first = [
        next((size for size, score in zip(sizes, own, strict=True) if score >= goal), np.inf)
        for own in scores
    ]
    reached = np.array([size for size in first if np.isfinite(size)], float)
    if len(reached) < len(first):
        return f"{len(reached)} of {len(first)} seeds within {sizes[-1]}"
    low, high = mean_interval(reached)
    return f"{reached.mean():.0f} ({low:.0f}–{high:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("caches", nargs="+", type=Path)
    parser.add_argument("--layer", default=None)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--start", choices=("nothing", "random"), default="nothing")
    parser.add_argument("--sizes", default="10,25,50,100,200")
    parser.add_argument(
        "--step", type=int, default=10, help="labels asked for at a time, on the way to 90 %%"
    )
    parser.add_argument("--most", type=int, default=150, help="labels at most, on the way to 90 %%")
    parser.add_argument("--only", default=",".join(CONTENDERS))
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    names = given.only.split(",")
    for path in given.caches:
        material = Material.of(path, given.layer)
        whole = accuracy(material, Head(material, np.arange(len(material.x))))
        print(f"{path.name}: {len(material.x)} rows, with all labels {100 * whole:.1f}", flush=True)
        for title, sizes in {
            "all at once": [int(size) for size in given.sizes.split(",")],
            f"{given.step} at a time": list(range(given.step, given.most + 1, given.step)),
        }.items():
            base = simulated(material, "random", sizes, given.seeds, given.start)
            print(f"{title}, from {given.start}: labels {', '.join(map(str, sizes))}", flush=True)
            for name in names if title == "all at once" else [each for each in names if each in ON_THE_WAY]:
                began = time.perf_counter()
                own = base if name == "random" else simulated(material, name, sizes, given.seeds, given.start)
                needed = labels_needed(own, sizes, 0.9 * whole)
                print(
                    f"  {name:9} {shown(own, base)}; 90 % of it with {needed}; {time.perf_counter() - began:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
