"""What the studies share: who is held out, clocks, intervals, and figures."""

import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from common import SMALL_IMAGES, TEXTURES, few
from scipy.stats import t as student

import featcache
from featcache.metrics.intervals import difference_interval, mean_interval, share_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

Most = Annotated[int | None, typer.Option(help="Most photos of each class in each split; all by default.")]

PALETTE = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#7f7f7f", "#17becf", "#bcbd22")
MARKERS = "osD^vPX*h"


# ---- photos


def open_photos(spec: str, small: bool, most: int | None = None) -> featcache.Dataset:
    """Return the photos of a study, some of them for testing: at most so many of each class and split.

    Parameters
    ----------
    spec
        A dataset with a split ``test`` or ``val``.
    small
        Take the stand-in of ``--small`` instead, as few as it has them.
    most
        Largest number of photos of each class in each split; ``None`` for all.
    """
    data = with_test(featcache.open_dataset(TEXTURES if small else spec))
    most = SMALL_IMAGES if small else most
    return data if most is None else few(data, most)


def with_test(data: featcache.Dataset) -> featcache.Dataset:
    """Return a dataset that has test photos: where it has only ``val``, those are never used to choose."""
    if "test" in data.splits or "val" not in data.splits:
        return data
    return replace(
        data, records=[replace(own, split="test") if own.split == "val" else own for own in data.records]
    )


def with_validation(data: featcache.Dataset, share: float, seed: int = 0) -> featcache.Dataset:
    """Return a dataset of which a share of each class's training photos is the split ``val``, drawn by the seed."""
    random = np.random.default_rng(seed)
    chosen: set[int] = set()
    for label in range(len(data.classes)):
        rows = [row for row, own in enumerate(data.records) if own.split == "train" and own.label == label]
        chosen.update(random.permutation(rows)[: round(share * len(rows))].tolist())
    return replace(
        data,
        records=[replace(own, split="val") if row in chosen else own for row, own in enumerate(data.records)],
    )


def of_split(data: featcache.Dataset, split: str) -> list[Any]:
    """Return the records of a split, in their order."""
    return [record for record in data.records if record.split == split]


# ---- clocks


@dataclass
class Clock:
    """What a piece of work took: seconds of the wall, and of all processors together, which others' load changes less.

    Parameters
    ----------
    wall, processor
        Seconds so far.
    """

    wall: float = 0.0
    processor: float = 0.0
    laps: list[tuple[float, float]] = field(default_factory=list, repr=False)

    @contextmanager
    def running(self) -> "Iterator[None]":
        """Count what is done within, as one more lap."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.laps.append((time.perf_counter() - wall, time.process_time() - processor))
        self.wall, self.processor = (sum(lap[part] for lap in self.laps) for part in (0, 1))


# ---- intervals


def share(right: np.ndarray) -> dict[str, Any]:
    """Return the accuracy of right or wrong photos ``[N]``, with its 95 % interval."""
    return {
        "accuracy": float(np.mean(right)),
        "interval": list(share_interval(np.asarray(right))),
        "count": len(right),
    }


def difference(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Return how much more often the first is right on the same photos ``[N]``, with its 95 % interval."""
    each = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return {"difference": float(each.mean()), "interval": list(difference_interval(each))}


def over_draws(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean over draws, with Student's 95 % interval of it, for other draws and these photos."""
    return {"mean": float(np.mean(values)), "interval": list(mean_interval(np.asarray(values)))}


def over_draws_and_photos(values: Sequence[float], of_photos: tuple[float, float]) -> tuple[float, float]:
    """Return a 95 % interval of a mean over draws, for other draws and other photos.

    Parameters
    ----------
    values
        Accuracy of each draw on the same test photos.
    of_photos
        Interval of their mean over the photos, for these draws.

    Notes
    -----
    The two are added as independent errors. What a draw and a photo do to each other is in both, so that the interval
    is a little too wide rather than too narrow.
    """
    mean, count = float(np.mean(values)), len(values)
    draws = student.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count) if count > 1 else 0.0
    low, high = np.hypot(draws, mean - of_photos[0]), np.hypot(draws, of_photos[1] - mean)
    return max(0.0, mean - float(low)), min(1.0, mean + float(high))


def right(classifier: featcache.Classifier, cache: Any = None, split: str = "test") -> np.ndarray:
    """Return which photos of a split a classifier has right, bool ``[N]`` in the cache's order."""
    images = classifier.evaluate(cache, split).images
    return images.guesses == images.truth


# ---- figures


def new_figure(columns: int = 1) -> "tuple[Figure, Any]":
    """Return an empty figure that knows no screen, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * columns, 4.2), layout="constrained")
    axes = figure.subplots(1, columns)
    for each in np.ravel(axes):
        each.grid(color="#e4e4e4", linewidth=0.8)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: "Figure", output: Path, name: str) -> str:
    """Write ``OUTPUT/NAME.svg``, the same bytes for the same figure; returns the file's name."""
    import matplotlib

    output.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(output / f"{name}.svg", metadata={"Date": None})
    return f"{name}.svg"
