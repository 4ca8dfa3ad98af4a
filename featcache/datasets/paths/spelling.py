"""One name in two spellings: backslashes, blanks at the ends, ``%20``, upper case, the Unicode form, ``file://``."""

import os
import sys
from collections import defaultdict
from urllib.parse import unquote

from featcache.core.disk.file_urls import local_path
from featcache.datasets.names import folded
from featcache.errors import UsageError

_MOST = 200_000
"""Entries of folders that are looked at; a larger folder is not looked into at all, so that order decides nothing."""


def plain(name: str) -> str:
    r"""Return a given name with ``/`` between its parts, without blanks at its ends and without ``file://``.

    Examples
    --------
    >>> plain(r" img\a.jpg "), plain("file:///data/a%20b.jpg"), plain("./a.jpg")
    ('img/a.jpg', '/data/a b.jpg', 'a.jpg')
    """
    text = name.strip()
    if text.casefold().startswith("file:"):
        try:
            text = os.fspath(local_path(text))
        except UsageError:  # of another machine
            return text
    text = text.replace("\\", "/")
    while text.startswith("./"):
        text = text[2:].lstrip("/")
    return text


def fold(part: str) -> str:
    """Return what all spellings of a part of a path have in common.

    Examples
    --------
    >>> fold("A%20B.JPG ") == fold("a b.jpg"), fold("cafe\u0301") == fold("caf\u00e9")
    (True, True)
    """
    # NFC, since a raised 2 in a file's name is no other way to write a 2.
    return folded(unquote(part), "NFC")


class Spellings:
    """Finds files whose path differs from a given one in spelling alone; every folder is listed once."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, list[str]]] = {}
        self._left = _MOST

    def find(self, root: str, name: str) -> str | None:
        """Return the one path that a name below `root` can be a spelling of; ``None`` for none, and for several."""
        path = plain(name)
        here = "/" if path.startswith("/") else root
        for part in filter(None, path.split("/")):
            if not os.path.lexists(os.path.join(here, part)):
                names = self._names(here).get(fold(part), [])
                if len(names) != 1:
                    return None
                part = names[0]
            here = os.path.join(here, part)
        return here

    def _names(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._listed:
            names: defaultdict[str, list[str]] = defaultdict(list)
            for name in entries(folder, self._left):
                names[fold(name)].append(name)
                self._left -= 1
            self._listed[folder] = dict(names)
        return self._listed[folder]


def entries(folder: str, most: int = sys.maxsize) -> list[str]:
    """Return the names in a folder; none of one that cannot be listed, or holds more than `most`."""
    found: list[str] = []
    try:
        with os.scandir(folder) as scanned:
            for entry in scanned:
                if len(found) == most:
                    return []
                found.append(entry.name)
    except (OSError, ValueError):  # a table or a list may name any folder, also one that no file system takes
        return []
    return found
