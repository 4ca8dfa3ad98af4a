"""What is opened by its name, and what is said of names under which there is no file."""

import os

import pytest

from featcache.core.disk.names import NotRegularError, no_folder, open_regular_file
from featcache.errors import StorageError


def test_what_lasts_is_told_from_what_may_pass(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("nowhere")
    for path, kind in ((tmp_path / "fifo", "a FIFO"), ("/dev/zero", "a device")):
        with pytest.raises(NotRegularError, match=f"is no regular file but {kind}; move it away"):
            open_regular_file(path)
    with pytest.raises(StorageError, match="is no regular file but a folder") as of_folder:
        open_regular_file(tmp_path)
    assert not isinstance(of_folder.value, NotRegularError)
    with pytest.raises(FileNotFoundError) as of_link:
        open_regular_file(tmp_path / "link")
    assert of_link.value.strerror == "a link to nowhere, which is missing"
    with pytest.raises(FileNotFoundError) as of_nothing:
        open_regular_file(tmp_path / "nothing")
    assert of_nothing.value.strerror == "No such file or directory"


def test_what_hides_what_is_below_it(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").touch()
    assert (
        no_folder(tmp_path / "link/a/b")
        == f"{tmp_path}/link is a link to nowhere, which is missing, no folder"
    )
    assert no_folder(tmp_path / "file/a") == f"{tmp_path}/file is a file, no folder"
    assert no_folder(tmp_path / "gone/a") == no_folder(tmp_path / "a") == ""
