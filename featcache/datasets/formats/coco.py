"""Annotations in COCO's form: ``coco:instances.json?root=images``, of which the categories of each photo are taken.

The JSON has ``images`` (``id``, ``file_name``), ``annotations`` (``image_id``, ``category_id``) and ``categories``
(``id``, ``name``); boxes and outlines are not kept. iNaturalist's competitions have the same form.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featcache.core.disk.names import expanded, read_file, require_file
from featcache.core.display import some
from featcache.core.tasks import MULTICLASS, MULTILABEL
from featcache.core.warning import warn
from featcache.datasets.dataset import Dataset, access_errors
from featcache.datasets.formats.listed_files import Entry, to_dataset
from featcache.datasets.left_out import without_images
from featcache.datasets.names import shown, why_not_kept
from featcache.datasets.paths.finding import Finder
from featcache.datasets.paths.options import KEYS, PathOptions, read_roots
from featcache.datasets.spec_options import read_options
from featcache.errors import DataError, UsageError, did_you_mean

MOST_BYTES = 2**29
"""Of a file; the largest of COCO's own has 450 MB."""
MOST_OBJECTS = 2**24
MOST_VALUES = 2**27
_OPTIONS = (*KEYS, "task")
_TASKS = (MULTICLASS, MULTILABEL)
_KEPT = ("id", "file_name", "image_id", "category_id", "name", "images", "annotations", "categories")
_EXPECTED = (
    'COCO\'s {"images": [{"id", "file_name"}], "annotations": [{"image_id", "category_id"}], "categories": '
    '[{"id", "name"}]}'
)


def open_coco(text: str, *, least_classes: int = 2) -> Dataset:
    """Open annotations in COCO's form; no image is read.

    Where every photo is of one category, however often, categories are classes. Where one has several they are
    answers, and photos without any have none of them. A photo without annotations has no class: it is left out.

    Parameters
    ----------
    text
        What follows ``coco:`` in a spec: a file, and the options ``root``, the folder of the photos, relative to the
        file's own; ``suffix`` and ``map`` (`featcache.datasets.paths.options`); and ``task``.
    least_classes
        2 for training; where photos are only scored, 1 is enough.

    Raises
    ------
    UsageError
        If an option is unknown, or a photo is of several categories that are to be classes.
    MissingFileError
        If the file, its root, or every photo is missing.
    DataError
        If the file is no such JSON, is too large, or names an image or a category that it does not have.
    """
    name, options = read_options("coco", text, _OPTIONS)
    file, task = expanded(name), options.get("task")
    if task is not None and task not in _TASKS:
        raise UsageError(f"dataset {'coco:' + text!r}: no task {task!r}; {did_you_mean(task, _TASKS)}")
    with access_errors(file):
        require_file(file, _EXPECTED, missing=f"no file {file}; expected {_EXPECTED}")
    roots = read_roots(options.get("root", ""), file.parent, f"the folder of {file}")
    paths = PathOptions.read(options.get("suffix"), options.get("map"))
    images, categories, found = _read(file)
    several = next((image for image, own in found.items() if len(own) > 1), None)
    if several is not None and task == MULTICLASS:
        names = some([categories[own] for own in found[several]])
        raise UsageError(
            f"dataset {'coco:' + text!r}: task=classes takes photos of one category, and {images[several]!r} has "
            f"{names}; leave it out, and they are answers (any number for a photo)"
        )
    chosen = task or (MULTILABEL if several is not None else MULTICLASS)
    used = _used(categories, found)
    taken = [image for image in images if chosen == MULTILABEL or image in found]
    if not taken or not used:
        raise DataError(f"{file}: no image has an annotation; expected {_EXPECTED}")
    skipped = without_images([categories[own] for own in categories if own not in set(used)])
    if unlabelled := len(images) - len(taken):
        skipped["without annotations"] = unlabelled
    if task is None:
        warn(_said(text, chosen, len(images), found, len(used)))
    entries = [
        Entry(
            place=f"{file}, image {image}",
            id=images[image],
            path=os.path.join(roots[0], images[image]),
            label="" if chosen == MULTILABEL else categories[next(iter(found[image]))],
            target=tuple(float(own in found.get(image, ())) for own in used)
            if chosen == MULTILABEL
            else None,
        )
        for image in taken
    ]
    return to_dataset(
        entries,
        [categories[own] for own in used],
        task=chosen,
        spec=f"coco:{text}",
        name=f"{file.stem}-coco",
        lookup="paths are relative to the JSON's folder, or to another with ?root=FOLDER",
        location=paths.location(f"coco:{file.resolve()}", roots),
        folder=roots[0] if len(roots) == 1 else file.parent,
        skipped=skipped,
        least_classes=least_classes,
        finder=Finder([str(root) for root in roots], str(file.parent), paths),
    )


