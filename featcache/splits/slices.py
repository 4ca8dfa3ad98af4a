"""Slices of a dataset in the grammar of TFDS: ``train``, ``train[:80%]``, ``train[80%:]+test``, ``all``.

The grammar is that of `tensorflow_datasets.core.splits`, read the same way: what is refused there is refused here, and
a slice holds the same rows, but for these things. ``all[:10%]``, which TFDS does not know, and a slice alone, such as
``[10:20]`` or ``[-100:]``, are of all rows in their order. People's other names of the three usual splits (`SPLITS`)
are understood where no split has that very name, and spaces around the parts of a term do not count. A row that is
asked for twice (``test+test``) comes once: to score an image twice would only make its interval too narrow. Refused
are what is empty, digits that are not ASCII, and shards, because the rows of a cache have none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featcache.errors import UnknownNameError, UsageError, did_you_mean
from featcache.splits.shuffled import SliceOrder

ALL = "all"
"""Name of all rows, whatever their split."""

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Common names of the three splits."""

EXPECTED = (
    "expected a split such as train, a slice such as train[:80%], train[80%:], train[10:20] or [-100:] (of all rows), "
    "or several with + between them"
)

_TERM = re.compile(r"^(?P<split>[\w-]+)?(?:\[(?P<slice>[\d\w%:.-]+)\])?$")
_BOUND = re.compile(r"^(?:(?P<value>-?[0-9_.]+)(?P<unit>%|shard)?)?$")
_PLUS = re.compile(r"\s*\+\s*")
_SPACED = re.compile(r" *([][:%]) *")


@dataclass(frozen=True)
class Slice:
    """Consecutive rows of a split, from `start` to before `stop`.

    Parameters
    ----------
    split
        Its name; `ALL` for all rows.
    start, stop
        Rows, or per cent of the split if `per_cent`; from the end where negative; ``None`` where nothing is cut.
    per_cent
        Whether they are per cent, in -100..100.
    """

    split: str
    start: float | None = None
    stop: float | None = None
    per_cent: bool = False

    def numbers(self, count: int) -> range:
        """Return the row numbers within a split of `count` rows; empty where `stop` comes before `start`.

        A bound in per cent is rounded to the nearest row, and half a row to the even one, so that ``[:x%]`` and
        ``[x%:]`` always are the whole split without overlap.

        Raises
        ------
        UsageError
            If the split has fewer rows than a bound says.
        """
        start, stop = (self._row(bound, count) for bound in (self.start, self.stop))
        start, stop = 0 if start is None else start, count if stop is None else stop
        if max(abs(start), abs(stop)) > count:
            raise UsageError(
                f"which has {count} rows, asked for are {start} to {stop}; count up to {count}, or give per cent"
            )
        return range(start + count if start < 0 else start, stop + count if stop < 0 else stop)

    def _row(self, bound: float | None, count: int) -> int | None:
        if bound is None:
            return None
        return round(bound * count / 100.0) if self.per_cent else int(bound)


def parse_slices(text: str, splits: Sequence[str]) -> tuple[Slice, ...]:
    """Parse a text into the slices that it adds up.

    Parameters
    ----------
    text
        In the grammar above.
    splits
        Names of the splits. One that the grammar could not spell is understood where it stands alone.

    Raises
    ------
    UsageError
        If it is not in the grammar; says what is.
    UnknownNameError
        If there is no such split; names near ones.
    """
    if text in splits and text != ALL:
        return (Slice(text),)
    return tuple(_parse_term(term, text, splits) for term in _PLUS.split(text))


