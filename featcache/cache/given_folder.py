"""What to say where a cache is expected and a folder of photos was given."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from featcache.errors import FeatcacheError

_MOST = 50
"""Caches that are looked at."""


def instead_of(folder: Path, opened: Callable[[Path], Any]) -> str:
    """Return what to do with a folder of photos: the caches beside it that were made from it, or how to make one.

    Parameters
    ----------
    folder
        Which holds images.
    opened
        Opens a cache: `featcache.cache.FeatureCache`.
    """
    made = _made_from(folder, opened)
    next_step = (
        f"{' or '.join(map(str, made))} was made from it: name that"
        if made
        else f"first: featcache extract {folder}"
    )
    return f"{folder} is a folder of photos, no cache of their features; {next_step}"


def _made_from(folder: Path, opened: Callable[[Path], Any]) -> list[Path]:
    """Return the caches in the working directory and beside a folder whose dataset it is."""
    name = folder.resolve().name
    beside = {place.resolve(): place for place in (folder.parent, Path())}
    files = (
        each for place in beside.values() for each in sorted(place.glob("*.h5")) if each.name.startswith(name)
    )
    return [each for each in islice(files, _MOST) if _dataset_of(each, opened) == name]


def _dataset_of(path: Path, opened: Callable[[Path], Any]) -> str | None:
    try:
        with opened(path) as cache:
            return Path(cache.identity["dataset"]["spec"]).name
    except (FeatcacheError, OSError):
        return None
