"""What is in a photo's place and cannot be read as one keeps its row: for now where that may pass, else for good.

With a network whose features are the pixels themselves, so that the content of every row is known without it.
"""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from helpers.fake_network import FakeNetwork, expected
from helpers.photo_folders import photo_folder

import featcache
from featcache import FeatureCache
from featcache.cli.commands.extract import lines
from featcache.errors import IdentityError

LOST = "train/cat/1.png"
ROWS = 8
REFUSED = "not a regular file"


pytestmark = pytest.mark.usefixtures("own_home")


def extract(spec, target, **options) -> featcache.Extraction:
    return featcache.extract(spec, backbone=FakeNetwork(), output=target, workers=1, **options)


def hollow_folder(path: Path) -> None:
    (path / "below").mkdir(parents=True)
    (path / "notes.txt").write_text("no image")


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # its path may be no longer than 107 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


PASSING: dict[str, tuple[Callable[[Path], None], str]] = {
    "broken link": (lambda path: path.symlink_to("nowhere.png"), "a link to nowhere.png, which is missing"),
    "link to itself": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "link through a file": (lambda path: path.symlink_to("0.png/x.png"), "Not a directory"),
    "empty folder": (Path.mkdir, "is no regular file but a folder"),
    "folder without images": (hollow_folder, "is no regular file but a folder"),
    "link to a folder": (lambda path: path.symlink_to("/var/empty/.."), "is no regular file but a folder"),
    "link to its own folder": (lambda path: path.symlink_to("."), "is no regular file but a folder"),
}
LASTING: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "socket": a_socket,
}
IN_ITS_PLACE = {**{kind: put for kind, (put, _) in PASSING.items()}, **LASTING}


def csv_of(photos: Path) -> str:
    names = [f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(4)]
    table = photos.with_name("photos.csv")
    table.write_text("path,label\n" + "".join(f"{name},{name.split('/')[1]}\n" for name in names))
    return f"csv:{table}?root={photos}"


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in sorted(path.rglob("*"), reverse=True):
            inner.rmdir() if inner.is_dir() else inner.unlink()
        path.rmdir()
    else:
        path.unlink()


def said_of(done: featcache.Extraction, name: str = LOST) -> str:
    (line,) = (line.strip() for line in lines(done) if line.strip().startswith(f"{name}: "))
    return line


@pytest.mark.parametrize(
    ("kind", "source"),
    [*((kind, "folder") for kind in IN_ITS_PLACE), *((kind, "csv") for kind in ("broken link", "FIFO"))],
)
def test_what_takes_a_photos_place_keeps_its_row_and_gives_it_back(photos, target, kind, source):
    if kind == "link to a folder":
        (photos / "elsewhere").mkdir()
    spec = csv_of(photos) if source == "csv" else photos
    extract(spec, target)
    path, away = photos / LOST, photos.with_name("away.png")
    path.rename(away)
    IN_ITS_PLACE[kind](path) if kind != "link to a folder" else path.symlink_to(photos / "elsewhere")
    done = extract(spec, target)
    reason, why = ("unreadable file", PASSING[kind][1]) if kind in PASSING else (REFUSED, "is no regular fil")
    assert (done.images, done.dropped, done.reused) == (ROWS, 0, ROWS - 1)
    assert done.quarantined == {LOST: reason}
    assert {*done.temporary} == ({LOST} if kind in PASSING else set())
    assert re.fullmatch(rf"{LOST}: {reason}: .*{why}.*", said_of(done))
    before = target.stat().st_ino
    again = extract(spec, target)
    assert (again.retried, again.computed, again.quarantined) == (tuple(done.temporary), 0, done.quarantined)
    assert said_of(again) == said_of(done), "the reason is told again"
    assert target.stat().st_ino == before, "the file is as it was"
    clear(path)
    away.rename(path)
    back = extract(spec, target)
    assert (back.computed, back.quarantined) == (1, {})
    with FeatureCache(target) as cache:
        np.testing.assert_array_equal(
            cache.features([list(cache.ids).index(LOST)])[0], expected(photos / LOST)
        )


def test_a_file_that_is_really_gone_is_told_and_dropped(photos, target):
    extract(photos, target)
    (photos / LOST).unlink()
    done = extract(photos, target)
    assert (done.images, done.dropped, done.quarantined) == (ROWS - 1, 1, {})
    assert "  dropped   1 images that the cache held and the dataset no longer has" in lines(done)


