"""The folders of a dataset as a tree, with how many images are in each; no file is opened."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from featcache.datasets.folder_files import is_folder, is_hidden
from featcache.datasets.layouts.split_words import names_splits, split_within
from featcache.images.names import is_image_name, unread_format

_DEEPEST = 6
"""Levels of folders that are looked at; what lies deeper counts as one image of the folder above it."""


_TOLD_IN = {".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".mat"}
"""Ends of files in which datasets tell which image belongs to which split."""


@dataclass(frozen=True)
class Folder:
    """A folder below the root of a dataset.

    Parameters
    ----------
    path
        Relative to the root, with slashes; empty for the root itself.
    images
        In the folder itself.
    folders
        In their order, those without images too.
    """

    path: str
    images: int
    folders: tuple["Folder", ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def level(self) -> int:
        """Folders from the root: 0 is the root, 1 a folder in it."""
        return self.path.count("/") + 1 if self.path else 0

    @cached_property
    def total(self) -> int:
        """Images in it and below it."""
        return self.images + sum(folder.total for folder in self.folders)

    @cached_property
    def live(self) -> tuple["Folder", ...]:
        """The folders in it that hold images, at any depth."""
        return tuple(folder for folder in self.folders if folder.total)

    @property
    def names(self) -> set[str]:
        """Names of the folders in it that hold images."""
        return {folder.name for folder in self.live}

    @property
    def is_flat(self) -> bool:
        """Whether images lie in it and in no folder of it."""
        return not self.live

    @property
    def holds_folders(self) -> bool:
        """Whether it holds folders of images, and beside them few images or none."""
        return bool(self.live) and 10 * self.images <= self.total

    def walk(self) -> Iterator["Folder"]:
        """Yield this folder and all below it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()


def tree(counts: Mapping[str, int]) -> Folder:
    """Return the root of the folders that are given by their paths.

    Parameters
    ----------
    counts
        Relative paths of folders and how many images are in each itself; folders above one need not be named.

    Examples
    --------
    >>> tree({"train/cat": 2, "train/dog": 1}).folders[0].names == {"cat", "dog"}
    True
    """
    below: dict[str, dict[str, None]] = {"": {}}
    for path in counts:
        while path and path not in below.get(above := path.rpartition("/")[0], {}):
            below.setdefault(above, {})[path] = None
            path = above

    def grow(path: str) -> Folder:
        return Folder(path, counts.get(path, 0), tuple(map(grow, below.get(path, {}))))

    return grow("")


def count_images(root: Path, key: Callable[[str], Any]) -> dict[str, int]:
    """Return how many images are in each folder below a root, by their names alone.

    Hidden folders and files do not count; pictures of formats that are not read do. Files without an extension count
    where no other is a picture.
    A folder that cannot be listed counts as one image: the scan that follows says why.

    Parameters
    ----------
    root
        The folder.
    key
        Sorts names of folders.
    """
    counts: dict[str, int] = {}
    bare: dict[str, int] = {}

    def visit(path: str, above: tuple[tuple[int, int], ...]) -> None:
        here = os.path.join(root, path)
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in above:
                counts[path] = 0
                return
            counts[path], bare[path], folders = _listed(here)
        except OSError:
            counts[path] = 1
            return
        if len(above) >= _DEEPEST:
            counts[path] += len(folders)
            return
        for name in sorted(folders, key=key):
            visit(f"{path}/{name}" if path else name, (*above, (status.st_dev, status.st_ino)))

    visit("", ())
    return counts if any(counts.values()) else {**counts, **bare}


def _listed(folder: str) -> tuple[int, int, list[str]]:
    """Return how many pictures and files without an extension are in a folder, and the folders in it."""
    images, bare, folders = 0, 0, []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if is_folder(entry):
                folders.append(entry.name)
            elif "." not in entry.name:
                bare += 1
            else:
                images += is_image_name(entry.name) or unread_format(entry.name) is not None
    return images, bare, folders


def split_files(root: Path, top: str) -> list[str]:
    """Return files that may tell splits, beside the only folder of images or one level below, as ``meta/train.txt``.

    Parameters
    ----------
    root
        The dataset's folder.
    top
        Path of the only folder of images, relative to it.
    """
    found = []
    parts = top.split("/")
    for end in range(len(parts)):
        above = "/".join(parts[:end])
        for name in ("", *_listed_or_none(os.path.join(root, above))):
            if name == parts[end]:
                continue
            folder = os.path.join(root, above, name)
            with suppress(OSError):
                found += [os.path.relpath(os.path.join(folder, each), root) for each in os.listdir(folder)]
    return sorted(
        name
        for name in found
        if os.path.splitext(name)[1].casefold() in _TOLD_IN and names_splits(os.path.basename(name))
    )


def told_beside(root: Path) -> list[str]:
    """Return files in a dataset's folder that by their names tell a test or validation split: ``test.txt``."""
    with suppress(OSError):
        return sorted(
            name
            for name in os.listdir(root)
            if os.path.splitext(name)[1].casefold() in _TOLD_IN
            and names_splits(name)
            and split_within(os.path.splitext(name)[0]) != "train"
        )
    return []


def _listed_or_none(folder: str) -> list[str]:
    try:
        return _listed(folder)[2]
    except OSError:
        return []