Held = Mapping[int, Mapping[int, None]]
"""The categories of each image that has any, in their order."""


def _used(categories: Mapping[int, str], found: Held) -> list[int]:
    held = {own for each in found.values() for own in each}
    return [own for own in categories if own in held]


def _said(text: str, task: str, count: int, found: Held, used: int) -> str:
    if task == MULTICLASS:
        return (
            f"coco:{text}: every photo is of one category: {used} classes; task=answers takes the categories as "
            "answers, any number for a photo"
        )
    several = sum(len(own) > 1 for own in found.values())
    none = count - len(found)
    rest = f", and {none} are of none" if none else ""
    return f"coco:{text}: {several} of {count} photos are of several categories{rest}: {used} answers for each photo"


# The JSON ---------------------------------------------------------------------------------------------------


def _read(file: Path) -> tuple[dict[int, str], dict[int, str], Held]:
    """Return the names of images and of categories by their ids, and the categories of each image."""
    document = _parse(file)
    if not isinstance(document, dict):
        raise DataError(f"{file}: expected {_EXPECTED}")
    images = _names(document, "images", "file_name", file)
    categories = _names(document, "categories", "name", file)
    if len(set(categories.values())) < len(categories):
        raise DataError(f"{file}: two categories have one name; give each its own")
    found: dict[int, dict[int, None]] = {}
    for number, own in enumerate(_rows(document, "annotations", file)):
        image: Any = own.get("image_id")
        category: Any = own.get("category_id")
        for value, known, what in ((image, images, "image"), (category, categories, "category")):
            if type(value) is not int or value not in known:
                raise DataError(
                    f"{file}, annotation {number}: {what}_id is {shown(str(value))}, and no {what} has that id; "
                    f"expected {_EXPECTED}"
                )
        found.setdefault(image, {})[category] = None
    return images, categories, found


def _rows(document: Mapping[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    rows = document.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file}: no list of {key!r}; expected {_EXPECTED}")
    return rows


def _names(document: Mapping[str, Any], key: str, field: str, file: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, row in enumerate(_rows(document, key, file)):
        own, name = row.get("id"), row.get(field)
        if type(own) is not int or not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{file}, {key} {number}: expected a whole number as 'id' and a text as {field!r}"
            )
        if own in names:
            raise DataError(f"{file}, {key} {number}: the id {own} stands twice; expected every id once")
        if why := why_not_kept(name):
            raise DataError(f"{file}, {key} {number}: {shown(name)} {why}")
        names[own] = name if field == "file_name" else name.strip()
    return names


def _parse(file: Path) -> Any:
    """Return the parts of the JSON that are used; what is not is dropped while it is read, to spare memory."""
    with access_errors(file):
        text = read_file(file, MOST_BYTES + 1)
    too_large = (
        len(text) > MOST_BYTES
        or text.count(b"[") + text.count(b"{") > MOST_OBJECTS
        or text.count(b",") > MOST_VALUES
    )
    if too_large:
        raise DataError(
            f"{file} is larger than annotations are that are read: at most {MOST_BYTES:,} bytes and "
            f"{MOST_OBJECTS:,} lists and objects; write a table of paths and labels (csv:)"
        )
    try:
        return json.loads(
            text, object_pairs_hook=_kept, parse_float=_nothing, parse_constant=_nothing, parse_int=_short
        )
    except (ValueError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{file} is no JSON that can be read: {why}; expected {_EXPECTED}") from None


def _kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key in _KEPT}


def _nothing(text: str) -> None:
    """Stand for a number of a box or an outline."""


def _short(digits: str) -> int | None:
    return int(digits) if len(digits) <= 18 else None
