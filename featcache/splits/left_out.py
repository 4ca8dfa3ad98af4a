"""Rows that a list of ids leaves out of training, validation and test, once these are chosen."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.display import counted
from featcache.core.identity import sha256_json
from featcache.core.tasks import MULTICLASS
from featcache.errors import DataError, UsageError

if TYPE_CHECKING:
    from featcache.splits.selection import CachedRows, Selection

_PARTS = {"train": "training", "val": "validation", "test": "test"}


def rows_left_out(cache: "CachedRows", ids: Collection[str]) -> np.ndarray:
    """Return the numbers of the rows that some ids name, int ``[n]`` ascending; ids of no row name none."""
    asked = frozenset(ids)
    if not asked:
        return np.zeros(0, np.int64)
    return np.array([row for row, name in enumerate(cache.ids) if name in asked], np.int64)


def left_out_record(ids: Collection[str]) -> dict[str, Any]:
    """Return what identifies a list of ids, whatever their order: ``ids``, their number, and ``sha256``."""
    return {"ids": len(ids), "sha256": sha256_json(sorted(ids))}


def left_out_text(record: Mapping[str, Any] | None) -> str:
    """Return the record of a classifier's training in words; an empty text where nothing was left out.

    Examples
    --------
    >>> left_out_text({"ids": 12, "rows": {"train": 9, "test": 2}})
    '12 photos by a list: 9 training, 2 test, 1 of no part'
    """
    if not record or not record.get("ids"):
        return ""
    rows = record.get("rows", {})
    parts = [f"{rows[part]:,} {word}" for part, word in _PARTS.items() if rows.get(part)]
    if (others := record["ids"] - sum(rows.values())) > 0:
        parts.append(f"{others:,} of no part")
    return f"{counted(record['ids'], 'photo')} by a list: {', '.join(parts)}"


def leave_out(cache: "CachedRows", chosen: "Selection", ids: Collection[str]) -> "Selection":
    """Return a selection without the rows that some ids name; the others stay where they are.

    Rows are divided before any is left out, so that no list moves a photo from training to test.

    Raises
    ------
    DataError
        If no row of a class is left to train with, or fewer than two classes are.
    UsageError
        If a part that held rows holds none any more.
    """
    named = rows_left_out(cache, ids)
    if not len(named):
        return chosen
    kept, counts = {}, {}
    for part, word in _PARTS.items():
        rows = getattr(chosen, part)
        out = np.isin(rows, named)
        kept[part], counts[part] = rows[~out], int(out.sum())
        if len(rows) and out.all():
            raise UsageError(
                f"{cache.path}: the list of what to leave out holds all {len(rows)} {word} rows; shorten it"
                + ("" if part == "train" else f", or say other {word} rows: --{part} SLICE, or --{part} none")
            )
    _require_classes(cache, chosen.train, kept["train"])
    told = {part: count for part, count in counts.items() if count}
    return replace(chosen, **kept, left_out=told)


def _require_classes(cache: "CachedRows", before: np.ndarray, after: np.ndarray) -> None:
    """Refuse a list that takes all training rows of a class: no head could answer it any more."""
    if cache.task != MULTICLASS:
        return
    had, has = (np.bincount(cache.labels[rows], minlength=len(cache.classes)) for rows in (before, after))
    gone = [
        f"{cache.classes[label]} ({had[label]})" for label in np.flatnonzero((had > 0) & (has == 0)).tolist()
    ]
    if gone:
        more = f" and {len(gone) - 3} more classes" if len(gone) > 3 else ""
        raise DataError(
            f"{cache.path}: the list of what to leave out holds every training row of {', '.join(gone[:3])}{more}, so "
            "that no head could answer that; keep some of them, or extract photos without the class"
        )
