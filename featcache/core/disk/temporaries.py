"""What is being written, and what dead processes left of it.

What is being written lies beside its place under a name of one scheme, ``.NAME.new-PID-RANDOM``: hidden, with the
process that writes it, and its host as the first eight of the random digits; never the name of another writer's file,
be it of a thread or of another machine. Where an earlier folder has to be moved aside, ``old`` stands for ``new``.

Whether its writer still lives is asked of the kernel, not of a process number, which in a container is every
process's: a writer keeps a lock on what it writes (`featcache.core.disk.kernel_locks`). A leftover is what nobody has
locked and what a process of this host made. Another host's locks may be invisible here, and some file systems have
none: then it is left alone.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from featcache.core.disk.kernel_locks import is_named, try_lock
from featcache.core.disk.syncing import sync_folder

_ATTEMPTS = 100
"""How often a new name is tried where a cleaner took the file for a leftover before it was locked."""

_NAME = re.compile(r"\.(?P<name>.+)\.(?P<what>new|old)-[0-9]+-(?P<host>[0-9a-f]{8})?[0-9a-f]{8}", re.DOTALL)


def temporary_path(path: Path, what: str = "new") -> Path:
    """Return an unused name beside a file or folder: of its successor, or of its predecessor (``"old"``)."""
    return path.with_name(f".{path.name}.{what}-{os.getpid()}-{_host()}{secrets.token_hex(4)}")


def find_temporaries(path: Path, what: str = "new") -> list[Path]:
    """Return what lies beside a file or folder under names of `temporary_path`: in use, or left by killed processes."""
    return sorted(
        found for found, match in _temporaries(path.parent) if match.group(1, 2) == (path.name, what)
    )


def _temporaries(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    with suppress(OSError):
        for name in os.listdir(folder):
            if name[:1] == "." and (match := _NAME.fullmatch(name)):
                yield folder / name, match


def _host() -> str:
    return hashlib.sha256(os.fsencode(socket.gethostname())).hexdigest()[:8]


# ---- being written


@contextmanager
def held_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file under a temporary name beside `path`, open for writing; nobody takes it for a leftover.

    Its name is ``stream.name``; whether it is renamed or removed is up to the caller.

    Raises
    ------
    OSError
        If it cannot be created.
    """
    for _ in range(_ATTEMPTS):
        fresh = temporary_path(path)
        with fresh.open("xb") as stream:
            if _hold(fresh, stream.fileno()):
                yield stream
                return
    raise FileNotFoundError(errno.ENOENT, "removed again and again while it was written", str(path))


@contextmanager
def held_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder under a temporary name beside `path`; nobody takes it for a leftover.

    Whether it is renamed or removed is up to the caller.

    Raises
    ------
    OSError
        If it cannot be created.
    """
    for _ in range(_ATTEMPTS):
        fresh = temporary_path(path)
        fresh.mkdir()
        descriptor = _opened(fresh)
        try:
            if os.path.lexists(fresh) if descriptor is None else _hold(fresh, descriptor):
                yield fresh
                return
        finally:
            if descriptor is not None:
                os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "removed again and again while it was written", str(path))


def _hold(path: Path, descriptor: int) -> bool:
    """Lock what was just created; false if a cleaner was faster, who has removed it, or is about to."""
    held = try_lock(descriptor)
    return held is None or (held and is_named(path, descriptor))


def _opened(path: Path) -> int | None:
    """Open a file or folder to lock it; ``None`` if it is gone, or something else, or not ours to open."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        kind = os.lstat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            return None
        # Over NFS only what is open for writing can be locked.
        return os.open(path, flags | (os.O_RDONLY if stat.S_ISDIR(kind) else os.O_RDWR))
    except OSError:
        return None


# ---- left behind


@dataclass(frozen=True)
class Leftover:
    """A file or folder that an interrupted command left.

    Parameters
    ----------
    path, nbytes
        What was left, and its size.
    reason
        Description of it.
    removable
        Whether nothing is lost by deleting it. With an unfinished extraction, the rows computed so far are lost.
    """

    path: Path
    nbytes: int
    reason: str
    removable: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


def find_leftovers(folder: Path) -> list[Leftover]:
    """List what dead processes left in a folder under temporary names; nothing is removed, folders are not searched."""
    found = ((path, match, _state(path, match)) for path, match in sorted(_temporaries(folder)))
    return [
        Leftover(path, _size(path), f"{state} {match['name']}", state.startswith("unfinished"))
        for path, match, state in found
        if state
    ]


def _state(path: Path, match: re.Match[str]) -> str:
    """Describe a temporary file or folder; nothing where it is in use, or that cannot be known."""
    if match["host"] not in (None, _host()):
        return "begun on another host, which may be writing it:"
    if not _is_left(path):
        return ""
    if match["what"] == "new":
        return "unfinished"
    if path.with_name(match["name"]).exists():
        return "unfinished removal of the earlier"
    return "the only copy, until it is next read or saved, of"


def remove_leftovers(path: Path, what: str = "new") -> None:
    """Remove what dead processes of this host left of a file or folder; whatever is in use stays.

    Parameters
    ----------
    path
        Beside which they lie.
    what
        See `temporary_path`. An ``"old"`` folder may be the only copy of what is missing under its name.
    """
    for each in find_temporaries(path, what):
        remove_leftover(each)


def remove_leftover(path: Path) -> bool:
    """Remove one temporary file or folder, unless it is in use or of another host; returns whether it is gone."""
    match = _NAME.fullmatch(path.name)
    if match is None or match["host"] not in (None, _host()) or (descriptor := _opened(path)) is None:
        return not os.path.lexists(path)
    try:
        # Under the lock, so that who has just created it notices, and takes another name.
        if try_lock(descriptor) and is_named(path, descriptor):
            # It may have swapped names with a newer one: only once that is on the disk is it of no use.
            with suppress(OSError):  # on a full disk leftovers have to go all the same
                sync_folder(path.parent)
            _remove(path)
    finally:
        os.close(descriptor)
    return not os.path.lexists(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _is_left(path: Path) -> bool:
    descriptor = _opened(path)
    if descriptor is None:
        return False
    try:
        return bool(try_lock(descriptor)) and is_named(path, descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    places = (Path(place, name) for place, _, names in os.walk(path) for name in names)
    total = 0
    for each in places if path.is_dir() else (path,):
        with suppress(OSError):
            total += each.lstat().st_size
    return total
