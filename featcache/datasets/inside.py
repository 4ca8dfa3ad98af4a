"""Paths that data name stay inside of a folder: where they lead, and not only how they are written."""

import json
import os
from pathlib import Path
from typing import Any

from featcache.datasets.dataset import why_unread
from featcache.datasets.file_bytes import read_regular_file
from featcache.errors import DataError, ImageError

MAX_BYTES = 2**26
"""Of a file in which data describe themselves: statistics and notes of a release take some megabytes at most."""


def is_inside(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Return whether a file, links followed, lies below a folder, links followed.

    What is downloaded may name any path of this machine, and hold links to it. A name that no file system takes is
    not inside. Nothing is opened.

    Parameters
    ----------
    path
        The file, which need not exist.
    folder
        What it must not leave.
    """
    try:
        return is_below(path, os.path.realpath(folder))
    except (OSError, ValueError):
        return False


def is_below(path: str | os.PathLike[str], root: str) -> bool:
    """Return whether a file, links followed, lies below a folder whose links were followed already (`is_inside`)."""
    try:
        place = os.path.realpath(path)
    except (OSError, ValueError):
        return False
    return place.startswith(root.rstrip(os.sep) + os.sep)


def read_inside(folder: Path, name: str, remedy: str) -> bytes:
    """Return a file of a folder; nothing outside of it, and nothing larger than `MAX_BYTES`.

    Parameters
    ----------
    folder
        Where the file is.
    name
        Its path there.
    remedy
        What to do if it cannot be read, for the message.

    Raises
    ------
    DataError
        If it is missing, no regular file, too large, or a link that leads out.
    """
    path = folder / name
    try:
        if not is_inside(path, folder):
            raise OSError(f"it is outside of {folder}, or a link that leads out of {folder}")
        if path.stat().st_size > MAX_BYTES:
            raise OSError(f"it has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read")
        return read_regular_file(str(path))
    except (OSError, ImageError) as error:
        raise DataError(f"cannot read {path}: {why_unread(error).detail}. {remedy}") from error


def read_document(folder: Path, name: str, remedy: str) -> dict[str, Any]:
    """Return the JSON object in a file of a folder; raises `DataError` as `read_inside`, and if it is none."""
    try:
        document = json.loads(read_inside(folder, name, remedy))
    except (ValueError, RecursionError) as error:
        raise DataError(f"cannot read {folder / name}: {error}. {remedy}") from error
    if not isinstance(document, dict):
        raise DataError(f"cannot read {folder / name}: it holds no JSON object. {remedy}")
    return document
