"""What a model in fewer bits costs in accuracy, and what it gains in speed and size, on photos that it has not seen."""

import hashlib
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.disk.storage import amount
from featcache.core.display import counted, percent, percents
from featcache.core.tasks import MULTILABEL, TASK_NAMES
from featcache.errors import ExportError
from featcache.exporting.quantised import MOST_PHOTOS
from featcache.graphs.sessions import open_session
from featcache.metrics.comparison import compare
from featcache.metrics.intervals import share_interval

if TYPE_CHECKING:
    import onnx

LEAST_AGREEMENT = 0.9
"""Share of photos that both models must take for the same class; of features, share of their variance that is kept.

Measured: 98.5–100 % of photos and 96–98 % of the variance for what is good; 93 % of photos with one scale for a whole
layer, which costs 1 to 2 points of accuracy.
"""

BATCH = 8

TURNS = 9
"""How often the two models take turns while they are timed."""

Answers = dict[str, np.ndarray]


@dataclass(frozen=True)
class QuantisationCost:
    """A model in fewer bits beside the one that it was made of.

    Parameters
    ----------
    photos
        How many photos both were run on.
    agreement
        Share of them of which both say the same class; of labels, the share of those that either says that both say; of
        numbers and features, the share of their variance that is kept.
    measured
        Which of these it is: ``"class"``, ``"labels"``, ``"values"`` or ``"features"``.
    largest_difference
        Between two probabilities; of numbers and features as a share of the largest.
    distance
        The largest difference between two distances, which decide what is unlike anything seen; ``None`` without any.
    speed
        Pictures a second on one core, before and after, measured in turns on this machine.
    speed_ratio
        How many times as fast it is after: the middle of the turns.
    sizes
        Bytes before and after.
    labelled
        How many of the photos have a known class.
    accuracy
        Share of these that is right, before and after.
    intervals
        95 % intervals of the two.
    difference
        95 % interval of what is lost, after minus before, from the photos that only one of them has right.
    """

    photos: int
    agreement: float
    measured: str
    largest_difference: float
    speed: tuple[float, float]
    speed_ratio: float
    sizes: tuple[int, int]
    distance: float | None = None
    labelled: int = 0
    accuracy: tuple[float, float] | None = None
    intervals: tuple[tuple[float, float], tuple[float, float]] | None = None
    difference: tuple[float, float] | None = None

    def rows(self) -> list[tuple[str, str]]:
        """Return what there is to say of it, line by line: a word, and its text."""
        rows = []
        if self.accuracy is not None and self.intervals is not None and self.difference is not None:
            (was, now), (_, interval), (low, high) = self.accuracy, self.intervals, self.difference
            rows.append(
                (
                    "accuracy",
                    f"{percent(was)} before, {percent(now)} now, of {counted(self.labelled, 'held-out photo')} "
                    f"(95 % interval {percents(*interval)}; change {100 * low:+.1f} to {100 * high:+.1f} points)",
                )
            )
        bounded = self.measured in ("class", "labels")
        scale = "between probabilities" if bounded else "of the largest value"
        rows.append(
            (
                "agreement",
                f"{_AGREES[self.measured].format(percent(self.agreement))} on {counted(self.photos, 'photo')}; "
                f"largest difference {self.largest_difference:.3f} {scale}",
            )
        )
        if self.distance is not None:
            rows.append(("distances", f"largest difference {self.distance:.3f}"))
        rows.append(
            (
                "speed",
                f"{self.speed_ratio:.2f} times as fast on one core of this machine "
                f"({self.speed[0]:.0f} to {self.speed[1]:.0f} images/s)",
            )
        )
        rows.append(("size", f"{amount(self.sizes[0])} to {amount(self.sizes[1])}"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


_AGREES = {
    "class": "the same class for {}",
    "labels": "{} of the labels said",
    "values": "{} of the variance of the numbers kept",
    "features": "{} of the variance of the features kept",
}


def calibration_and_test(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return which of some photos measure ranges and which judge, for when there are no held-out ones.

    Drawn, since a folder's photos lie class by class: half of them, at most `MOST_PHOTOS`, measure.

    Parameters
    ----------
    count
        Number of photos.
    seed
        Of the draw.
    """
    order = np.random.default_rng(seed).permutation(count)
    first = min(MOST_PHOTOS, count // 2)
    return np.sort(order[:first]), np.sort(order[first:])


def quantisation_cost(
    before: "onnx.ModelProto",
    after: "onnx.ModelProto",
    photos: Sequence[np.ndarray],
    *,
    labels: Sequence[int] | np.ndarray | None = None,
    calibration: Iterable[np.ndarray] = (),
) -> QuantisationCost:
    """Measure what a model in fewer bits costs and gains.

    Parameters
    ----------
    before, after
        The model that has passed parity, and the one that was made of it.
    photos
        Pictures uint8 ``[H, W, 3]`` to judge on.
    labels
        Class of each, −1 where it is not known; ``None`` if none is. Only of photos that the head has not learnt from,
        or the accuracies are of the training.
    calibration
        The photos that ranges were measured on: they may not be among `photos`.

    Raises
    ------
    ExportError
        If there are no photos, or some were used to measure ranges.
    """
    if not len(photos):
        raise ExportError("there are no photos to judge the quantised model on; give some with --photos")
    seen = {_digest(photo) for photo in calibration}
    twice = sum(_digest(photo) in seen for photo in photos)
    if twice:
        raise ExportError(
            f"{counted(twice, 'photo')} of {len(photos)} to judge the quantised model on were used to measure its "
            "ranges, too, on which it is at its best; give others"
        )
    runs = [_run(before), _run(after)]
    old, new = (_answers(run, photos) for run in runs)
    measured, agreement, largest = _agreement(old, new, _task(before))
    speed, ratio = _speeds(runs, photos)
    found = QuantisationCost(
        photos=len(photos),
        agreement=agreement,
        measured=measured,
        largest_difference=largest,
        speed=speed,
        speed_ratio=ratio,
        sizes=(before.ByteSize(), after.ByteSize()),
        distance=float(np.abs(new["distance"] - old["distance"]).max()) if "distance" in old else None,
    )
    if labels is None or measured != "class":
        return found
    return _with_accuracy(found, old["probabilities"], new["probabilities"], np.asarray(labels))


def require_agreement(cost: QuantisationCost, least: float = LEAST_AGREEMENT) -> None:
    """Refuse a model that says something else than the one that it was made of.

    Raises
    ------
    ExportError
        With the figures and what to do instead.
    """
    if cost.agreement >= least:
        return
    told = "; ".join(f"{word}: {text}" for word, text in cost.rows())
    raise ExportError(
        f"nothing was written: in eight bits this model has {_AGREES[cost.measured].format(percent(cost.agreement))}, "
        f"and {percent(least)} is demanded ({told}). Give more photos, such as the model is for, with --photos; or "
        "export with --float16 (half the size), or without either"
    )


def _digest(photo: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(photo).tobytes()).digest()


def _task(model: "onnx.ModelProto") -> str:
    return next((each.value for each in model.metadata_props if each.key == "task"), "")


def _run(model: "onnx.ModelProto") -> Callable[[np.ndarray], Answers]:
    session = open_session(model)
    names = [each.name for each in session.get_outputs()]
    (pictures,) = [each.name for each in session.get_inputs()]

    def run(images: np.ndarray) -> Answers:
        found = session.run(names, {pictures: images})
        return {name: np.asarray(value) for name, value in zip(names, found, strict=True)}

    return run


def _answers(run: Callable[[np.ndarray], Answers], photos: Sequence[np.ndarray]) -> Answers:
    parts = [run(np.stack(photos[first : first + BATCH])) for first in range(0, len(photos), BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _agreement(old: Answers, new: Answers, task: str) -> tuple[str, float, float]:
    """Return what is compared, how far the models agree, and the largest difference."""
    if "probabilities" not in old:
        name = next(iter(old))  # a head's values, or the first layer's features
        kept = _variance_kept(old[name], new[name])
        largest = np.abs(old[name]).max(initial=np.finfo(np.float32).tiny)
        gap = float(np.abs(new[name] - old[name]).max(initial=0.0) / largest)
        return ("values" if name == "values" else "features"), kept, gap
    ours, theirs = old["probabilities"], new["probabilities"]
    gap = float(np.abs(theirs - ours).max())
    if task == TASK_NAMES[MULTILABEL]:
        said, now = ours > 0.5, theirs > 0.5
        either = int((said | now).sum())
        return "labels", float((said & now).sum() / either) if either else 1.0, gap
    return "class", float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()), gap


def _variance_kept(old: np.ndarray, new: np.ndarray) -> float:
    # 1 − Σ(new − old)² / Σ(old − mean)²: differences between photos are what heads live on; the mean over photos, which
    # after a ReLU is most of a feature's length, tells nothing. Of one photo, or equal ones, there are none.
    flat, other = old.reshape(len(old), -1).astype(np.float64), new.reshape(len(new), -1).astype(np.float64)
    spread = float(((flat - flat.mean(axis=0)) ** 2).sum())
    lost = float(((other - flat) ** 2).sum())
    if not np.isfinite(lost):
        return 0.0
    return max(0.0, 1 - lost / spread) if spread > 0 else float(lost == 0)


def _speeds(
    runs: Sequence[Callable[[np.ndarray], Answers]], photos: Sequence[np.ndarray]
) -> tuple[tuple[float, float], float]:
    """Return pictures a second before and after, and how many times as fast; in turns, by this thread's own time."""
    # Other work on the machine slows both, and counts for neither: a session with one thread runs in this one.
    one = np.stack(photos[:1])
    times: list[list[float]] = [[], []]
    for turn in range(TURNS + 1):
        for run, measured in zip(runs, times, strict=True):
            began = time.thread_time()
            run(one)
            run(one)
            if turn:  # the first warms up
                measured.append((time.thread_time() - began) / 2)
    before, after = (statistics.median(each) for each in times)
    ratio = statistics.median(old / new for old, new in zip(*times, strict=True))
    return (1 / before, 1 / after), ratio


def _with_accuracy(
    cost: QuantisationCost, old: np.ndarray, new: np.ndarray, labels: np.ndarray
) -> QuantisationCost:
    known = labels >= 0
    if not known.any():
        return cost
    was, now = (each[known].argmax(axis=1) == labels[known] for each in (old, new))
    return replace(
        cost,
        labelled=int(known.sum()),
        accuracy=(float(was.mean()), float(now.mean())),
        intervals=(share_interval(was), share_interval(now)),
        difference=compare(now, was).interval,
    )
