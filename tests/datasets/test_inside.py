"""A path that data names stays in its folder, and what is no regular file is never opened."""

import os
import socket
from pathlib import Path

import pytest

from featcache.datasets.file_bytes import read_extent, read_regular_file
from featcache.datasets.inside import is_inside
from featcache.errors import ImageError


def test_links_and_dots_are_followed_to_where_they_lead(tmp_path):
    folder = tmp_path / "data"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "database").mkdir()  # its name begins as the folder's does
    for name, target in {"out": tmp_path, "in": folder / "below", "round": folder / "round"}.items():
        os.symlink(target, folder / name)
    os.symlink(folder, tmp_path / "linked")
    inside = ["a.png", "below/a.png", "below/../a.png", "in/a.png", "in/../a.png", "not there/a.png"]
    outside = [
        "../a.png",
        "/etc/passwd",
        "out/a.png",
        "below/../../a.png",
        "../database/a.png",
        "",
        ".",
        "a\0.png",
    ]
    for root in (folder, tmp_path / "linked", Path(os.path.relpath(folder))):
        assert [name for name in inside if not is_inside(os.path.join(root, name), root)] == []
        assert [name for name in outside if is_inside(os.path.join(root, name), root)] == []
    assert is_inside("/etc/passwd", "/")


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder", "link to a fifo"])
@pytest.mark.parametrize("read", [read_regular_file, lambda path: read_extent(path, 0, 1)])
def test_what_is_no_regular_file_is_not_opened(tmp_path, monkeypatch, kind, read):
    path = tmp_path / "x.png"
    if kind == "socket":
        monkeypatch.chdir(tmp_path)  # its path may be no longer than 107 bytes
        socket.socket(socket.AF_UNIX).bind("x.png")
    elif kind == "device":
        path = Path("/dev/null")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(tmp_path / "fifo")
        os.symlink(tmp_path / "fifo", path)
        path = path if kind.startswith("link") else tmp_path / "fifo"
    opened: list[object] = []
    monkeypatch.setattr(os, "open", lambda *given: opened.append(given))
    with pytest.raises((OSError, ImageError), match="is no regular file"):
        read(str(path))
    assert opened == []


def test_a_fifo_that_takes_a_files_place_is_found_when_it_is_open(tmp_path, monkeypatch):
    path, own = tmp_path / "x.png", os.open
    path.write_bytes(b"x")

    def replaced_before(name, flags):
        path.unlink()
        os.mkfifo(path)
        return own(name, flags)

    monkeypatch.setattr(os, "open", replaced_before)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
    with pytest.raises(ImageError, match=r"x\.png is no regular file"):
        read_regular_file(str(path))
    assert before is None or len(os.listdir("/proc/self/fd")) == before
