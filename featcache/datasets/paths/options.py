"""The options by which given paths are mended: ``suffix=.jpg``, ``root=FOLDER`` and ``map=OLD:NEW``."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from urllib.parse import unquote

from featcache.datasets.paths.spelling import plain
from featcache.errors import MissingFileError, UsageError, did_you_mean
from featcache.images.names import is_image_name, unread_format

KEYS = ("suffix", "root", "map")
_SUFFIX = re.compile(r"\.?\w{1,8}")
_SEPARATOR = re.compile(r"(?<!^[A-Za-z]):(?!//)|(?<=^[A-Za-z]):(?![\\/])")
"""The colon between the two parts of a ``map``, which is neither that of a drive, ``C:/``, nor of ``file://``."""

_COLON = "%3A"


@dataclass(frozen=True)
class PathOptions:
    """How given paths become paths of this machine.

    Parameters
    ----------
    suffixes
        Endings that a given name may lack, or have another in the place of.
    old, new
        Folder that given paths begin with, and the one that is meant; ``None`` where none is replaced.
    """

    suffixes: tuple[str, ...] = ()
    old: str | None = None
    new: str = ""

    @classmethod
    def read(cls, suffix: str | None = None, map: str | None = None) -> "PathOptions":
        """Read the values of the options ``suffix`` and ``map``.

        Raises
        ------
        UsageError
            If one is of another form.
        """
        old, new = (None, "") if map is None else _read_map(map)
        return cls(() if suffix is None else _read_suffixes(suffix), old, new)

    def __bool__(self) -> bool:
        return bool(self.suffixes) or self.old is not None

    def mapped(self, name: str) -> str | None:
        """Return a given path with its beginning replaced; ``None`` where it begins otherwise."""
        if self.old is None:
            return None
        for path in (plain(name), unquote(plain(name))):
            if path.startswith(self.old.rstrip("/") + "/"):
                rest = path[len(self.old.rstrip("/")) :].lstrip("/")
                return rest if self.new == "." else os.path.join(self.new, rest)
        return None

    def names(self, name: str) -> Iterator[tuple[str, ...]]:
        """Yield the names under which a given one may be found, the best first; those of one group are as good."""
        for own in filter(None, (self.mapped(name), name)):
            yield (own,)
            if self.suffixes:
                yield tuple(own + suffix for suffix in self.suffixes)
                stem, ending = os.path.splitext(own)
                if is_image_name(own) or unread_format(own):
                    yield tuple(stem + suffix for suffix in self.suffixes if suffix != ending)

    def said(self) -> str:
        """Return the options as they are written, for messages and for what identifies a source."""
        suffix = f"suffix={','.join(self.suffixes)}" if self.suffixes else ""
        return "&".join(
            filter(None, [suffix, "" if self.old is None else f"map={written_map(self.old, self.new)}"])
        )

    def location(self, place: str, roots: Sequence[Path]) -> str:
        """Return what decides which file a given path is: the list that it stands in, the roots, and the options."""
        root = ",".join(str(each.resolve()) for each in roots)
        return "&".join(filter(None, [f"{place}?root={root}", self.said()]))


def _read_suffixes(text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",")]
    if wrong := [part for part in parts if not _SUFFIX.fullmatch(part)]:
        raise UsageError(f"suffix={text}: {wrong[0]!r} is no ending of a file's name; expected suffix=.jpg")
    return tuple(dict.fromkeys("." + part.removeprefix(".") for part in parts))


def _read_map(text: str) -> tuple[str, str]:
    found = _SEPARATOR.search(text)
    if found is None:
        raise UsageError(
            f"map={text}: expected map=OLD:NEW, the beginning of the given paths and what it is here"
        )
    old, new = plain(text[: found.start()].replace(_COLON, ":")), text[found.end() :].strip()
    if not old:
        raise UsageError(
            f"map={text}: nothing before the colon; a folder that is missing in front is root={new or 'FOLDER'}"
        )
    return old, os.path.expanduser(new)


def written_map(old: str, new: str) -> str:
    """Return the value of ``map`` for two folders, as it is read again; a colon in the first is written ``%3A``."""
    return f"{_SEPARATOR.sub(_COLON, old)}:{new}"


def read_roots(text: str, base: Path, what: str) -> list[Path]:
    """Return the folders that ``root=`` names, relative to `base`: one, or several with commas or ``*``.

    Raises
    ------
    MissingFileError
        If one does not exist.
    """
    whole = base / Path(os.path.expanduser(text))
    if whole.is_dir():
        return [whole]
    roots: list[Path] = []
    for part in text.split(",") if "," in text else [text]:
        named = base / Path(os.path.expanduser(part.strip()))
        matched = sorted(glob(os.path.expanduser(part.strip()), root_dir=base)) if "*" in part else []
        found = [base / each for each in matched] or [named]
        roots += [folder for folder in found if folder.is_dir()]
        if not any(folder.is_dir() for folder in found):
            near = did_you_mean(named.name, [each.name for each in _folders(named.parent)])
            hint = f"; {near}" if near.startswith("did") else ""
            raise MissingFileError(
                f"no folder {named}, which root={text} names; it is relative to {what}{hint}"
            )
    return list(dict.fromkeys(roots))


def _folders(place: Path) -> list[Path]:
    try:
        return [each for each in place.iterdir() if each.is_dir()]
    except OSError:
        return []
