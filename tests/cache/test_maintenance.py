"""Verify, repair, list, clear away."""

import json
import os
import shutil
import socket

import h5py
import pytest
from helpers.small_caches import small

from featcache.cache import (
    CacheWriter,
    FeatureCache,
    WriteLock,
    describe,
    find_leftovers,
    gc,
    list_caches,
    partial_path,
    remove,
    repair,
    verify,
)
from featcache.errors import IntegrityError, LockedError, MissingFileError, UsageError


@pytest.fixture
def want():
    return small()


@pytest.fixture
def path(want, tmp_path):
    want.publish(tmp_path / "a.h5").close()
    return tmp_path / "a.h5"


def damage(path, name, position):
    """Flip a bit in one of the datasets, as a failing disk does."""
    with h5py.File(path) as file:
        offset = file[name].id.get_offset() + position
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 4]))


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def record_of(host, pid):
    return json.dumps({"host": host, "pid": pid, "pid_started": "1", "since": "yesterday"})


# verify -----------------------------------------------------------------------------------------------------


def test_an_intact_cache(path):
    found = verify(path)
    assert found.ok
    assert found.to_json() == {
        "path": str(path),
        "images": 13,
        "damaged": {},
        "missing": 0,
        "error": None,
        "ok": True,
    }
    assert FeatureCache(path).verify() == found


def test_the_rows_of_all_layers_are_counted_as_they_are_checked(path, monkeypatch):
    monkeypatch.setattr("featcache.cache.row_store.BLOCK_BYTES", 300)
    seen = []
    verify(path, on_progress=lambda progress: seen.append((progress.stage, progress.done, progress.total)))
    assert seen[-1] == ("verify", 26, 26), "13 rows of two layers"
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    assert len(seen) > 2


def test_damaged_rows_are_named_by_layer(path):
    damage(path, "features/pool", 5 * 96 + 3)
    damage(path, "features/pool", 8 * 96)
    damage(path, "crc32/mixed7", 4 * 0)
    damage(path, "rows/status", 2)
    found = verify(path)
    assert not found.ok
    assert found.damaged == {
        "pool": ("train/tulip/002.jpg", "train/tulip/005.jpg", "train/tulip/008.jpg"),
        "mixed7": ("train/daisy/000.jpg", "train/tulip/002.jpg"),
    }


def test_a_damaged_quarantine_is_damage(path):
    damage(path, "rows/status", 4)
    assert verify(path).damaged == {"pool": ("train/rose/004.jpg",), "mixed7": ("train/rose/004.jpg",)}


def test_what_cannot_be_opened_is_reported_not_raised(path, tmp_path):
    damage(path, "rows/label", 3)
    found = verify(path)
    assert not found.ok
    assert found.images is None
    assert "do not match their checksum" in found.error
    with pytest.raises(MissingFileError, match="no cache"):
        verify(tmp_path / "b.h5")


def test_an_unfinished_cache_lacks_rows(want, tmp_path):
    with want.create(tmp_path / "b.h5") as writer:
        want.fill(writer, range(5))
    found = verify(partial_path(tmp_path / "b.h5"))
    assert (found.missing, found.damaged, found.ok) == (8, {}, False)


# repair -----------------------------------------------------------------------------------------------------


def test_a_repaired_cache_is_finished_by_the_same_extraction(want, path):
    damage(path, "features/pool", 5 * 96 + 3)
    damage(path, "rows/status", 2)
    damage(path, "rows/status", 4)
    found = repair(path)
    assert found.damaged["pool"] == ("train/tulip/002.jpg", "train/rose/004.jpg", "train/tulip/005.jpg")
    with pytest.raises(MissingFileError, match="is not finished"):
        FeatureCache(path)
    with CacheWriter.resume(path) as writer:
        assert [row for row, done in enumerate(writer.done()) if not done] == [2, 4, 5, 7]
    assert want.wrong(want.resume(path)) == []
    assert names_in(path.parent) == ["a.h5"]


