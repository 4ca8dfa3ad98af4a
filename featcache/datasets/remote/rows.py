"""Rows of tables that name images elsewhere: by their URLs, or relative to a table that lies elsewhere itself."""

import os
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from featcache.core.disk.store_urls import is_url, joined, last_part, parent_of, redacted, scheme_of
from featcache.datasets.dataset import Dataset
from featcache.datasets.remote.access import require_allowed
from featcache.datasets.remote.fetching import Fetcher, Told
from featcache.datasets.remote.kept import Kept
from featcache.datasets.remote.listing import tell_all
from featcache.datasets.remote.mirror import is_name, spoken_of, temporary_mirror
from featcache.datasets.remote.pieces import Piece, Pieces, RemoteRead
from featcache.datasets.spec_options import option_of
from featcache.errors import DataError, ImageError, MissingFileError, UsageError


@dataclass(frozen=True)
class RemoteFile:
    """What is told of a row's image, under the names that the file system has for it.

    Parameters
    ----------
    st_size, st_mtime_ns, st_dev, st_ino
        As of ``os.stat_result``; no two rows are one file.
    state, read
        As of `featcache.datasets.Record`.
    """

    st_size: int
    st_mtime_ns: int
    st_dev: int
    st_ino: int
    state: bytes
    read: Callable[[], bytes]


@dataclass(frozen=True)
class _Elsewhere:
    """A table that was fetched: the folder in which it lies now, and the URL of the one from which it came."""

    root: Path
    url: str

    def url_of(self, path: str) -> str:
        """Return the URL of what a row names relative to the table; ``""`` where it leads elsewhere."""
        # By its letters alone: nothing on this disk is followed.
        below = os.path.relpath(os.path.normpath(path), self.root) if os.path.isabs(path) else path
        return joined(self.url, below)


_TABLE: ContextVar[_Elsewhere | None] = ContextVar("_TABLE", default=None)


def remote_files(paths: Mapping[int, str], named: Set[int]) -> dict[int, RemoteFile]:
    """Return what is told of the images that are elsewhere, by the numbers of their rows.

    Of a table that was fetched itself all are: a stranger's table names no file of this machine.

    Parameters
    ----------
    paths
        Where each row's image should be: a path, or a URL.
    named
        The rows whose URL is fetched.
    """
    table = _TABLE.get()
    numbers = list(paths) if table is not None else sorted(named)
    if not numbers:
        return {}
    fetcher = Fetcher()
    urls = [_url(paths[number], table) for number in numbers]
    told = iter(tell_all([url for url in urls if isinstance(url, str)], fetcher))
    pieces: list[Piece] = []
    files = {}
    reader = Pieces(pieces, fetcher, Kept())
    for number, url in zip(numbers, urls, strict=True):
        if isinstance(url, ImageError):
            files[number] = RemoteFile(0, 0, -1, number, b"", _Refused(url.reason, url.detail))
            continue
        about: Told = next(told)
        read = RemoteRead(reader, len(pieces))
        pieces.append(Piece(url, about))
        files[number] = RemoteFile(max(0, about.size), about.mtime_ns, -1, number, about.state, read)
    return files


@dataclass(frozen=True)
class _Refused:
    """Reads what may not be read."""

    reason: str
    detail: str

    def __call__(self) -> bytes:
        raise ImageError(self.reason, self.detail)


def _url(path: str, table: _Elsewhere | None) -> str | ImageError:
    """Return the URL that a row means, or why it is not read."""
    try:
        if scheme_of(path):
            require_allowed(path)
            return path
    except ImageError as error:
        return error
    if table is None or not (url := table.url_of(path)):
        return ImageError(
            "outside the dataset",
            "a table that was fetched names a file of this machine, or above its folder",
        )
    return url


def row_path(root: str | os.PathLike[str], name: str) -> str:
    """Return where the image of a row should be: its URL if it names one, and else a path below a folder."""
    return name if is_url(name) or (_TABLE.get() and scheme_of(name)) else os.path.join(root, name)


def row_id(name: str) -> str:
    """Return a row's path as it may stand in a cache: URLs without what is secret in them."""
    return redacted(name) if scheme_of(name) else name


# Tables elsewhere -------------------------------------------------------------------------------------------


def open_remote_table(text: str, open_table: Callable[[str], Dataset]) -> Dataset:
    """Open a table that lies elsewhere, whose rows are URLs, or relative to its folder.

    Parameters
    ----------
    text
        Its URL, and options behind it as behind a table's path. A URL that has a query of its own is written with
        another ``?`` at its end.
    open_table
        Opens a table of this disk, with its options.

    Raises
    ------
    MissingFileError, DataError
        If it cannot be fetched.
    FeatcacheError
        Whatever `open_table` raises, with the URL in the place of the path.
    """
    url, mark, query = text.rpartition("?")
    if not mark:
        url, query = text, ""
    if "*" in url:
        raise UsageError(
            f"csv:{redacted(text)}: one table in each folder is read from a disk only; name one table"
        )
    shown, fetcher = redacted(url), Fetcher()
    behind = f"?{query}" if query else ""
    with temporary_mirror("table") as root, spoken_of(root, parent_of(shown)):
        name = last_part(url)
        name = name if is_name(name) else "table.csv"
        (root / name).write_bytes(_bytes_of(url, fetcher))
        _fetch_names(root, url, text, fetcher)
        with _table_at(root, parent_of(url)):
            opened = open_table(f"{root / name}{behind or ('?' if '?' in str(root / name) else '')}")
    return replace(opened, spec=f"csv:{shown}{behind}", location=f"csv:{shown}{behind}")


@contextmanager
def _table_at(root: Path, url: str) -> Iterator[None]:
    token = _TABLE.set(_Elsewhere(root, url))
    try:
        yield
    finally:
        _TABLE.reset(token)


def _bytes_of(url: str, fetcher: Fetcher) -> bytes:
    try:
        return fetcher.fetch(url)
    except FileNotFoundError as error:
        raise MissingFileError(f"no file {redacted(url)}; expected the URL of a table") from error
    except (OSError, ImageError) as error:
        why = error.detail if isinstance(error, ImageError) else error.strerror or error
        raise DataError(f"cannot read {redacted(url)}: {why}") from error


def _fetch_names(root: Path, url: str, text: str, fetcher: Fetcher) -> None:
    """Fetch the list of class names, and make the folders, that the options name relative to the table."""
    spec = text if text.rpartition("?")[1] else ""
    if (names := option_of(spec, "names")) and (place := joined(parent_of(url), names)):
        target = root / os.path.normpath(names)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_bytes_of(place, fetcher))
    for folder in filter(None, option_of(spec, "root").split(",")):
        if joined(parent_of(url), folder):
            (root / os.path.normpath(folder)).mkdir(parents=True, exist_ok=True)
