"""JSON text to values within limits, and values to JSON text without NaN."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 1 << 24
MOST_VALUES = 1 << 20
MOST_DEPTH = 32
"""Limits of one document: the length of its text, its number of values, and how deep they are nested."""

_MOST_DIGITS = 20


def parse(text: bytes) -> Any:
    """Return the value of a JSON text, within the limits of this module.

    Raises
    ------
    ValueError
        Saying what is wrong: no JSON, NaN or infinity (which JSON lacks), a key that stands twice, or a limit.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text):,} bytes, expected at most {MOST_BYTES:,}")
    # Counted before parsing: one byte of text may become an object of 64.
    if sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values")
    too_deep = f"it is nested more than {MOST_DEPTH} levels deep"
    try:
        value = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_constant=_refuse,
            parse_float=_finite_float,
            parse_int=_short_int,
        )
    except RecursionError:
        raise ValueError(too_deep) from None
    if _is_deeper(value, MOST_DEPTH):
        raise ValueError(too_deep)
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        nested = [each for each in level if isinstance(each, dict | list)]
        if not nested:
            return False
        level = [part for each in nested for part in (each.values() if isinstance(each, dict) else each)]
    return True


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs) and (twice := first_repeated([name for name, _ in pairs])) is not None:
        raise ValueError(f"the key {twice[:40]!a} stands twice")
    return value


def first_repeated(names: Sequence[str]) -> str | None:
    """Return the first of some names that stands there a second time; ``None`` if they all differ."""
    if len(set(names)) == len(names):
        return None
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _short_int(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a whole number has {len(digits):,} digits, expected at most {_MOST_DIGITS}")
    return int(digits)


def plain(value: Any) -> Any:
    """Convert to plain JSON values: numpy's and JAX's to Python's, paths to text, NaN and infinity to ``None``."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_text(value: Any, *, indent: int | None = None) -> str:
    """Return the JSON text of `plain` values: NaN and infinity, which JSON lacks, become ``null``."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)