def test_readers_keep_their_file_while_it_is_repaired(want, path):
    damage(path, "features/pool", 5 * 96 + 3)
    reader = FeatureCache(path)
    repair(path)
    want.resume(path)
    assert want.wrong(reader) == []  # the damaged row was computed anew, in the file it has open


@pytest.mark.parametrize("when", ["before the repair", "after it"])
def test_other_names_of_a_repaired_file_keep_what_they_held(want, path, tmp_path, when):
    """Backups by hard links (``cp -al``, rsnapshot) share the file itself."""
    damage(path, "features/pool", 5 * 96 + 3)
    backup = tmp_path / "backup" / "a.h5"
    backup.parent.mkdir()
    if when == "before the repair":
        os.link(path, backup)
    repair(path)
    if when == "after it":
        os.link(partial_path(path), backup)
    before, mode = backup.read_bytes(), backup.stat().st_mode
    assert want.wrong(want.resume(path)) == []
    assert (backup.read_bytes(), backup.stat().st_mode) == (before, mode)
    assert path.stat().st_nlink == 1
    assert names_in(tmp_path) == ["a.h5", "backup"]


def test_nothing_is_done_to_an_intact_or_an_unfinished_cache(want, path):
    assert repair(path).ok
    assert path.exists()
    path.chmod(0o644)
    path.rename(partial_path(path))
    repair(partial_path(path))
    assert names_in(path.parent) == ["a.partial.h5"]


def test_what_cannot_be_repaired(want, path):
    damage(path, "features/pool", 1)
    with WriteLock(path), pytest.raises(LockedError, match="is being written by process"):
        repair(path)
    want.create(path).close()
    with pytest.raises(UsageError, match=r"a.partial.h5 is in the way: finish it with its featcache extract"):
        repair(path)
    damage(path, "rows/sha256", 0)
    with pytest.raises(IntegrityError, match="restore it from a copy, or delete it and run"):
        repair(path)
    with pytest.raises(MissingFileError, match="no cache"):
        repair(path.with_name("nowhere") / "b.h5")
    assert not path.with_name("nowhere").exists()


# ls ---------------------------------------------------------------------------------------------------------


def test_a_listing_tells_caches_from_other_files(want, path, tmp_path):
    with want.create(tmp_path / "b.h5") as writer:
        want.fill(writer, range(5))
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["kernel"] = [1.0]
    (tmp_path / "c.h5").write_bytes(path.read_bytes()[:3000])
    (tmp_path / "notes.txt").write_text("featcache 1")
    (tmp_path / "folder.h5").mkdir()
    found = {info.path.name: info for info in list_caches(tmp_path)}
    assert {name: info.state for name, info in found.items()} == {
        "a.h5": "finished",
        "b.partial.h5": "unfinished",
        "c.h5": "unreadable",
    }
    assert found["b.partial.h5"].detail == "38 % complete"
    assert "it was truncated" in found["c.h5"].detail
    info = found["a.h5"]
    assert (info.images, info.classes, info.dtype, info.backbone) == (
        13,
        3,
        "float32",
        "mobilenet_v2.tv_in1k",
    )
    assert info.splits == {"train": 5, "val": 4, "test": 4}
    assert info.layers == {"pool": (24,), "mixed7": (3, 5)}
    assert info.nbytes == path.stat().st_size
    json.dumps([info.to_json() for info in found.values()])
    assert describe(path) == info
    with pytest.raises(MissingFileError, match="no folder"):
        list_caches(tmp_path / "nowhere")


# gc ---------------------------------------------------------------------------------------------------------


def lay_leftovers(want, path):
    """What kills at different moments leave, of two caches; one is finished."""
    folder = path.parent
    with want.create(folder / "b.h5") as writer:
        want.fill(writer, range(5))
    (folder / "b.previous.h5").write_bytes((folder / "b.partial.h5").read_bytes())
    (folder / "b.partial.h5.new").write_bytes(b"half a fi")
    (folder / "a.previous.h5").write_bytes((folder / "b.partial.h5").read_bytes())
    (folder / "a.h5.lock").write_bytes(b"")
    (folder / "a.h5.owner.json").write_text(record_of(socket.gethostname(), 2**22 + 1))


