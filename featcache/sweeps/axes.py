"""The values that a sweep tries of one setting, in a small grammar: ``1e-4:1e-1:log8``, ``0,1e-4,1e-2``, ``relu,gelu``.

=====================  ===================================================================
``a,b,c``              these values
``low:high:log8``      8 values from low to high, evenly spaced on a logarithmic scale
``low:high:lin5``      5 values from low to high, evenly spaced
``low:high:log``       drawn between low and high, for random search only (likewise ``lin``)
``none``               no value, where a setting may have none
``512x128``            hidden layers of 512 and 128 units
``none,a=2,b=3;a=9``   class weights: none, 2 and 3 for classes a and b, and 9 for class a
=====================  ===================================================================
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.core.argument_types import KIND_WORDS
from featcache.core.schema import Setting
from featcache.errors import UsageError, did_you_mean
from featcache.heads.settings import SETTINGS
from featcache.heads.weights_by_class import NAME as WEIGHTS
from featcache.heads.weights_by_class import named_weights, weightings

Given = str | float | int | bool | None | Sequence[Any] | Mapping[Any, float]
"""An axis as users give it: text in the grammar, one value, a list of values or texts, or weights by class."""

_RANGE = re.compile(r"([^:,]+):([^:,]+):(log|lin)(\d*)")

EXAMPLE = "give values such as 1e-4,1e-3 or a range such as 1e-4:1e-1:log8"


@dataclass(frozen=True)
class Range:
    """An interval from `low` to `high`, on a linear or logarithmic scale."""

    low: float
    high: float
    log: bool

    def spread(self, count: int) -> list[float]:
        """Return `count` evenly spaced values; the ends are exact."""
        if count == 1:
            return [self.low]
        space = np.geomspace if self.log else np.linspace
        return [float(f"{value:.12g}") for value in space(self.low, self.high, count)]

    def draw(self, random: np.random.Generator) -> float:
        """Return one value at random, to six digits."""
        if self.log:
            value = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = random.uniform(self.low, self.high)
        return float(f"{value:.6g}")


@dataclass(frozen=True)
class Axis:
    """The values to try of one setting.

    Parameters
    ----------
    name
        A field of `Settings`.
    values
        Each of them once, in the order given; empty if only ranges were given.
    ranges
        Ranges to draw from: those without a count, and those with one, which a random search draws from too.
    """

    name: str
    values: tuple[Any, ...]
    ranges: tuple[Range, ...] = ()

    def draw(self, random: np.random.Generator) -> Any:
        """Return one value at random: from a range if there is one, else one of the values."""
        kind = _setting(self.name).kind
        if self.ranges:
            drawn = self.ranges[int(random.integers(len(self.ranges)))].draw(random)
            return round(drawn) if kind is int else drawn
        return self.values[int(random.integers(len(self.values)))]


def read_axis(name: str, given: Given) -> Axis:
    """Read the values of one setting.

    Raises
    ------
    UsageError
        The text is not in the grammar, or a value is of another type than the setting.
    """
    setting = _setting(name)
    values: list[Any] = []
    ranges: list[Range] = []
    parts = given if isinstance(given, list | tuple) and not _is_one_value(setting, given) else [given]
    for part in parts:
        for item in _items(setting, part) if isinstance(part, str) else [part]:
            _read_item(setting, item, values, ranges)
    for value in values:
        setting.require_sensible(value)
    unique = tuple(dict.fromkeys(values))
    if not unique and not ranges:
        raise UsageError(f"{setting.spelled} {given!r}: no values; {EXAMPLE}")
    return Axis(name, unique, tuple(ranges))


def _items(setting: Setting, text: str) -> list[str]:
    return weightings(text) if setting.name == WEIGHTS and "=" in text else text.split(",")


def with_named_weights(axes: Mapping[str, Given], classes: Sequence[str]) -> dict[str, Given]:
    """Return axes whose class weights, which may be mappings, are texts that name the classes.

    Raises
    ------
    UsageError
        Weights are written wrongly, or name a class that there is not.
    """
    given = axes.get(WEIGHTS)
    if given is None:
        return dict(axes)
    parts = given if isinstance(given, list | tuple) else [given]
    texts = [
        named_weights(item, classes)
        for part in parts
        for item in (_items(SETTINGS[WEIGHTS], part) if isinstance(part, str) else [part])
    ]
    return {**axes, WEIGHTS: texts}


def _is_one_value(setting: Setting, given: Sequence[Any]) -> bool:
    """Whether a list is one value, (512, 128) of `hidden`, and not several."""
    return (
        setting.kind is tuple and isinstance(given, tuple) and all(isinstance(width, int) for width in given)
    )


def _read_item(setting: Setting, item: Any, values: list[Any], ranges: list[Range]) -> None:
    if isinstance(item, str) and (match := _RANGE.fullmatch(item.strip())):
        interval = _range(setting, item, match)
        ranges.append(interval)
        if match[4]:
            kind = setting.kind
            values += [kind(round(v)) if kind is int else v for v in interval.spread(int(match[4]))]
        return
    values.append(_value(setting, item))


def _range(setting: Setting, item: str, match: re.Match[str]) -> Range:
    if setting.kind not in (int, float):
        raise UsageError(f"{setting.spelled} {item!r}: a range is for numbers; give the values one by one")
    low, high = _value(setting, match[1], float), _value(setting, match[2], float)
    log = match[3] == "log"
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (log and low <= 0):
        raise UsageError(
            f"{setting.spelled} {item!r}: expected low:high with low below high"
            f"{' and above 0 on a logarithmic scale' if log else ''}; {EXAMPLE}"
        )
    if match[4] and not 1 <= int(match[4][:6]) <= 10_000:
        raise UsageError(f"{setting.spelled} {item!r}: expected 1 to 10000 values")
    return Range(low, high, log)


def _value(setting: Setting, item: Any, kind: Any = None) -> Any:
    """Convert an item to the setting's type."""
    kind = kind or setting.kind
    if item is None or (isinstance(item, str) and item.strip().lower() == "none" and setting.optional):
        if not setting.optional:
            raise UsageError(f"{setting.spelled}: a value is missing; {EXAMPLE}")
        return None
    text = item.strip() if isinstance(item, str) else item
    try:
        if kind is tuple:
            return _widths(text)
        if kind is bool:
            return {"true": True, "false": False, "yes": True, "no": False}[str(text).lower()]
        if kind is int and float(text) != int(float(text)):
            raise ValueError
        return kind(int(float(text)) if kind is int else text)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        words = "widths as 512x128" if kind is tuple else KIND_WORDS[kind]
        raise UsageError(f"{setting.spelled} {item!r}: expected {words}; {EXAMPLE}") from error


def _widths(text: Any) -> tuple[int, ...]:
    """Read ``512x128``, ``512``, (512, 128), or [512, 128] in a list of a TOML file."""
    if isinstance(text, str):
        text = re.split("[x×]", text)
    return tuple(int(part) for part in (text if isinstance(text, tuple | list) else [text]))


def _setting(name: str) -> Setting:
    if name not in SETTINGS:
        raise UsageError(f"no setting {name!r}; {did_you_mean(name, SETTINGS)}")
    return SETTINGS[name]


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def read_bytes(given: int | str) -> int:
    """Read an amount of memory: ``2GiB``, ``500MB``, or bytes.

    Raises
    ------
    UsageError
        It is no amount of memory, or not above 0.

    Examples
    --------
    >>> read_bytes("1.5GiB")
    1610612736
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)", str(given).strip().lower())
    if match and not (match[3] and not match[2]):
        amount = int(float(match[1]) * (_BINARY if match[3] else _UNITS)[match[2]])
        if amount > 0:
            return amount
    raise UsageError(f"memory {given!r}: expected an amount such as 2GiB or 500MB")
