"""What is renamed survives a power cut, or it is said that it may not; what is not published yet fails."""

import errno
import os
import stat
import warnings

import pytest

from featcache.core.disk.files import make_folder, replace_file
from featcache.core.disk.jsonl import append_records
from featcache.core.disk.syncing import sync_file, sync_folder, sync_name
from featcache.errors import FeatcacheWarning


def refuse_folders(monkeypatch, number):
    """Let fsync of folders fail, as on a disk that fails just after the rename; that of files works."""

    def fsync(descriptor, real=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


ACTIONS = {
    "replaced": lambda path: replace_file(path, b"new"),
    "begun": lambda path: append_records(path, [{"id": 1}]),
    "made": make_folder,
}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_a_name_that_may_not_survive_is_told_with_its_path(tmp_path, monkeypatch, action, number):
    path = tmp_path / "a"
    refuse_folders(monkeypatch, number)
    name = errno.errorcode[number]
    with pytest.warns(
        FeatcacheWarning,
        match=rf"{path} is in place, but a power cut may undo that: .*\[errno {number}, {name}\]\); .*sync$",
    ):
        action(path)
    assert path.exists()
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_folder(tmp_path)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_that_syncs_no_folders_is_nothing_to_tell(tmp_path, monkeypatch, number):
    refuse_folders(monkeypatch, number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, action in ACTIONS.items():
            action(tmp_path / name)
        sync_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(ACTIONS)


def test_a_folder_that_cannot_be_opened_is_told_unless_it_may_not_be(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    number = errno.EMFILE
    monkeypatch.setattr(os, "open", refuse)
    with pytest.warns(FeatcacheWarning, match="errno 24, EMFILE"):
        sync_name(tmp_path / "a")
    number = errno.EACCES  # Windows, for every folder
    sync_name(tmp_path / "a")


def test_a_pipe_cannot_be_synced():
    ends = os.pipe()
    try:
        assert not sync_file(ends[1])
    finally:
        for end in ends:
            os.close(end)
