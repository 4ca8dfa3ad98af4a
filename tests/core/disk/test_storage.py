"""What a disk refuses is told with the path, the reason, its number, and what helps."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from featcache.core.disk import storage
from featcache.core.disk.storage import ELSEWHERE, amount, require_space, storage_error, storage_errors
from featcache.errors import StorageError


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (99, "99 bytes"),
        (812, "0.8 kB"),
        (3400, "3.4 kB"),
        (600_000, "0.6 MB"),
        (2**40, "1099.5 GB"),
    ],
)
def test_amounts(count, words):
    assert amount(count) == words


def test_a_full_disk_is_told_with_what_is_needed_and_there(monkeypatch):
    monkeypatch.setattr(storage, "free_bytes", lambda folder: 1500)
    told = str(storage_error(error(errno.ENOSPC), Path("/tmp/a"), elsewhere=ELSEWHERE, needs=2_000_000))
    assert told == (
        "cannot write /tmp/a: No space left on device [errno 28, ENOSPC]; free some space (needs 2.0 MB, has 1.5 kB), "
        "or write elsewhere with --output"
    )
    with pytest.raises(StorageError, match=r"needs 1\.6 kB, has 1\.5 kB") as caught:
        require_space(Path("/tmp/a"), 1600)
    assert caught.value.errno == errno.ENOSPC
    require_space(Path("/tmp/a"), 1500)


def test_a_disk_without_inodes_is_not_said_to_have_room(monkeypatch):
    state = SimpleNamespace(f_files=100, f_favail=0, f_bavail=10**6, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda folder: state)
    told = str(storage_error(error(errno.ENOSPC), Path("/tmp/a")))
    assert told.endswith("; free some space (its inodes are used up, as where there are very many files)")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "the file system is read-only: mount it for writing, or name another"),
        (errno.EDQUOT, "your quota is used up: free some space, or name another"),
        (errno.EFBIG, "a limit on the size of files is in the way: raise it (ulimit -f), or name another"),
        (errno.ENAMETOOLONG, "choose a shorter name, or name another"),
        (errno.EMFILE, "too many files are open: close some, or raise the limit (ulimit -n)"),
        (errno.ENOMEM, "memory has run out: close other programs"),
        (errno.EXDEV, "look at the disk, or name another"),
    ],
)
def test_advice_fits_the_error(number, advice):
    """Another place is named only against what another place helps."""
    assert str(storage_error(error(number), Path("a"), elsewhere="name another")).endswith(f"]; {advice}")


def test_errors_of_featcache_pass_and_nothing_is_told_twice():
    own = StorageError("told")
    assert storage_error(own, Path("a")) is own
    with pytest.raises(StorageError, match=r"^told$"), storage_errors(Path("a")):
        raise own
    with pytest.raises(StorageError, match=r"^cannot write a: gone; look at the disk; rows are safe$"):
        raise storage_error(OSError("gone"), Path("a"), kept="rows are safe")
