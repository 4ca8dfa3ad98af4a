"""A search as a contact sheet: each photo, and the nearest ones beside it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.core.display import counted
from featcache.core.tasks import UNLABELLED
from featcache.datasets.file_bytes import read_regular_file
from featcache.datasets.found_photos import find_photos
from featcache.errors import ImageError
from featcache.pages.page import render
from featcache.pages.sprites import Sprites

if TYPE_CHECKING:
    from featcache.datasets import Dataset
    from featcache.retrieval.result import Neighbourhood, SimilarPhoto, SimilarPhotos

PACKAGE = "featcache.retrieval"

_TITLE = 24
"""Characters of a name in the table of contents."""
_FILE, _ROW = "file ", "row "
"""What a sprite is called by: a photo of the cache and a file may have one name."""


@dataclass(frozen=True)
class _Section:
    key: str
    title: str
    headline: str
    template: str
    content: dict[str, Any]


def page_of(shown: "SimilarPhotos", where: "str | os.PathLike[str] | Dataset | None" = None) -> str:
    """Return a search as HTML.

    Parameters
    ----------
    shown
        What was found.
    where
        Where the cache's photos are, if they have moved.
    """
    cache = shown.cache
    rows = {each.row for each in shown.photos if each.row is not None}
    rows |= {near.row for each in shown.photos for near in each.found}
    hashes = {cache.ids[row]: cache.sha256[row].tobytes() for row in sorted(rows)}
    spec = cache.identity["dataset"]["spec"]
    photos = find_photos(spec, given=where, ids=list(hashes), sha256=hashes, task=cache.task)

    def read(name: str) -> bytes:
        if name.startswith(_FILE):
            return _file_bytes(name.removeprefix(_FILE))
        if photos.read is None:
            raise ImageError("unreadable file", "the photos of the cache are not there")
        return photos.read(name.removeprefix(_ROW))

    sprites = Sprites(read)
    names = [None if each.row is None else cache.ids[each.row] for each in shown.photos]
    sections = [
        _section(number, each, name, sprites)
        for number, (each, name) in enumerate(zip(shown.photos, names, strict=True), start=1)
    ]
    labelled = "" if cache.task == UNLABELLED else f"{len(cache.classes)} {cache.task}"
    facts = {"cache": str(cache.path), "searched": f"{shown.searched:,} rows of {shown.split}"}
    facts |= {"features": f"{shown.layer} of {cache.backbone}"} | ({"labels": labelled} if labelled else {})
    return render(
        "page.html",
        packages=(PACKAGE,),
        title="The nearest photos",
        headline=_headline(shown),
        facts=facts,
        notes=[*shown.notes, *([photos.moved] if photos.moved else [])],
        sections=sections,
        sheets=sprites.sheets(),
    )


def _file_bytes(name: str) -> bytes:
    if not Path(name).is_file():
        raise ImageError("unreadable file", f"{name} is no file any more")
    return read_regular_file(name)


def _headline(shown: "SimilarPhotos") -> str:
    found = sum(len(each.found) for each in shown.photos)
    return f"{counted(len(shown.photos), 'photo')}, {found:,} found among {shown.searched:,}"


def _section(number: int, each: "Neighbourhood", name: str | None, sprites: Sprites) -> _Section:
    own = None if name is None else sprites.of(_ROW + name)
    own = own or sprites.of(_FILE + each.id)
    said = f"{each.label} · {each.split}" if each.label else each.split
    content = {
        "error": each.error,
        "own": {"thumbnail": own, "name": each.id, "caption": said},
        "near": [_near(near, sprites) for near in each.found],
    }
    short = each.id.replace("\\", "/").rstrip("/").rpartition("/")[2] or each.id
    title = short if len(short) <= _TITLE else f"{short[: _TITLE // 2]}…{short[-(_TITLE // 2 - 1) :]}"
    return _Section(f"photo-{number}", title, _finding(each), "similar_photos.html", content)


def _near(near: "SimilarPhoto", sprites: Sprites) -> dict[str, Any]:
    lines = [f"similarity {near.similarity:.3f}", near.split]
    return {
        "thumbnail": sprites.of(_ROW + near.id),
        "name": near.id,
        "caption": near.label,
        "lines": [*lines, "the same bytes"] if near.same_bytes else lines,
    }


def _finding(each: "Neighbourhood") -> str:
    if each.error:
        return f"Cannot be read: {each.error}"
    if not each.found:
        return "Nothing to compare it with"
    labels = [near.label for near in each.found if near.label]
    if not labels:
        return f"The nearest has similarity {each.found[0].similarity:.3f}"
    most = max(dict.fromkeys(labels), key=labels.count)
    return f"{labels.count(most)} of the {len(each.found)} nearest: {most}"
