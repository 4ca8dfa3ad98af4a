"""What to say where a cache is expected and a folder of photos, or another thing, was given."""

import re
import shlex
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from featcache.core.disk.names import near_names
from featcache.core.tasks import UNLABELLED
from featcache.errors import DataError, FeatcacheError
from featcache.images.given_path import CACHE, CLASSIFIER, PHOTOS, refusal, what_is

_MOST = 50
"""Caches that are looked at."""


def refuse_others(path: Path, opened: Callable[[Path], Any]) -> None:
    """Raise `DataError` where photos, a classifier or another thing of featcache's was given in the place of a cache.

    A file that is called as a cache is opened as one.
    """
    if path.suffix in (".h5", ".hdf5") and not path.is_dir():
        return
    if what_is(path) == PHOTOS:
        raise DataError(instead_of(path, opened))
    if said := refusal(path, CACHE):
        raise DataError(said)


def near_caches(path: Path) -> str:
    """Return what to do about a cache that is not there: the ones of nearly that name, or how to make one."""
    if re.match(r"[a-z]{2,8}:", str(path)):
        return f"of a dataset of that name, first: featcache extract {shlex.quote(str(path))}"
    # Another name is no cache's.
    output = f" --output {shlex.quote(str(path))}" if path.suffix == ".h5" else ""
    near = near_names(path, lambda place: what_is(place) in (CACHE, CLASSIFIER, PHOTOS))
    return near or f"make one with: featcache extract DATASET{output}"


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
    labelled = [str(path) for path, task in made.items() if task != UNLABELLED]
    extract = f"featcache extract {shlex.quote(str(folder))}"
    if labelled:
        next_step = f"{' or '.join(labelled)} was made from it: name that"
    elif made:
        next_step = (
            f"{' or '.join(map(str, made))} was made from it without labels, for featcache predict and similarity "
            f"search; a head needs labels: sort the photos into class folders, {folder}/CLASS/image.jpg, then {extract}"
        )
    else:
        next_step = f"first: {extract}"
    return f"{folder} is a folder of photos, no cache of their features; {next_step}"


def _made_from(folder: Path, opened: Callable[[Path], Any]) -> dict[Path, str]:
    """Return the caches in the working directory and beside a folder whose dataset it is, with their tasks."""
    name = folder.resolve().name
    beside = {place.resolve(): place for place in (folder.parent, Path())}
    files = (
        each for place in beside.values() for each in sorted(place.glob("*.h5")) if each.name.startswith(name)
    )
    found = {each: _dataset_and_task(each, opened) for each in islice(files, _MOST)}
    return {path: task for path, (dataset, task) in found.items() if dataset == name}


def _dataset_and_task(path: Path, opened: Callable[[Path], Any]) -> tuple[str, str]:
    try:
        with opened(path) as cache:
            return Path(cache.identity["dataset"]["spec"]).name, cache.task
    except (FeatcacheError, OSError):
        return "", ""
