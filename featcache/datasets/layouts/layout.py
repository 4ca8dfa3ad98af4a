"""A layout: the split and the class of each folder, what was left out, and what a user is told of it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featcache.core.argument_types import spelled
from featcache.core.display import some
from featcache.datasets.layouts.tree import Folder

NO_SPLITS = "none"
"""Value of the option `splits` by which no folder is a split."""


@dataclass(frozen=True)
class Part:
    """A folder whose images, at any depth, have one class and one split.

    Parameters
    ----------
    path
        Relative to the root.
    split
        ``"train"``, ``"val"``, ``"test"``, another name, or empty where there are no splits.
    label
        Name of the class.
    """

    path: str
    split: str
    label: str


@dataclass(frozen=True)
class Layout:
    """How a dataset's folders are read.

    Parameters
    ----------
    parts
        The folders that are taken, in the order of their records.
    above
        Folders that hold class folders: files that lie in them themselves are left out.
    beside
        Names of folders that are left out since they are no split.
    unlabelled
        Paths of folders of a split, whose images have no class folders, and how many images are in each.
    wrapper
        Path of the only folder of images, in which all others are; empty where the root is not passed over.
    said
        What was taken otherwise than by the plainest rule, and how to choose; empty where that rule did.
    """

    parts: tuple[Part, ...]
    above: tuple[str, ...]
    beside: tuple[str, ...] = ()
    unlabelled: tuple[tuple[str, int], ...] = ()
    wrapper: str = ""
    said: str = ""


def option(*, splits: Mapping[str, str] | str | None = None, classes_at: int | None = None) -> str:
    """Return the options that choose a reading, as a user writes them.

    Parameters
    ----------
    splits
        Split of each folder, by the folder's name or path; or `NO_SPLITS`.
    classes_at
        Level of the class folders.
    """
    given = []
    if splits is not None:
        given.append(f"{spelled('splits')} {shlex.quote(in_text(splits))}")
    if classes_at is not None:
        given.append(f"{spelled('classes_at')} {classes_at}")
    return " ".join(given)


def in_text(splits: Mapping[str, str] | str) -> str:
    """Return splits as text, ``train=training_set,test=test_set``, of a mapping from folders to splits."""
    if isinstance(splits, str):
        return splits
    return ",".join(f"{split}={quoted(folder)}" for folder, split in splits.items())


def quoted(folder: str) -> str:
    """Return a folder's name as it stands in the option `splits`."""
    return folder.replace("%", "%25").replace(",", "%2C").replace("=", "%3D")


def listed(folders: Sequence[Folder] | Sequence[str], most: int = 5) -> str:
    """Return folders for a message: ``a/, b/``."""
    return some([f"{f if isinstance(f, str) else f.path}/" for f in folders], most)
