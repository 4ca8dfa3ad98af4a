"""A file that is written bit by bit: read meanwhile, whole under its name, kept where it ends early."""

import os

import pytest

from featcache.core.disk.growing_file import GrowingFile
from featcache.errors import LockedError, StorageError, UsageError


@pytest.fixture
def target(tmp_path):
    """A file of an earlier run."""
    path = tmp_path / "table.csv"
    path.write_bytes(b"before\n")
    return path


def test_it_can_be_read_as_it_grows_and_gets_its_name_at_the_end(target):
    with GrowingFile(target) as file:
        assert file.partial == target.with_name("table.partial.csv")
        for rows in range(1, 4):
            file.write(b"row\n")
            assert file.partial.read_bytes() == b"row\n" * rows
        assert target.read_bytes() == b"before\n"
    assert target.read_bytes() == b"row\n" * 3
    assert [*target.parent.iterdir()] == [target]


@pytest.mark.parametrize("ends", [KeyboardInterrupt, RuntimeError])
def test_what_ends_early_is_kept_beside_what_was_there(target, ends):
    file = GrowingFile(target)

    def interrupted():
        with file:
            file.write(b"row\n")
            raise ends

    with pytest.raises(ends):
        interrupted()
    assert file.left
    assert (target.read_bytes(), file.partial.read_bytes()) == (b"before\n", b"row\n")
    with GrowingFile(target) as again:
        again.write(b"new\n")
    assert target.read_bytes() == b"new\n"
    assert not again.left


def test_of_nothing_nothing_is_kept(target):
    with pytest.raises(KeyboardInterrupt), GrowingFile(target) as file:
        raise KeyboardInterrupt
    assert not file.left


def test_one_process_writes_it(target):
    with GrowingFile(target) as file:
        file.write(b"mine\n")
        with pytest.raises(
            LockedError, match=r"another process is writing .*table\.csv; wait until it is done, or"
        ):
            GrowingFile(target)
    assert target.read_bytes() == b"mine\n"


def test_a_place_that_cannot_be_written_is_told(target):
    with pytest.raises(
        UsageError, match=r"output \S+ is a folder, expected a file or nothing; name another file"
    ):
        GrowingFile(target.parent)
    target.unlink()
    os.mkfifo(target)
    with pytest.raises(
        UsageError, match=r"output .*table\.csv is a FIFO, expected a file or nothing; name another"
    ):
        GrowingFile(target)
    with pytest.raises(StorageError, match=r"cannot write .*no/table\.csv: No such file"):
        GrowingFile(target.parent / "no" / "table.csv")


def test_a_disk_that_refuses_leaves_what_was_there(target):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = GrowingFile(target)

    def fill():
        with file:
            file.write(b"row\n")
            resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
            file.write(b"row\n")

    try:
        with pytest.raises(
            StorageError, match=r"cannot write .*table\.csv: File too large \[errno 27, EFBIG\]"
        ):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (target.read_bytes(), file.partial.read_bytes()) == (b"before\n", b"row\n")
