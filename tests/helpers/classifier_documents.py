"""Documents of classifiers that are told apart by a number, for tests of the folder that they lie in."""

from typing import Any

from helpers.small_caches import RECIPE

PLAIN: dict[str, Any] = {
    "backbone": "tiny.in1k",
    "weights": None,
    "recipe": RECIPE.to_json(),
    "layer": "pool",
    "fingerprint": "ab" * 32,
    "head": "linear",
    "classes": ["ant", "bee"],
    "metrics": {},
    "training": {},
    "provenance": {"cache": "photos.h5", "dataset": "photos"},
}

NUMBERED = f"def numbered(number): return {{**{PLAIN!r}, 'number': number}}\n"
"""The source text of `numbered`, for programs that run without this module."""


def numbered(number: int) -> dict[str, Any]:
    """Return a classifier's document that also holds a number."""
    return {**PLAIN, "number": number}
