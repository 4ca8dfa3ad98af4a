"""The photos that others are to be like: rows of the cache, by name or by number, and photos from elsewhere."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.photos import Photo, content_hash, photos_of
from featcache.core.disk.file_urls import local_path
from featcache.core.disk.names import near_names
from featcache.errors import DataError, UnknownNameError, UsageError, did_you_mean
from featcache.images.decoding import QUARANTINE_REASONS
from featcache.images.given_path import PHOTO, PHOTOS, UNKNOWN, what_is

ROW = "row:"
"""Before the number of a row."""

_COMPARED = 20_000
"""Names that a misspelt one is compared with at most."""


@dataclass(frozen=True)
class Asked:
    """A photo that others are to be like.

    Parameters
    ----------
    id
        Its name in the dataset, its path, or its position among those given.
    row
        The row of the cache that it is; ``None`` for a photo that the cache does not hold.
    photo
        How it is read; ``None`` where a row was named.
    """

    id: str
    row: int | None = None
    photo: Photo | None = None


def asked_of(cache: FeatureCache, given: Any) -> list[Asked]:
    """Return what is asked about, in its order.

    Parameters
    ----------
    cache
        The cache that is searched.
    given
        Names of rows, ``row:NUMBER``, whole numbers of rows, or what `featcache.classifier.photos.photos_of` takes; or
        a list of these. A ``Path`` is always a file.

    Raises
    ------
    UsageError
        If a name is that of a row and, with other bytes, of a file.
    UnknownNameError
        If it is neither; the message names near ones.
    DataError
        If a row has no features, or something else than a photo was given.
    """
    return _AskedOf(cache).all(given)


class _AskedOf:
    def __init__(self, cache: FeatureCache) -> None:
        self._cache = cache
        self._usable = np.zeros(len(cache), bool)
        self._usable[cache.rows_of()] = True
        self._row_of = {name: row for row, name in enumerate(cache.ids)}

    def all(self, given: Any) -> list[Asked]:
        if _is_one(given):
            return self._of(given)
        asked = []
        for number, each in enumerate(given):
            found = self._of(each)
            named = isinstance(each, str | os.PathLike | int | np.integer)
            asked += found if named else [Asked(str(number), each.row, each.photo) for each in found]
        if not asked:
            raise UsageError("no photo and no row is named; name at least one")
        return asked

    def _of(self, given: Any) -> list[Asked]:
        if isinstance(given, bool):
            raise UsageError(f"{given!r} is no photo; name rows of the cache, or photos")
        if isinstance(given, int | np.integer):
            return [self._row(int(given))]
        if isinstance(given, str):
            return self._named(given)
        return [self._photo(photo, given) for photo in photos_of(given)]

    def _named(self, name: str) -> list[Asked]:
        """Return the row or the photos that a text names."""
        row, path = self._row_of.get(name), local_path(name)
        there = os.path.exists(path)
        if row is None and not there:
            if name.startswith(ROW) and name[len(ROW) :].isdecimal():
                return [self._row(int(name[len(ROW) :]))]
            raise UnknownNameError(
                f"{name} is neither a row of {self._cache.path} nor a photo on this disk; {self._near(name, path)}"
            )
        if row is None:
            _require_photos(path)
            return [self._photo(photo, None) for photo in photos_of(path)]
        if there and content_hash(str(path)) != self._cache.sha256[row].tobytes():
            other = name if os.path.isabs(name) else os.path.join(".", name)
            raise UsageError(
                f"{name} is row {row} of {self._cache.path}, and a file here that is another picture; for the row "
                f"name {ROW}{row}, for the file {other} (in Python a Path)"
            )
        return [self._row(row)]

    def _row(self, row: int) -> Asked:
        cache = self._cache
        if not 0 <= row < len(cache):
            raise UsageError(f"{cache.path} has no row {row}; its rows are 0 to {len(cache) - 1}")
        if not self._usable[row]:
            reasons = dict(enumerate(QUARANTINE_REASONS, start=1))
            why = reasons.get(int(cache.status[row]), "unreadable")
            raise DataError(
                f"{cache.ids[row]} is row {row} of {cache.path}, which has no features: the picture could not be read "
                f"({why}); mend the picture and extract again, or name another one"
            )
        return Asked(cache.ids[row], row)

    def _photo(self, photo: Photo, given: Any) -> Asked:
        """Return a photo, with its row where the cache holds the same bytes."""
        if isinstance(given, bytes | bytearray | memoryview):
            digest = hashlib.sha256(given).digest()
        else:
            digest = content_hash(photo.id) if given is None or isinstance(given, os.PathLike) else None
        return Asked(photo.id, None if digest is None else self._row_with(digest, photo.id), photo)

    def _row_with(self, digest: bytes, path: str) -> int | None:
        """Return the row with these bytes; of several the one whose name the path ends in, else the first."""
        same = same_bytes(self._cache, digest)
        rows = same[self._usable[same]].tolist()
        ends = "/" + path.replace(os.sep, "/")
        named = (row for row in rows if ends.endswith("/" + self._cache.ids[row]))
        return next(named, rows[0] if rows else None)

    def _near(self, name: str, path: Path) -> str:
        """Return the rows and the files whose names are near."""
        last = path.name.casefold()
        ends = [own for own in self._cache.ids if own.casefold().endswith("/" + last)] if last else []
        if ends:
            return "did you mean " + " or ".join(map(repr, ends[:3])) + "?"
        names: Sequence[str] = self._cache.ids
        if len(names) > _COMPARED:
            names = [own for own in names if own.rpartition("/")[2][:3].casefold() == last[:3]][:_COMPARED]
        told = did_you_mean(name, names) if names else ""
        return (
            told if told.startswith("did") else near_names(path) or f"the first row is {self._cache.ids[0]!r}"
        )


def _is_one(given: Any) -> bool:
    """Whether something is one row, photo or folder, not several of them."""
    if isinstance(given, str | bytes | bytearray | memoryview | os.PathLike | int | np.integer):
        return True
    if isinstance(given, np.ndarray):
        return given.ndim in (2, 3)
    return hasattr(given, "read") or not isinstance(given, Iterable)


def same_bytes(cache: FeatureCache, digest: bytes) -> np.ndarray:
    """Return the rows of a cache whose pictures have a sha256, int ``[n]``."""
    wanted = np.frombuffer(digest, np.uint8)
    first = np.flatnonzero(cache.sha256[:, 0] == wanted[0])
    return first[(cache.sha256[first] == wanted).all(axis=1)]


def _require_photos(path: Path) -> None:
    """Refuse what is plainly something else than a photo or a folder of photos."""
    kind = what_is(path)
    if kind not in (PHOTO, PHOTOS, UNKNOWN):
        raise DataError(f"{path} is {kind}, no photo; name photos, folders of them, or rows of the cache")