def test_leftovers_are_listed_before_anything_is_removed(want, path):
    lay_leftovers(want, path)
    before = names_in(path.parent)
    found = {left.path.name: (left.reason, left.removable) for left in find_leftovers(path.parent)}
    assert found == {
        "a.previous.h5": ("older rows of an extraction that has finished", True),
        "a.h5.lock": ("lock of a process that is gone", True),
        "a.h5.owner.json": ("lock of a process that is gone", True),
        "b.partial.h5": ("unfinished extraction (38 % complete)", False),
        "b.previous.h5": ("older rows to be copied", False),
        "b.partial.h5.new": ("file that was just being created", True),
    }
    assert names_in(path.parent) == before
    json.dumps([left.to_json() for left in find_leftovers(path.parent)])


def test_what_can_still_be_used_is_removed_only_when_asked(want, path):
    lay_leftovers(want, path)
    removed = gc(path.parent)
    assert sorted(left.path.name for left in removed) == [
        "a.h5.lock",
        "a.h5.owner.json",
        "a.previous.h5",
        "b.partial.h5.new",
    ]
    assert names_in(path.parent) == ["a.h5", "b.partial.h5", "b.previous.h5"]
    assert want.wrong(FeatureCache(path)) == []
    gc(path.parent, unfinished=True)
    assert names_in(path.parent) == ["a.h5"]


def test_what_is_in_use_or_not_ours_is_left_alone(want, path, tmp_path):
    lay_leftovers(want, path)
    (tmp_path / "c.partial.h5").write_bytes(b"something of another program")
    (tmp_path / "d.h5.lock").write_bytes(b"")  # of a program that writes d.h5
    (tmp_path / "a.h5.owner.json").write_text(
        record_of("gpu-node-7", 1)
    )  # another host: nobody knows from here
    with WriteLock(tmp_path / "b.h5"):
        before = names_in(tmp_path)
        assert find_leftovers(tmp_path) == []
        assert gc(tmp_path, unfinished=True) == []
        assert names_in(tmp_path) == before


def test_finished_caches_under_an_extractions_names_are_caches_like_any_other(want, path, tmp_path):
    """``cp -p a.h5 a.previous.h5`` is a backup."""
    for name in ("a.previous.h5", "c.partial.h5"):
        shutil.copy2(path, tmp_path / name)
    names = ["a.h5", "a.previous.h5", "c.partial.h5"]
    assert [(info.path.name, info.state) for info in list_caches(tmp_path)] == [
        (name, "finished") for name in names
    ]
    assert find_leftovers(tmp_path) == []
    assert gc(tmp_path, unfinished=True) == []
    with pytest.raises(UsageError, match=r"c.partial.h5 is a finished cache, .* example to c-partial"):
        want.create(tmp_path / "c.h5")
    remove(path)
    assert names_in(tmp_path) == names[1:]
    remove(tmp_path / "a.previous.h5")
    assert names_in(tmp_path) == names[2:]


# rm ---------------------------------------------------------------------------------------------------------


def test_removing_takes_everything_of_one_cache(want, path):
    lay_leftovers(want, path)
    remove(path.with_name("b.h5"))
    assert names_in(path.parent) == ["a.h5", "a.h5.lock", "a.h5.owner.json", "a.previous.h5"]
    remove(path)
    assert names_in(path.parent) == []


def test_what_is_not_removed(path, tmp_path):
    with pytest.raises(MissingFileError, match=r"no cache .*b.h5"):
        remove(tmp_path / "b.h5")
    (tmp_path / "thesis.h5").write_bytes(b"mine")
    with pytest.raises(IntegrityError, match=r"thesis.h5 is no featcache cache; delete it by other means"):
        remove(tmp_path / "thesis.h5")
    with WriteLock(path), pytest.raises(LockedError, match=f"by process {os.getpid()}"):
        remove(path)
    assert path.exists()
