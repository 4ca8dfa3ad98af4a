"""A folder whose disk refuses what a program asks of it, with any error number: injected into Python's own calls.

Root is refused nothing by modes, and a real read-only disk needs a mount; these work for everybody. What libraries
write in C++ (tensorstore) is not reached.
"""

import builtins
import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

FULL = (errno.ENOSPC, errno.EDQUOT)
_NEW_NAMES = ("mkdir", "link", "symlink")
_OTHER_NAMES = ("rename", "replace", "unlink", "remove", "rmdir", "chmod")
_CONTENT = ("pwrite", "write", "fsync", "posix_fallocate", "truncate", "ftruncate")


def refuse_writes(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Let every change below a folder fail.

    A full disk (``ENOSPC``, ``EDQUOT``) lets files be renamed and deleted; missing permissions (``EACCES``) do not
    concern what is written into an open file.
    """
    full = number in FULL
    _refuse_opening(monkeypatch, folder, number, lambda path, writes: writes and not (full and path.exists()))
    names = _NEW_NAMES if full else (*_NEW_NAMES, *_OTHER_NAMES)
    for name in (*names, *(() if number == errno.EACCES else _CONTENT)):
        _refuse(monkeypatch, name, folder, number)


def refuse_reads(monkeypatch: pytest.MonkeyPatch, path: Path, number: int) -> None:
    """Let a file, or every file below a folder, not be opened for reading."""
    _refuse_opening(monkeypatch, path, number, lambda found, writes: not writes and not found.is_dir())


def _refuse(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, number: int) -> None:
    real = getattr(os, name)

    def call(path: Any, *arguments: Any, **others: Any) -> Any:
        where = _path_of(path, others.get("dir_fd"))
        if where.is_relative_to(folder):
            raise OSError(number, os.strerror(number), str(where))
        return real(path, *arguments, **others)

    monkeypatch.setattr(os, name, call)


def _refuse_opening(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int, refused: Any) -> None:
    def check(path: Any, writes: bool) -> None:
        where = _path_of(path)
        if where.is_relative_to(folder) and refused(where, writes):
            raise OSError(number, os.strerror(number), str(where))

    def os_open(path: Any, flags: int, *arguments: Any, real: Any = os.open, **others: Any) -> int:
        if others.get("dir_fd") is None:
            check(path, bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
        return real(path, flags, *arguments, **others)

    def io_open(file: Any, mode: str = "r", *arguments: Any, real: Any = io.open, **others: Any) -> Any:
        if not isinstance(file, int):
            check(file, any(letter in mode for letter in "wax+"))
        return real(file, mode, *arguments, **others)

    monkeypatch.setattr(os, "open", os_open)
    monkeypatch.setattr(io, "open", io_open)
    monkeypatch.setattr(builtins, "open", io_open)


def _path_of(path: Any, folder: int | None = None) -> Path:
    if isinstance(path, int):
        return Path(os.readlink(f"/proc/self/fd/{path}"))
    below = Path(os.readlink(f"/proc/self/fd/{folder}")) if folder is not None else Path.cwd()
    return below / os.fsdecode(path)