@pytest.mark.parametrize("below", ["train/cat", "train/cat/more", LOST])
def test_what_hides_many_photos_costs_no_row(photos, target, below):
    """A folder that is a broken link, or a folder of photos in a photo's place: nobody can say what was there."""
    photo_folder(photos, {"train/cat/more": 2, "train/owl": 1})
    extract(photos, target)
    held = target.read_bytes()
    (photos / below).rename(photos.with_name("away"))
    if below == LOST:
        photo_folder(photos, {below: 2})
    else:
        (photos / below).symlink_to(photos.with_name("unmounted"))
    count = {"train/cat": 6, "train/cat/more": 2, LOST: 1}[below]
    with pytest.raises(
        IdentityError, match=rf"{below} is a .*features of {count} images in .* would be lost"
    ):
        extract(photos, target)
    assert target.read_bytes() == held
    assert extract(photos, target, overwrite=True).dropped == count


@pytest.mark.parametrize("kind", ["FIFO", "file"])
@pytest.mark.parametrize("below", ["train", "val/dog", "train/cat/more"])
def test_what_is_no_folder_in_a_folders_place_costs_no_row(photos, target, below, kind):
    photo_folder(photos, dict.fromkeys(("train/cat/more", "val/cat", "val/dog", "test/cat"), 2))
    extract(photos, target)
    held = target.read_bytes()
    (photos / below).rename(photos.with_name("away"))
    {**LASTING, "file": Path.touch}[kind](photos / below)
    count = {"train": 10}.get(below, 2)
    with pytest.raises(
        IdentityError,
        match=rf"{below} is a {kind}, no folder, and the features of {count} images in .* would be lost",
    ):
        extract(photos, target)
    assert target.read_bytes() == held


def test_a_photo_taken_away_between_listing_and_its_state(photos, target, monkeypatch):
    """In a folder, states are asked for after all entries were listed."""
    extract(photos, target)
    usual = os.scandir

    def listed(folder):
        entries = list(usual(folder))
        for entry in entries:
            if entry.path.endswith(LOST):
                entry.is_file()
                os.replace(entry.path, photos.with_name("away.png"))

        class Listing(list):
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

        return Listing(entries)

    # Only where images are listed: the folders were counted before.
    monkeypatch.setattr(
        "featcache.datasets.folder_files.os", SimpleNamespace(**{**vars(os), "scandir": listed})
    )
    done = extract(photos, target)
    assert (done.temporary, done.dropped) == ({LOST: "unreadable file"}, 0)


def test_a_reason_that_passes_becomes_one_that_lasts_and_back(photos, target):
    extract(photos, target)
    path, away = photos / LOST, photos.with_name("away.png")
    path.rename(away)
    told = []
    for kind in ("FIFO", "broken link", "FIFO"):
        IN_ITS_PLACE[kind](path)
        told.append(extract(photos, target).quarantined[LOST])
        path.unlink()
    assert told == [REFUSED, "unreadable file", REFUSED]


def test_rows_that_name_what_is_outside_are_quarantined_for_good(tmp_path, target):
    pytest.importorskip("datasets", reason="the extra hub is not installed")
    folder = photo_folder(tmp_path / "data", {"cat": 3, "dog": 3})
    (tmp_path / "secret.png").write_bytes((folder / "cat/0.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(folder / "fifo.png")
    names = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3)]
    outside = ["../secret.png", "/etc/passwd", "link.png"]
    names += [*outside, "fifo.png", "gone.png"]
    table = pa.table({"image": names, "label": ["cat", "dog"] * 5 + ["cat"]})
    about = '{"info": {"features": {"image": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}}}'
    table = table.replace_schema_metadata({"huggingface": about}).cast(
        pa.schema([("image", pa.string()), ("label", pa.string())], metadata={"huggingface": about})
    )
    with pa.ipc.new_stream(str(folder / "train.arrow"), table.schema) as writer:
        writer.write_table(table)
    spec = f"hf:{folder}?image=image"
    reasons = dict.fromkeys(range(6, 9), "outside the dataset") | {9: REFUSED, 10: "unreadable file"}
    first = extract(spec, target)
    by_row = {int(name.split("/")[1]): reason for name, reason in first.quarantined.items()}
    assert (by_row, first.computed) == (reasons, 6)
    assert [int(name.split("/")[1]) for name in first.temporary] == [10]
    said = [said_of(first, name) for name in first.quarantined]
    assert (
        sum(f"outside the dataset: the row names a file outside of {folder}, which" in s for s in said) == 3
    )
    assert not any("root:" in text for text in said)
    again = extract(spec, target)
    assert [int(name.split("/")[1]) for name in again.retried] == [10]
    (folder / "link.png").unlink()
    (folder / "link.png").write_bytes((tmp_path / "secret.png").read_bytes())
    changed = extract(spec, target)
    assert (changed.reused, {int(name.split("/")[1]) for name in changed.quarantined}) == (7, {6, 7, 9, 10})
