"""The points of a map in fewer characters: names and mistakes say how they differ from those before them.

Of 10,000 photos names and mistakes are a quarter of a page without pictures; ``feature_map.js`` undoes this.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def packed(points: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a map as the page holds it.

    Parameters
    ----------
    points
        With `name`, a text for each point, and `wrong`, the number of a point (as text) to the class it is taken for.

    Returns
    -------
    dict
        The same with other values of both: of each name, in base 36, how many characters at its start are those of the
        one before, then its rest; of mistakes the distances between their numbers, the first from 0, and the classes.
    """
    numbers = [int(number) for number in points["wrong"]]
    steps = [number - before for number, before in zip(numbers, [0, *numbers], strict=False)]
    wrong = {"steps": steps, "classes": list(points["wrong"].values())}
    return {**points, "name": _names(points["name"]), "wrong": wrong}


def _names(names: Sequence[str]) -> list[str]:
    """Return names by what they share with the one before; only ASCII, of which scripts count characters alike."""
    found, before = [], ""
    for name in names:
        most = min(len(name), len(before), len(_DIGITS) - 1)
        shared = 0
        while shared < most and name[shared] == before[shared] and name[shared].isascii():
            shared += 1
        found.append(_DIGITS[shared] + name[shared:])
        before = name
    return found
