"""What lies under a name: a file, a folder, or what neither can be read nor waited for, such as a FIFO.

Whoever is given a path asks here before it is opened, so that no command waits for the writer of a FIFO or reads a
device for ever, and says what is there instead of calling it missing.
"""

import difflib
import errno
import os
import stat
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from featcache.core.disk.storage import storage_error
from featcache.errors import DataError, FeatcacheError, MissingFileError, StorageError, UsageError

NOTHING = ""
FILE = "a file"
FOLDER = "a folder"
DANGLING = "a link to nothing"
LOOP = "a link that leads back to itself"

_KINDS = (
    (stat.S_ISREG, FILE),
    (stat.S_ISDIR, FOLDER),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)

_MOST_NAMES, _MOST_BELOW = 10_000, 1000
"""Names that are compared with one that is missing, and folders that are looked into."""

Name = str | os.PathLike[str]
Missing = str | Callable[[], str] | None


def kind_of(path: Name) -> str:
    """Return what lies under a name, links followed: `FILE`, `FOLDER`, `NOTHING` or another thing in words.

    Raises
    ------
    OSError
        If the system does not tell, or takes no such name.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return DANGLING if os.path.islink(path) else NOTHING
    except ValueError as error:
        raise _no_name(path) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            return LOOP
        raise
    return next(
        (kind for is_one, kind in _KINDS if is_one(mode)), "something that is neither file nor folder"
    )


def described(path: Name, kind: str) -> str:
    """Return what lies under a name in words for a message; of a link to nothing, where it leads."""
    if kind != DANGLING:
        return kind
    try:
        return f"a link to {os.readlink(path)}, which is missing"
    except OSError:  # it is gone meanwhile
        return kind


def require_file(
    path: Name, expected: str, *, missing: "Missing" = None, error: type[FeatcacheError] = DataError
) -> None:
    """Raise unless a file lies under a name.

    Parameters
    ----------
    path
        The name.
    expected
        What should be there, such as ``"a cache, as featcache extract writes it"``.
    missing
        The message where nothing is there, or a function that returns it; by default one of `expected`.
    error
        The class of the error where something else is there.

    Raises
    ------
    MissingFileError
        If nothing is there, or a link to nothing.
    DataError
        Or `error`, if it is something else.
    StorageError
        If the system does not tell.
    """
    _require(path, (FILE,), expected, missing, error)


def require_folder(
    path: Name, expected: str, *, missing: "Missing" = None, error: type[FeatcacheError] = DataError
) -> None:
    """Raise unless a folder lies under a name; as `require_file`."""
    _require(path, (FOLDER,), expected, missing, error)


def require_there(path: Name, expected: str, *, missing: "Missing" = None) -> None:
    """Raise unless a file or a folder lies under a name; as `require_file`."""
    _require(path, (FILE, FOLDER), expected, missing, DataError)


def _require(
    path: Name, kinds: tuple[str, ...], expected: str, missing: "Missing", error: type[FeatcacheError]
) -> None:
    try:
        found = kind_of(path)
    except OSError as refused:
        raise storage_error(refused, Path(path), "read") from refused
    if found in kinds:
        return
    if found == NOTHING:
        missing = missing() if callable(missing) else missing
        said = missing or f"no {kinds[0].removeprefix('a ')} {path}; expected {expected}"
        blocked = no_folder(path)
        raise MissingFileError(said + (f" ({blocked})" if blocked else ""))
    raised = MissingFileError if found == DANGLING else error
    raise raised(f"{path} is {described(path, found)}; expected {expected}; name one")


def no_folder(path: Name) -> str:
    """Return which part of a path is no folder, where that is why nothing can be under it; else an empty text."""
    for parent in reversed(Path(path).parents):
        if os.path.lexists(parent) and not os.path.isdir(parent):
            try:
                return f"{parent} is {described(parent, kind_of(parent))}, no folder"
            except OSError as error:
                return f"{parent} is a link that cannot be followed: {error.strerror}"
    return ""


def near_names(path: Name, fits: Callable[[Path], bool] = lambda place: True) -> str:
    """Return ``"did you mean photos?"`` for a path under which nothing is, by the names beside it; else an empty text.

    Parameters
    ----------
    path
        The path that was given.
    fits
        Says of one that is there whether it can be meant.
    """
    place = Path(path)
    try:
        with os.scandir(place.parent) as found:
            names = [entry.name for entry in islice(found, _MOST_NAMES)]
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(place.name, names, n=5, cutoff=0.7)
    meant = [
        os.path.join(os.path.dirname(os.fspath(path)), name) for name in near if fits(place.parent / name)
    ]
    return f"did you mean {' or '.join(meant[:2])}?" if meant else ""


def near_folders(path: Name, fits: Callable[[Path], bool]) -> list[Path]:
    """Return the folders that fit, of those directly below a path and the one above it: it is one level off."""
    place = Path(path)
    try:
        below = (
            [place / name for name in sorted(os.listdir(place))[:_MOST_BELOW]] if os.path.isdir(place) else []
        )
    except OSError:
        below = []
    return [folder for folder in (*below, place.parent) if os.path.isdir(folder) and fits(folder)]


def meant_folders(source: str, path: Name, fits: Callable[[Path], bool]) -> str:
    """Return ``"did you mean hf:flowers?"`` for a source whose path is one folder off, or an empty text."""
    near = [f"{source}:{folder}" for folder in near_folders(path, fits)]
    return f"did you mean {' or '.join(near[:3])}?" if near else ""


def require_free(path: Name, kind: str, *, elsewhere: str, error: type[FeatcacheError] = UsageError) -> None:
    """Raise unless a file or folder can be written under a name: nothing is there, or one of the same kind.

    A link to nothing is one to the place where it is to be.

    Parameters
    ----------
    path
        The name.
    kind
        `FILE` or `FOLDER`.
    elsewhere
        What to do otherwise, such as ``"write elsewhere with --output"``.

    error
        The class of the error where something else is there.

    Raises
    ------
    UsageError
        Or `error`, if something else is there.
    StorageError
        If the system does not tell.
    """
    try:
        found = kind_of(path)
    except OSError as refused:
        raise storage_error(refused, Path(path), "write", elsewhere=elsewhere) from refused
    if found not in (NOTHING, kind, DANGLING):
        raise error(f"output {path} is {found}, expected {kind} or nothing; {elsewhere}")


def require_its_folder(path: Path, *, elsewhere: str) -> None:
    """Say before anything is computed for a file that its folder is not there; raises `StorageError`."""
    try:
        kind = kind_of(path.parent)
    except OSError:  # what cannot be looked at may be written all the same
        return
    if kind != FOLDER:
        number = errno.ENOTDIR if kind == FILE or no_folder(path.parent) else errno.ENOENT
        raise storage_error(OSError(number, os.strerror(number)), path, elsewhere=elsewhere)


# ---- opening


class NotRegularError(StorageError):
    """Under a name is a FIFO, a socket or a device: what was put there on purpose, and is not read."""


def open_regular_file(path: Name) -> tuple[int, os.stat_result]:
    """Return a descriptor of a regular file, and what the file system says of it; raises ``OSError`` for all others.

    Others are not opened: that alone rewinds a tape, starts a watchdog, or wakes who waits at a FIFO. One that takes
    the file's place meanwhile is found once it is open, and cannot block the run.

    Raises
    ------
    NotRegularError
        If it is a FIFO, a socket or a device.
    StorageError
        If it is a folder.
    OSError
        If it cannot be opened; of a link to nothing, saying where it leads.
    """
    try:
        _require_regular(path, os.stat(path).st_mode)
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise FileNotFoundError(errno.ENOENT, described(path, DANGLING), os.fspath(path)) from error
        raise
    except ValueError as error:
        raise _no_name(path) from error
    status = os.fstat(descriptor)
    try:
        _require_regular(path, status.st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def _require_regular(path: Name, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((kind for is_one, kind in _KINDS if is_one(mode)), "something else")
        refused = StorageError if kind == FOLDER else NotRegularError
        raise refused(f"{path} is no regular file but {kind}; move it away, or name another")


def read_file(path: Name, most: int = -1) -> bytes:
    """Return the bytes of a regular file, or its first ones; raises as `open_regular_file`."""
    with os.fdopen(open_regular_file(path)[0], "rb") as stream:
        return stream.read(most)


def expanded(path: Name) -> Path:
    """Return a path with its ``~`` expanded; the home of nobody stays as it is written, and nothing has that name."""
    return Path(os.path.expanduser(path))


def resolved(path: Name) -> Path:
    """Return a path with its links followed, as far as they lead somewhere: a loop stays as it is."""
    return Path(os.path.realpath(path))


def _no_name(path: Name) -> MissingFileError:
    shown = os.fspath(path).replace("\0", "\\0")
    return MissingFileError(
        f"{shown}: no file has such a name, with a NUL character in it; give another name"
    )
