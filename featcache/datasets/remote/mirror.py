"""Folders that lie elsewhere, read by what reads folders: their listing laid out as empty files on this disk.

Splits, classes, layouts, options, and every message about them are then those of a folder of this disk, and no second
reader of folders can differ from the first. The files are empty but for what the reader looks into: tables beside the
images, and the first bytes of files whose names tell no format. They are gone once the folder is read.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from featcache.core.disk.files import make_folder
from featcache.core.disk.storage import OTHER_HOME, storage_errors
from featcache.core.disk.store_urls import last_part, redacted
from featcache.core.disk.temporaries import held_folder, remove_leftovers
from featcache.core.parallel import ordered_map
from featcache.core.warning import warn
from featcache.datasets.dataset import Dataset, Record
from featcache.datasets.formats.table_rows import READERS
from featcache.datasets.remote.fetching import Fetcher
from featcache.datasets.remote.kept import Kept, fetched_folder
from featcache.datasets.remote.listing import Listed, list_below
from featcache.datasets.remote.pieces import THREADS, Piece, Pieces, RemoteRead
from featcache.datasets.spec_options import FOLDER_OPTIONS, read_options
from featcache.errors import FeatcacheError, FeatcacheWarning, ImageError
from featcache.images.names import unread_format
from featcache.images.signatures import BEGINNING

_LARGEST_TABLE = 2**24
_TABLE_LEVELS = 2
_MOST_NAMES = 30_000
"""Of one file; ext4 allows 65,000."""
_SMALL = 2**16
"""A file up to this size is fetched whole where its first bytes are wanted: not every server sends parts."""
_NO_NAME = "object whose name no file can have"


def open_remote_folder(text: str, open_folder: Callable[[str], Dataset]) -> Dataset:
    """Open a folder of a store or a web server.

    Parameters
    ----------
    text
        Its URL, options behind it as behind a folder's path.
    open_folder
        Opens a folder of this disk, with its options.

    Raises
    ------
    FeatcacheError
        Whatever `open_folder` raises, with the URL in the place of the path.
    MissingFileError, DataError
        If nothing lies there, or it cannot be listed.
    """
    url, options = read_options("folder", text, FOLDER_OPTIONS)
    behind = text.removeprefix(url)
    fetcher, shown = Fetcher(), redacted(url).rstrip("/")
    listed = list_below(url, fetcher)
    with temporary_mirror(last_part(url)) as root, spoken_of(root, shown):
        unnamed = _lay_out(root, listed)
        _fill(root, listed, fetcher)
        opened = open_folder(f"{root}{behind}")
    skipped = dict(opened.skipped)
    if unnamed:
        skipped[_NO_NAME] = unnamed
    return replace(
        opened,
        spec=f"folder:{shown}{behind}" if options else shown,
        records=_fetched(opened.records, {each.name: each for each in listed}, fetcher),
        skipped=skipped,
        location=f"folder:{shown}",
        why_absent=None,
    )


def _fetched(records: Sequence[Record], listed: Mapping[str, Listed], fetcher: Fetcher) -> list[Record]:
    """Return records that fetch their images, with what the listing tells of them."""
    found = [listed[record.id] for record in records]
    pieces = Pieces([Piece(each.url, each.told) for each in found], fetcher, Kept())
    return [
        replace(
            record,
            read=RemoteRead(pieces, number),
            size=max(0, each.told.size),
            mtime_ns=each.told.mtime_ns,
            state=each.told.state,
        )
        for number, (record, each) in enumerate(zip(records, found, strict=True))
    ]


# The files ----------------------------------------------------------------------------------------------------


@contextmanager
def temporary_mirror(name: str) -> Iterator[Path]:
    """Yield a new folder of this name for a listing; it is removed afterwards, and what dead processes left before."""
    place = fetched_folder() / "listing"
    with storage_errors(place, elsewhere=OTHER_HOME):
        make_folder(place.parent, elsewhere=OTHER_HOME)
        remove_leftovers(place)
    with held_folder(place) as held:
        try:
            root = held / (name if is_name(name) else "dataset")
            root.mkdir()
            yield root
        finally:
            shutil.rmtree(held, ignore_errors=True)


def is_name(part: str) -> bool:
    """Return whether a file can be called so, and stays in its folder."""
    if part in ("", ".", "..") or "\0" in part or "/" in part or os.sep in part:
        return False
    try:
        return len(os.fsencode(part)) <= 255
    except UnicodeEncodeError:
        return False


def _lay_out(root: Path, listed: Sequence[Listed]) -> int:
    """Make an empty file of each object; return how many have names that no file can have."""
    made, empty = {""}, _EmptyFiles(root.parent)
    unnamed = 0
    for each in listed:
        above, _, name = each.name.rpartition("/")
        try:
            if not all(map(is_name, each.name.split("/"))):
                raise FileExistsError(each.name)
            if above not in made:
                os.makedirs(root / above, exist_ok=True)
                made.add(above)
            empty.place(os.path.join(root, above, name))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            unnamed += (
                1  # an object and a "folder" of one name, or (on some disks) names that differ in case alone
            )
        except OSError as error:
            with storage_errors(root, elsewhere=OTHER_HOME):
                raise error
    return unnamed


class _EmptyFiles:
    """Empty files, all of them names of few: a new name takes 50 µs, and a new file 1 ms, on a disk with a journal.

    Parameters
    ----------
    folder
        Where the first of each few is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = 0

    def place(self, path: str) -> None:
        """Make an empty file; raises ``FileExistsError`` where there is something."""
        first = self._folder / f"empty-{self._names // _MOST_NAMES}"
        try:
            if self._names % _MOST_NAMES == 0:
                first.touch()
            os.link(first, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise
        except OSError:  # there are no links, or not as many
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self._names += 1


def _fill(root: Path, listed: Sequence[Listed], fetcher: Fetcher) -> None:
    """Fetch what the reader of a folder looks into."""
    wanted = [each for each in listed if _wanted(each) and os.path.isfile(root / each.name)]
    contents = ordered_map(partial(_content, fetcher), wanted, workers=THREADS, ahead=64)
    for each, data in zip(wanted, contents, strict=True):
        (root / each.name).unlink()  # it is the same file as many others
        (root / each.name).write_bytes(data)


def _wanted(each: Listed) -> bool:
    ending = os.path.splitext(each.name)[1].casefold()
    if ending in READERS:
        return each.name.count("/") < _TABLE_LEVELS and 0 <= each.told.size <= _LARGEST_TABLE
    return (not ending or unread_format(each.name) is not None) and each.told.size > 0


def _content(fetcher: Fetcher, each: Listed) -> bytes:
    whole = each.told.size <= _SMALL or os.path.splitext(each.name)[1].casefold() in READERS
    try:
        return fetcher.fetch(each.url, each.told, None if whole else (0, BEGINNING))
    except (OSError, ImageError):  # as an unreadable file: it is left out by its name
        return b""


# What is said -------------------------------------------------------------------------------------------------


class spoken_of:  # noqa: N801 - used as a function, like those of contextlib
    """Let errors and warnings within a ``with`` block name a URL where they name a folder of this disk.

    A class, as `warn` looks for the first line that is not of featcache.

    Parameters
    ----------
    root
        The folder.
    shown
        The URL, without what is secret.
    """

    def __init__(self, root: Path, shown: str) -> None:
        self._places = [str(root.resolve()), str(root)]
        self._shown = shown
        self._catching = warnings.catch_warnings(record=True)
        self._heard: list[warnings.WarningMessage] = []

    def __enter__(self) -> None:
        self._heard = heard if (heard := self._catching.__enter__()) is not None else []
        warnings.simplefilter("always")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._catching.__exit__(None, None, None)
        if isinstance(error, FeatcacheError):
            error.args = (self._told(str(error)), *error.args[1:])
            return
        for each in self._heard:
            if issubclass(each.category, FeatcacheWarning):
                warn(self._told(str(each.message)))

    def _told(self, text: str) -> str:
        for place in self._places:
            text = text.replace(place, self._shown)
        return redacted(text)
