"""Which files are read again, and that whatever is remembered of the others is only believed where it is certain."""

import hashlib
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.photo_folders import photo_folder

from featcache import open_dataset, plan_extraction
from featcache.core.columns.digest_array import DigestRows
from featcache.core.environment import home
from featcache.datasets import Dataset, file_state
from featcache.datasets.subset import slice_records
from featcache.errors import Interrupted
from featcache.extraction.planning.content_hashes import SAMPLE, hash_records
from featcache.extraction.planning.remembered_hashes import list_remembered

COUNT = 60


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    # These tests write files and look at them at once, and none writes to a file twice within a tick.
    monkeypatch.setattr(file_state, "_TICK_NS", 0)


@pytest.fixture
def root(tmp_path) -> Path:
    for number in range(COUNT):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%03d" % number)
    probe = tmp_path / "probe"
    probe.touch()
    began = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == began:  # what changes from now on has a later time
        probe.touch()
    return tmp_path / "photos"


def hashed(data: Dataset | Path, **options: Any) -> tuple[list[bytes], list[str]]:
    """Return the hashes, and which images were read for them."""
    data = data if isinstance(data, Dataset) else open_dataset(data)
    read: list[str] = []

    def noted(record):
        return replace(record, read=lambda: (read.append(record.id), record.read())[1])

    seen = replace(data, records=[noted(record) for record in data.records])
    found = hash_records(seen, workers=2, report=lambda progress: None, **options)
    return [*DigestRows(found)], read


def by_hand(root: Path) -> list[bytes]:
    return [hashlib.sha256((root / r.id).read_bytes()).digest() for r in open_dataset(root).records]


def everything(root: Path) -> list[str]:
    return sorted(record.id for record in open_dataset(root).records)


def test_of_what_has_not_changed_only_a_sample_is_read(root):
    first, read = hashed(root)
    assert (first, sorted(read)) == (by_hand(root), everything(root))
    again, read = hashed(root)
    assert (again, len(read), len({*read})) == (first, SAMPLE, SAMPLE)
    assert hashed(root) == (again, read), "the same sample each time"


def test_verifying_reads_everything(root):
    hashed(root)
    found, read = hashed(root, trust=False)
    assert (found, sorted(read)) == (by_hand(root), everything(root))


def test_what_was_touched_is_read_once(root):
    hashed(root)
    os.utime(root / "a/0.jpg", ns=(1, 1))
    (root / "a/2.jpg").chmod(0o600)
    (root / "a/4.jpg").rename(root / "a/new.jpg")
    for extra in (["a/0.jpg", "a/2.jpg", "a/new.jpg"], []):
        found, read = hashed(root)
        assert found == by_hand(root)
        assert len(read) == SAMPLE + len(extra)
        assert {*extra} <= {*read}


def test_one_image_of_the_sample_with_other_bytes_and_all_are_read(root):
    """As on a file system whose inodes and times mean nothing."""
    _, read = hashed(root)
    _, sample = hashed(root)
    data = open_dataset(root)
    for name in (sample[-1], next(name for name in read if name not in sample)):
        (root / name).write_bytes(b"xyz")
    found, read = hashed(data)  # whose records say what was so before
    assert found == by_hand(root)
    assert {*read} == {*everything(root)}


@pytest.mark.filterwarnings("ignore:.*holds no image of:featcache.errors.FeatcacheWarning")
def test_it_forgets_the_others_then_too(root):
    hashed(root)
    half = slice_records(open_dataset(root), "all[:50%]")
    _, sample = hashed(half)
    (root / sample[0]).write_bytes(b"xyz")
    hashed(half)
    rest = slice_records(open_dataset(root), "all[50%:]")
    assert len(hashed(rest)[1]) == COUNT // 2


@pytest.mark.filterwarnings("ignore:.*holds no image of:featcache.errors.FeatcacheWarning")
def test_slices_serve_the_whole_and_the_whole_its_slices(root):
    data = open_dataset(root)
    for part in ("all[:50%]", "all[50%:]"):
        assert len(hashed(slice_records(data, part))[1]) == COUNT // 2
    assert len(hashed(data)[1]) == SAMPLE
    assert len(hashed(slice_records(data, "all[:50%]"))[1]) == SAMPLE


@pytest.mark.filterwarnings("ignore:.*holds no image of:featcache.errors.FeatcacheWarning")
def test_former_names_are_forgotten_when_they_are_many(root, monkeypatch):
    data = open_dataset(root)
    hashed(slice_records(data, "all[:50%]"))
    monkeypatch.setattr("featcache.extraction.planning.remembered_hashes._MOST", 40)
    monkeypatch.setattr("featcache.extraction.planning.remembered_hashes._TIMES", 0)
    hashed(slice_records(data, "all[50%:]"))
    found, read = hashed(data)
    assert found == by_hand(root)
    assert len(read) == SAMPLE + 20, "30 of one half and 10 of the other were remembered"


