"""The images of an evaluation, each with its true class and its probabilities: which of them are wrong, as a table."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featcache.core.disk.files import replace_file
from featcache.core.disk.names import FILE, require_free
from featcache.core.disk.storage import storage_errors
from featcache.core.display import data_frame
from featcache.core.documents.csv_text import csv_row
from featcache.core.documents.json_text import to_text
from featcache.errors import UsageError

if TYPE_CHECKING:
    import pandas

WORST = 10
"""Mistakes that an evaluation's JSON and text show."""

COLUMNS = ("file", "truth", "guess", "probability", "truth_probability", "unknown")
"""The columns of a table of images; a column ``probability_CLASS`` for every class stands behind them."""


@dataclass(frozen=True)
class Mistake:
    """An image whose most probable class is not its true one.

    Parameters
    ----------
    file
        Its name, relative to the dataset.
    truth, guess
        Its true class, and the most probable one.
    probability, truth_probability
        Of the guess, and of the true class.
    unknown
        Whether the guess is below the rejection threshold, so that the answer would be "unknown".
    """

    file: str
    truth: str
    guess: str
    probability: float
    truth_probability: float
    unknown: bool


@dataclass(frozen=True)
class ScoredImages:
    """The images that a multiclass classifier was scored on.

    Parameters
    ----------
    files
        Names of the N images, relative to the dataset.
    classes
        Names of the C classes.
    truth
        int ``[N]``, indices into `classes`.
    probabilities
        float32 ``[N, C]``.
    threshold
        A guess is unknown if its probability is below this; ``None`` if none is.
    """

    files: tuple[str, ...]
    classes: tuple[str, ...]
    truth: np.ndarray
    probabilities: np.ndarray
    threshold: float | None = None

    @cached_property
    def guesses(self) -> np.ndarray:
        """The most probable class of each image, int ``[N]``."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def unknown(self) -> np.ndarray:
        """Which answers would be "unknown", bool ``[N]``."""
        return self.probabilities.max(axis=1) < (self.threshold or -np.inf)

    @cached_property
    def wrong(self) -> np.ndarray:
        """Rows whose guess is not the truth, the worst first: those that gave their true class least, int ``[n]``."""
        rows = np.flatnonzero(self.guesses != self.truth)
        return rows[np.argsort(self.probabilities[rows, self.truth[rows]], kind="stable")]

    @property
    def surest_wrong(self) -> np.ndarray:
        """Rows whose guess is not the truth, those of the most probable guesses first, int ``[n]``."""
        sure = self.probabilities[self.wrong].max(axis=1)
        return self.wrong[np.argsort(-sure, kind="stable")]

    def mistakes(self, most: int | None = None) -> list[Mistake]:
        """Return the images with a wrong guess, the worst first; at most `most` of them."""
        return [Mistake(*self._row(row)) for row in self.wrong[:most].tolist()]

    def most_confident_mistakes(self, most: int) -> list[Mistake]:
        """Return at most `most` images with a wrong guess, those of the most probable guesses first."""
        return [Mistake(*self._row(row)) for row in self.surest_wrong[:most].tolist()]

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table of all images, one row each, with the `COLUMNS` and every class's probability.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        rows = [self._row(row) for row in range(len(self.files))]
        columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
        own = zip(_probability_columns(self.classes), self.probabilities.T, strict=True)
        return data_frame({**dict(zip(COLUMNS, columns, strict=True)), **dict(own)})

    def write_mistakes(self, path: str | os.PathLike[str]) -> int:
        """Write the images with a wrong guess to a file, the worst first; returns their number.

        Parameters
        ----------
        path
            Ends in ``.csv`` or ``.json``; an existing file is replaced at one blow.

        Raises
        ------
        UsageError
            If it ends in anything else, or something else than a file is there.
        StorageError
            If it cannot be written.
        """
        write = errors_format(path)
        another = "name another file"
        require_free(path, FILE, elsewhere=another)
        with storage_errors(Path(path), elsewhere=another):
            replace_file(Path(path), write(self))
        return len(self.wrong)

    def _row(self, row: int) -> tuple[str, str, str, float, float, bool]:
        truth, guess, own = int(self.truth[row]), int(self.guesses[row]), self.probabilities[row]
        names = self.files[row], self.classes[truth], self.classes[guess]
        return (*names, float(own[guess]), float(own[truth]), bool(self.unknown[row]))

    def _csv(self) -> bytes:
        lines = [csv_row([*COLUMNS, *_probability_columns(self.classes)])]
        lines += [csv_row([*self._row(row), *self.probabilities[row].tolist()]) for row in self.wrong]
        return b"".join(lines)

    def _json(self) -> bytes:
        found = [
            asdict(mistake)
            | {"probabilities": dict(zip(self.classes, self.probabilities[row].tolist(), strict=True))}
            for row, mistake in zip(self.wrong, self.mistakes(), strict=True)
        ]
        return to_text(found, indent=1).encode() + b"\n"


_FORMATS: dict[str, Callable[[ScoredImages], bytes]] = {
    ".csv": ScoredImages._csv,
    ".json": ScoredImages._json,
}


def errors_format(path: str | os.PathLike[str]) -> Callable[[ScoredImages], bytes]:
    """Return what makes the content of a file of mistakes, by its suffix.

    Raises
    ------
    UsageError
        If the suffix is none of ``.csv`` and ``.json``.
    """
    suffix = Path(path).suffix.casefold()
    if suffix not in _FORMATS:
        raise UsageError(
            f"errors {os.fspath(path)}: expected a file that ends in .csv or .json, which says how it is written"
        )
    return _FORMATS[suffix]


def _probability_columns(classes: tuple[str, ...]) -> list[str]:
    return [f"probability_{name}" for name in classes]
