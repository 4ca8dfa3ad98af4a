"""Folders of images: ``root/split/class/*.jpg`` or ``root/class/*.jpg``."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from featcache.core.disk.names import (
    NotRegularError,
    near_names,
    no_folder,
    open_regular_file,
    require_folder,
)
from featcache.core.warning import warn
from featcache.datasets.dataset import UNSPLIT, Dataset, Record, access_errors, space_at_end
from featcache.datasets.file_state import file_state, size_and_times
from featcache.datasets.left_out import LeftOut, in_words
from featcache.errors import DataError, ImageError
from featcache.images.given_path import PHOTOS, refusal
from featcache.images.limits import require_readable_size
from featcache.images.names import is_image_name
from featcache.splits.slices import SPLITS

_MOST_DIGITS = 1000
"""Of a number in a name; Python converts no more than 4300, and takes long for many."""

LAYOUTS = "expected ROOT/CLASS/image.jpg or ROOT/{train,val,test}/CLASS/image.jpg"


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    size: int
    mtime_ns: int
    state: bytes


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which numbers count as numbers: 1, 2, 10 and not 1, 10, 2."""
    parts = (part for part in re.split(r"(\d+)", name) if part)
    numbers_as_numbers = (
        (0, int(part), "") if part.isdecimal() and len(part) <= _MOST_DIGITS else (1, 0, part.casefold())
        for part in parts
    )
    return (*numbers_as_numbers, (2, 0, name))


def open_folder(path: str, *, least_classes: int = 2) -> Dataset:
    """Scan a folder of class folders, with or without split folders above them.

    Hidden files and folders, and files that are not images by their extension are left out and counted; nothing is
    opened. What has an image's name and is no regular file (a broken link, a FIFO, a folder without images) is a record
    that cannot be read: a photo may be in its place again. Classes are the names of the class folders over all splits,
    in natural order; a class folder may hold folders of its own. Folders that stand for the same split (``val/`` and
    ``dev/``) are taken together.

    Parameters
    ----------
    path
        The folder; ``~`` is expanded.
    least_classes
        2 for training; where photos are only scored, 1 is enough.

    Raises
    ------
    MissingFileError
        If it does not exist.
    DataError
        If it holds no images, no class folders, or fewer classes.
    """
    root = Path(path).expanduser()
    _require_folder(root)
    skipped = LeftOut()
    folders = [
        (split, name, folder)
        for split, above in _split_folders(root, skipped)
        for name, folder in _class_folders(above, skipped)
    ]
    found = [
        (split, name, image)
        for split, name, folder in folders
        for image in _images(folder, skipped, (_inode(root), _inode(folder.parent)))
    ]
    classes = sorted({name for _, name, _ in found}, key=natural_key)
    hollow = sorted({n for _, n, _ in folders} - {*classes}, key=natural_key)
    skipped.folders("class folder", "without images", hollow)
    _refuse_unusable(root, classes, skipped, least_classes)
    if unread := skipped.unread():
        warn(in_words(unread))  # in the words of the line that extractions print
    labels = {name: index for index, name in enumerate(classes)}
    below = {
        folder: _below(folder, root) for folder in {os.path.dirname(image.path) for _, _, image in found}
    }
    records = [_record(image, below, labels[name], split) for split, name, image in found]
    return Dataset(
        spec=path,
        name=root.resolve().name or "dataset",
        classes=tuple(classes),
        records=records,
        skipped=skipped.reasons(),
        location=f"folder:{root.resolve()}",
        why_absent=partial(_why_absent, root),
    )


def read_regular_file(path: str) -> bytes:
    """Return a file's bytes; refuses what is no regular file, see `open_regular_file`.

    Raises
    ------
    OSError
        The file cannot be read.
    ImageError
        It is larger than any image that is read, or a FIFO, a socket or a device.
    """
    try:
        descriptor, status = open_regular_file(path)
    except NotRegularError as error:
        raise ImageError("not a regular file", str(error)) from error
    # Not through a file object: it asks the system twice as often, and between threads every question costs a turn.
    try:
        require_readable_size(status.st_size)  # a sparse file may claim terabytes
        data = os.read(descriptor, status.st_size)
        while len(data) < status.st_size and (more := os.read(descriptor, 2**24)):  # one read ends at 2 GiB
            data += more
        return data
    finally:
        os.close(descriptor)


def read_extent(path: str, offset: int, size: int, written: tuple[int, int, int] | None = None) -> bytes:
    """Return a part of a file.

    Parameters
    ----------
    path
        The file.
    offset, size
        In bytes.
    written
        Size and times of the file in which that place was found (`featcache.datasets.file_state.size_and_times`).

    Raises
    ------
    OSError
        The file cannot be read, is another one by now, or ends before.
    """
    descriptor, status = open_regular_file(path)
    cut = f"{path} ends within the image at byte {offset}: it was cut after it was indexed"
    try:
        if status.st_size < offset + size:
            raise OSError(cut)
        if written is not None and size_and_times(status) != written:
            raise OSError(f"{path} was changed after it was indexed")
        data = os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
    if len(data) != size:
        raise OSError(cut)
    return data