def test_a_copy_of_the_folder_is_read(root, tmp_path):
    hashed(root)
    root.rename(tmp_path / "elsewhere")  # the same inodes
    assert len(hashed(tmp_path / "elsewhere")[1]) == COUNT


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "folder"])
def test_a_damaged_memory_is_no_memory(root, damage):
    hashed(root)
    [file] = (home() / "hashes").iterdir()
    content = bytearray(file.read_bytes())
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        content[-1] ^= damage == "flipped"
        file.write_bytes({"cut": content[:-5], "flipped": content, "empty": b""}[damage])
    assert sorted(hashed(root)[1]) == everything(root)


def test_a_home_that_cannot_be_written_to_costs_reading_only(root, monkeypatch):
    home().parent.mkdir(exist_ok=True)
    home().write_text("a file")
    for _ in range(2):
        assert (hashed(root)[0], len(hashed(root)[1])) == (by_hand(root), COUNT)


def test_nothing_is_remembered_of_images_without_a_place(root):
    hashed(replace(open_dataset(root), location=""))
    assert not (home() / "hashes").exists()


def test_an_interrupted_reading_ends_at_once(root):
    def stop(progress):
        if progress.done == 5:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted, match="stopped"):
        hash_records(open_dataset(root), workers=2, report=stop)
    assert len(hashed(root)[1]) == COUNT


def test_a_dry_run_writes_nothing(tmp_path, network):
    photos = photo_folder(tmp_path / "photos", {"cat": 2, "dog": 2})
    plan_extraction(photos, backbone=network, output=tmp_path / "a.h5")
    assert not home().exists()


# The state of a file --------------------------------------------------------------------------------------------

OLD: dict[str, int] = {
    "st_dev": 2**63 + 1,
    "st_ino": 2**64 - 1,
    "st_size": 5,
    "st_mtime_ns": -1,
    "st_ctime_ns": 1_600_000_000_123_456_789,
}


def state(**changed: int) -> bytes:
    found: Any = SimpleNamespace(**OLD | changed)
    return file_state.file_state(found)


@pytest.mark.parametrize("field", OLD)
def test_every_part_of_it_counts(field):
    assert len(state()) == file_state.STATE_BYTES
    assert state() == state() != state(**{field: OLD[field] - 1})


def test_files_that_were_changed_just_now_have_none(monkeypatch):
    monkeypatch.setattr(file_state, "_TICK_NS", 20_000_000)
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    ago = {1_000_001: False, 30_000_001: True, -5_000_000_001: False}
    assert {ns: bool(state(st_ctime_ns=time.time_ns() - ns)) for ns in ago} == ago


def test_where_times_are_whole_seconds_just_now_is_longer(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_500_000_000)
    ago = {500_000_000: False, 1_500_000_000: False, 2_500_000_000: True}
    assert {ns: bool(state(st_ctime_ns=time.time_ns() - ns)) for ns in ago} == ago


def test_a_time_of_change_that_repeats_the_time_of_writing_says_nothing():
    """As on squashfs, FAT or through SFTP: reproducible builds give every file one settable time."""
    times = {
        1_600_000_000_000_000_000: False,
        1_600_000_000_120_000_000: False,
        1_600_000_000_120_000_100: True,
    }
    found = {time_ns: bool(state(st_ctime_ns=time_ns, st_mtime_ns=time_ns)) for time_ns in times}
    assert found == times
    one, other = (SimpleNamespace(**OLD | {"st_mtime_ns": ns, "st_ctime_ns": 10**18}) for ns in (-1, 10**18))
    several: Any = (one, other)
    assert file_state.file_state(one) != b"" == file_state.file_state(*several)


def test_of_several_files_each_counts_and_of_none_nothing_is_known():
    one, other = (SimpleNamespace(**OLD | {"st_ino": number}) for number in (1, 2))
    both: Any = (one, other)
    assert file_state.file_state() == b""
    assert len({file_state.file_state(*files) for files in (both, both[:1], both[1:])}) == 3


# Hashes that nobody needs -------------------------------------------------------------------------------------


def useless() -> list[str]:
    return [each.why_useless for each in list_remembered()]


def test_hashes_of_a_dataset_that_is_gone_are_found(root, tmp_path):
    assert list_remembered() == []
    odd = shutil.copytree(root, tmp_path / "what?\udcff")
    for place in (root, odd):
        hashed(place)
    assert useless() == ["", ""]
    shutil.rmtree(odd)
    assert sorted(useless()) == ["", f"remembered hashes of a dataset that is gone, folder:{odd}"]
    hashed(open_dataset(root))
    shutil.rmtree(root)
    assert all(why.startswith("remembered hashes of a dataset that is gone, folder:") for why in useless())


def test_hashes_that_were_written_without_their_place_are_still_used(root):
    """As by a featcache that recorded no place: the last array is cut off."""
    first, _ = hashed(root)
    [file] = (home() / "hashes").iterdir()
    content = file.read_bytes()
    magic, columns = b"featcache hashes 1\n", content[len(b"featcache hashes 1\n") + 32 :]
    older = columns[: columns.rindex(b"\x93NUMPY")]
    file.write_bytes(magic + hashlib.sha256(older).digest() + older)
    assert useless() == ["remembered hashes of an earlier featcache, which did not record whose they are"]
    again, read = hashed(root)
    assert (again, len(read)) == (first, SAMPLE)
    file.write_bytes(content[:-1])
    assert useless() == ["remembered hashes that are damaged"]
