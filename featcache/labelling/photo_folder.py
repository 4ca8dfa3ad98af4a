"""Photos put into a folder, to be looked at or sorted by hand: hard links where the disk can, copies elsewhere."""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from featcache.classifier.sorted_photos import folder_name
from featcache.core.disk.files import make_folder, replace_file
from featcache.core.disk.names import FOLDER, no_folder, require_free
from featcache.core.disk.storage import storage_error, storage_errors
from featcache.errors import ImageError, UsageError

ANOTHER = "name another folder"


@dataclass
class PutPhotos:
    """What was put into a folder.

    Parameters
    ----------
    linked, copied
        Numbers of photos.
    unread
        Names of photos that cannot be read any more, and why.
    """

    linked: int = 0
    copied: int = 0
    unread: dict[str, str] = field(default_factory=dict)


def require_empty(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds anything, among which new photos would be lost.

    Raises
    ------
    UsageError
        If it does, or something else is there.
    """
    place = Path(folder)
    require_free(place, FOLDER, elsewhere=ANOTHER)
    if no_folder(place):
        raise storage_error(OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)), place, elsewhere=ANOTHER)
    if not place.exists():
        return
    with storage_errors(place, "look into", elsewhere=ANOTHER):
        held = sorted(os.listdir(place))
    if held:
        raise UsageError(
            f"{place} is there and holds {held[0]}{'' if len(held) == 1 else f' and {len(held) - 1} more'}; {ANOTHER}, "
            "so that suggested photos are not mixed with others"
        )


def put_photos(
    folder: str | os.PathLike[str],
    names: Sequence[str],
    *,
    read: Callable[[str], bytes],
    file_of: Callable[[str], str | None],
) -> PutPhotos:
    """Put photos into a folder, with their place in the list before their name: ``01-rose.jpg``.

    Parameters
    ----------
    folder
        Made where it is missing; see `require_empty`.
    names
        Names of the photos in the dataset, in their order.
    read
        Returns the bytes of a photo; raises `ImageError` or ``OSError`` where it is gone or another one.
    file_of
        Returns the file that holds nothing but a photo; ``None`` without one.

    Raises
    ------
    UsageError
        If something is there.
    StorageError
        If a photo cannot be written.
    """
    place, put = Path(folder), PutPhotos()
    require_empty(place)
    with storage_errors(place, elsewhere=ANOTHER):
        make_folder(place, elsewhere=ANOTHER)
    digits = len(str(len(names)))
    for number, name in enumerate(names, start=1):
        try:
            data = read(name)  # which also says whether it is still the same picture
        except (ImageError, OSError) as error:
            put.unread[name] = str(error)
            continue
        target = place / f"{number:0{digits}}-{_file_name(name)}"
        with storage_errors(target, elsewhere=ANOTHER, needs=len(data)):
            _put(data, file_of(name), target, put)
    return put


def _put(data: bytes, file: str | None, target: Path, put: PutPhotos) -> None:
    if file is not None:
        try:
            os.link(os.path.realpath(file), target)
        except OSError:  # on another disk, one without hard links, or the photo is somebody else's
            pass
        else:
            put.linked += 1
            return
    replace_file(target, data)
    put.copied += 1


def _file_name(name: str) -> str:
    """Return the last part of a photo's name as that of a file on any system, with its ending."""
    stem, ending = os.path.splitext(name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1])
    return folder_name(stem) + folder_name(f"x{ending}")[1:]