def rows_in(
    text: str,
    splits: Sequence[str],
    split_of: np.ndarray,
    *,
    origin: str,
    order: SliceOrder | None = None,
) -> np.ndarray:
    """Return the row numbers that a text asks for, in its order, each once.

    Parameters
    ----------
    text
        In the grammar above.
    splits
        Names of the splits.
    split_of
        int ``[N]``: which of them each row belongs to. Slices are cut over these rows in their order, so that all
        rows must be here, and those of no use are left out afterwards: otherwise two slices that complement each
        other would not any more, once one image of the split could not be read.
    origin
        Name of the cache or dataset, for messages.
    order
        The order in which rows are cut; ``None`` for that in which they stand. It moves a bound to the nearest place
        that divides no copies and no group.

    Returns
    -------
    numpy.ndarray
        int64 ``[n]`` row numbers; none only where a split is empty that nothing was cut from.

    Raises
    ------
    UsageError
        If the text is not in the grammar, a split has fewer rows than it says, or no row is in its slices.
    UnknownNameError
        If there is no such split.
    """
    try:
        parts = parse_slices(text, splits)
        rows = np.concatenate([_take(part, text, splits, split_of, order) for part in parts])
        if not len(rows) and any(part != Slice(part.split) for part in parts):
            raise UsageError(f"has no rows {text!r}: the slice is empty; give a larger one")
    except UsageError as error:
        raise type(error)(f"{origin} {error}") from None
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)]


def _take(
    part: Slice, text: str, splits: Sequence[str], split_of: np.ndarray, order: SliceOrder | None
) -> np.ndarray:
    everything = part.split == ALL
    own = np.arange(len(split_of)) if everything else np.flatnonzero(split_of == splits.index(part.split))
    try:
        numbers = part.numbers(len(own))
    except UsageError as error:
        raise UsageError(f"has no rows {text!r}: of {part.split}, {error}") from None
    start, stop = numbers.start, max(numbers.start, numbers.stop)
    if order is not None and part != Slice(part.split):
        own, borders = order.arrange(own)
        start, stop = (int(borders[np.abs(borders - bound).argmin()]) for bound in (start, stop))
    return own[start:stop].astype(np.int64)


def _parse_term(term: str, text: str, splits: Sequence[str]) -> Slice:
    match = _TERM.match(_SPACED.sub(r"\1", term.strip(" ")))
    name = (
        ALL if match is not None and match["split"] is None and match["slice"] else match and match["split"]
    )
    if match is None or not name:
        if term and "[" not in term and "]" not in term:
            raise _unknown(term, splits)
        raise _refusal(text, f"{term!r} is no split and no slice of one")
    if name != ALL and name not in splits:
        word, name = name, SPLITS.get(name.casefold(), "")
        if name not in splits:
            raise _unknown(word, splits)
    return Slice(name) if match["slice"] is None else _parse_slice(name, match["slice"], text)


def _parse_slice(name: str, inner: str, text: str) -> Slice:
    """Parse the text between the brackets of a term."""
    found = [_BOUND.match(bound) for bound in inner.split(":")]
    bounds = [match for match in found if match is not None]
    if len(bounds) < len(found) or not any(match["value"] for match in bounds):
        raise _refusal(text, f"[{inner}] is no slice")
    # As in TFDS the unit of one bound is that of both, and of two the first one's.
    unit = next((match["unit"] for match in bounds if match["unit"]), None)
    if any(match["unit"] == "shard" for match in bounds):
        raise _refusal(text, "the rows of a dataset here have no shards; count rows, or per cent")
    if len(bounds) != 2:
        raise _refusal(text, f"[{inner}] has not two bounds with one colon between them")
    start, stop = (_number(match["value"], text, per_cent=unit == "%") for match in bounds)
    return Slice(name, start, stop, unit == "%")


def _number(value: str | None, text: str, *, per_cent: bool) -> float | None:
    if value is None:
        return None
    try:
        number = float(value) if per_cent else int(value)
    except ValueError:
        raise _refusal(text, f"{value} is no {'number' if per_cent else 'whole number of rows'}") from None
    if per_cent and abs(number) > 100:
        raise _refusal(text, f"{value}% is not in -100%..100%")
    return number


def _refusal(text: str, why: str) -> UsageError:
    return UsageError(f"has no rows {text!r}: {why}; {EXPECTED}")


def _unknown(name: str, splits: Sequence[str]) -> UnknownNameError:
    names = [*splits, *([] if ALL in splits else [ALL])]
    # A word that is spelled right is no slip of another: val is near all, and means something else.
    known = did_you_mean("" if name.casefold() in SPLITS else name, names)
    return UnknownNameError(f"has no split {name!r}; {known}")