def image_files(folder: Path) -> tuple[list[Path], LeftOut]:
    """Return the images below a folder in natural order, and why other files were left out."""
    skipped = LeftOut()
    return [Path(found.path) for found in _images(folder, skipped, ())], skipped


def _require_folder(root: Path) -> None:
    if os.path.isfile(root) and (said := refusal(root, PHOTOS)):
        raise DataError(said)
    with access_errors(root, "open the dataset folder"):
        near = near_names(root, os.path.isdir) or LAYOUTS
        missing = f"no dataset folder {root}{space_at_end(root)}; {near}"
        require_folder(root, f"a dataset folder, {LAYOUTS.removeprefix('expected ')}", missing=missing)


def _below(folder: str, root: Path) -> str:
    return Path(folder).relative_to(root).as_posix()


def _record(found: _Found, below: dict[str, str], label: int, split: str) -> Record:
    folder, name = os.path.split(found.path)
    return Record(
        id=f"{below[folder]}/{name}",
        label=label,
        split=split,
        read=partial(read_regular_file, found.path),
        size=found.size,
        mtime_ns=found.mtime_ns,
        state=found.state,
    )


def _split_folders(root: Path, skipped: LeftOut) -> list[tuple[str, Path]]:
    """Return the folders that hold class folders, each with the split it stands for."""
    folders = [Path(entry.path) for entry in _entries(root, LeftOut()) if _is_folder(entry)]
    named = [(SPLITS[f.name.casefold()], f) for f in folders if f.name.casefold() in SPLITS]
    if not any(split == "train" for split, _ in named):
        return [(UNSPLIT, root)]
    beside = [folder.name for folder in folders if folder.name.casefold() not in SPLITS]
    skipped.folders("folder", "beside the splits", beside)
    return named


def _class_folders(folder: Path, skipped: LeftOut) -> Iterator[tuple[str, Path]]:
    for entry in _entries(folder, skipped):
        if _is_folder(entry):
            yield entry.name, Path(entry.path)
        else:
            skipped["not in a class folder"] += 1


def _images(folder: Path, skipped: LeftOut, above: tuple[tuple[int, int], ...]) -> Iterator[_Found]:
    """Yield the images below a folder, depth first; folders may be nested as deep as the system allows."""
    entered: dict[tuple[int, int], Iterator[os.DirEntry[str]]] = {}  # the innermost folder last
    hollow: dict[tuple[int, int], str] = {}  # of these, folders in the place of an image, without one so far

    def enter(folder: str | Path, *, instead: bool = False) -> bool:
        # As text below the first: a path object is slow to make of a long one.
        here = _inode(folder)
        if here in above or here in entered:
            return False
        entered[here] = _entries(folder, skipped)
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
                yield _Found(hollow.pop(innermost), 0, 0, b"")
        elif _is_folder(entry):
            if enter(entry.path, instead=is_image_name(entry.name)):
                continue
            if is_image_name(entry.name):
                yield _Found(entry.path, 0, 0, b"")
            else:
                skipped["link back to a folder above"] += 1
        elif not is_image_name(entry.name):
            skipped.no_image(entry.name)
        else:
            hollow.clear()
            yield _found(entry)


def _found(entry: os.DirEntry[str]) -> _Found:
    """Return a file with its state, without one where it is there and cannot be read as a file."""
    try:
        status = entry.stat()
    except OSError:  # a broken link, or it was taken away after it was listed
        return _Found(entry.path, 0, 0, b"")
    if not stat.S_ISREG(status.st_mode):
        return _Found(entry.path, 0, 0, b"")
    return _Found(entry.path, status.st_size, status.st_mtime_ns, file_state(status))


def _inode(folder: str | Path) -> tuple[int, int]:
    with access_errors(folder, "open"):
        status = os.stat(folder)
    return status.st_dev, status.st_ino


def _entries(folder: str | Path, skipped: LeftOut) -> Iterator[os.DirEntry[str]]:
    """Yield visible folders, regular files (links followed) and whatever has an image's name; count the others."""
    with access_errors(folder, "list"), os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: natural_key(entry.name))
    for entry in entries:
        if entry.name.startswith((".", "__MACOSX")):
            skipped["hidden"] += 1
        elif _is_folder(entry) or _is_file(entry) or is_image_name(entry.name):
            yield entry
        else:
            skipped["no regular file (FIFO, device or broken link)"] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _why_absent(root: Path, name: str) -> str:
    """Return why an image without a record may be there nevertheless: what is in its place, or in that of a folder."""
    place = os.path.join(root, name)
    return no_folder(place) or (f"{place} is a folder now" if os.path.isdir(place) else "")


def _refuse_unusable(root: Path, classes: list[str], skipped: LeftOut, least: int) -> None:
    reasons = skipped.reasons()
    found = f"; left out: {in_words(reasons)}" if reasons else ""
    if not classes:
        if said := refusal(root, PHOTOS):
            raise DataError(said)
        raise DataError(f"{root} holds no images in class folders; {LAYOUTS}{found}")
    if len(classes) < least:
        raise DataError(
            f"{root} holds one class ({classes[0]}); a classifier needs at least two; {LAYOUTS}{found}"
        )
