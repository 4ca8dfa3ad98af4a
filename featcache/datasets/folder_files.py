"""The images below a folder, in natural order; no file is opened but those whose names tell no image that is read."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from featcache.datasets.bare_files import format_by_content
from featcache.datasets.dataset import access_errors
from featcache.datasets.file_state import file_state
from featcache.datasets.left_out import LeftOut
from featcache.datasets.names import natural_key
from featcache.images.names import is_image_name
from featcache.images.signatures import is_read

_OF_SYSTEMS = frozenset(
    {
        "@eadir",
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "~snapshot",
    }  # Synology, QNAP, NetApp
    | {"$recycle.bin", "system volume information", "lost+found", "__pycache__"}
)


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image's place and state.

    Parameters
    ----------
    path
        Of the file.
    size, mtime_ns, state
        As in `featcache.datasets.Record`; 0 and empty where there is no file that can be read.
    """

    path: str
    size: int
    mtime_ns: int
    state: bytes


def image_files(folder: Path) -> tuple[list[Path], LeftOut]:
    """Return the images below a folder in natural order, and why other files were left out."""
    skipped = LeftOut()
    return [Path(found.path) for found in images_below(folder, skipped)], skipped


def images_below(
    folder: Path, skipped: LeftOut, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[FoundImage]:
    """Yield the images below a folder, depth first; folders may be nested as deep as the system allows.

    Parameters
    ----------
    folder
        Where they are.
    skipped
        Counts what is left out.
    above
        Folders that are not entered again by links, as `inode` gives them.
    """
    entered: dict[tuple[int, int], Iterator[os.DirEntry[str]]] = {}  # the innermost folder last
    hollow: dict[tuple[int, int], str] = {}  # of these, folders in the place of an image, without one so far

    def enter(folder: str | Path, *, instead: bool = False) -> bool:
        # As text below the first: a path object is slow to make of a long one.
        here = inode(folder)
        if here in above or here in entered:
            return False
        entered[here] = entries_of(folder, skipped)
        if instead:
            hollow[here] = str(folder)
        return True

    enter(folder)
    while entered:
        innermost = next(reversed(entered))
        entry = next(entered[innermost], None)
        if entry is None:
            del entered[innermost]
            if innermost in hollow:
                yield FoundImage(hollow.pop(innermost), 0, 0, b"")
        elif is_folder(entry):
            if enter(entry.path, instead=is_image_name(entry.name)):
                continue
            if is_image_name(entry.name):
                yield FoundImage(entry.path, 0, 0, b"")
            else:
                skipped["link back to a folder above"] += 1
        elif not is_image_name(entry.name) and not _is_image_by_content(entry, skipped):
            continue
        else:
            hollow.clear()
            yield _found(entry)


def _is_image_by_content(entry: os.DirEntry[str], skipped: LeftOut) -> bool:
    """Return whether a file begins as a picture that is read, though its name tells none; counts what is none."""
    kind = format_by_content(entry.path)
    if kind is None or not is_read(kind):
        skipped.no_image(entry.name, kind)
        return False
    skipped.by_content(entry.name, kind)
    return True


def _found(entry: os.DirEntry[str]) -> FoundImage:
    """Return a file with its state, without one where it is there and cannot be read as a file."""
    try:
        status = entry.stat()
    except OSError:  # a broken link, or it was taken away after it was listed
        return FoundImage(entry.path, 0, 0, b"")
    if not stat.S_ISREG(status.st_mode):
        return FoundImage(entry.path, 0, 0, b"")
    return FoundImage(entry.path, status.st_size, status.st_mtime_ns, file_state(status))


def inode(folder: str | Path) -> tuple[int, int]:
    """Return what a folder is known by, whatever links lead to it."""
    with access_errors(folder, "open"):
        status = os.stat(folder)
    return status.st_dev, status.st_ino


def entries_of(folder: str | Path, skipped: LeftOut) -> Iterator[os.DirEntry[str]]:
    """Yield visible folders, regular files (links followed) and whatever has an image's name; count the others."""
    with access_errors(folder, "list"), os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: natural_key(entry.name))
    for entry in entries:
        if _is_of_system(entry.name):
            skipped[f"folder of a system ({entry.name}/)"] += 1
        elif is_hidden(entry.name):
            skipped["hidden"] += 1
        elif is_folder(entry) or _is_file(entry) or is_image_name(entry.name):
            yield entry
        else:
            skipped["no regular file (FIFO, device or broken link)"] += 1


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is no part of a dataset, such as what a Mac leaves behind."""
    return name.startswith((".", "__MACOSX")) or _is_of_system(name)


def _is_of_system(name: str) -> bool:
    """Return whether a folder is called as those that network disks, Windows and Linux keep for themselves."""
    return name.casefold() in _OF_SYSTEMS


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a folder, links followed."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
