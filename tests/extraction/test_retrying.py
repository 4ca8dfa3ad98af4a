"""Images that cannot be read for a moment are tried again, at the end of the run and by the next; others are not.

With a network whose features are the pixels themselves, so that the content of every row is known without it.
"""

import errno
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_network import FakeNetwork, expected
from helpers.photo_folders import photo_folder

import featcache
from featcache import FeatureCache, open_dataset
from featcache.cache import partial_path, repair
from featcache.datasets import Dataset
from featcache.errors import DataError, Interrupted
from featcache.images.views import Views

LOST = "train/cat/1.png"
ROWS = 8

Read = Callable[[], bytes]


pytestmark = pytest.mark.usefixtures("own_home")


def extract(photos, target, **options) -> featcache.Extraction:
    return featcache.extract(photos, **{"backbone": FakeNetwork(), "output": target, "workers": 1} | options)


def extract_without(path: Path, photos: Path, target: Path, **options) -> featcache.Extraction:
    """Extract while a file is away after it was hashed, so that opening it fails; then it is back."""
    away = path.with_name(".away")

    def take_away(progress):
        if progress.stage == "compile":
            path.rename(away)

    done = extract(photos, target, on_progress=take_away, **options)
    away.rename(path)
    return done


def reading(photos: Path, read: Callable[[str, Read], bytes]) -> Dataset:
    """Return a folder as a dataset whose files are read by a function of their name and the usual one."""
    data = open_dataset(str(photos))
    return replace(
        data, records=[replace(record, read=partial(read, record.id, record.read)) for record in data.records]
    )


def broken(name: str, usual: Read) -> bytes:
    """Read as a disk does that fails in one place."""
    if name == LOST:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return usual()


def state_of(path: Path) -> tuple[bytes, int, int]:
    status = path.stat()
    return path.read_bytes(), status.st_ino, status.st_mtime_ns


def assert_right(photos: Path, path: Path, missing: tuple[str, ...] = ()) -> None:
    with FeatureCache(path) as cache:
        assert {cache.ids[row] for row in cache.quarantined()} == {*missing}
        assert len(cache) == ROWS
        for row in cache.rows_of():
            np.testing.assert_array_equal(cache.features([row])[0], expected(photos / cache.ids[row]))


# By the next run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"verify": True}, {"overwrite": True}, {"split": "train"}])
def test_the_next_run_computes_what_could_not_be_read(photos, target, options):
    first = extract_without(photos / LOST, photos, target, **options)
    assert (first.quarantined, first.temporary) == ({LOST: "unreadable file"},) * 2
    assert_right(photos, target, (LOST,))
    seen = []

    def look(progress):
        if progress.stage == "compute":
            with FeatureCache(target) as cache:
                seen.append(len(cache.rows_of()))

    done = extract(photos, target, on_progress=look, **options)
    assert (done.computed, done.reused, done.retried, done.quarantined) == (1, ROWS - 1, (LOST,), {})
    assert {*seen} == {ROWS - 1}, "the earlier cache can be read until the new one takes its place"
    assert_right(photos, target)
    before = state_of(target)
    again = extract(photos, target, **options)
    assert (again.computed, again.reused, again.retried) == (0, ROWS, ())
    assert state_of(target) == before


def test_so_does_one_that_loads_no_network_where_there_is_nothing_to_do(photos, target, monkeypatch):
    monkeypatch.setattr("featcache.backbones.load", lambda name, weights=None: FakeNetwork())
    extract_without(photos / LOST, photos, target, backbone="fake")
    loaded = []
    for _ in range(2):
        stages = []
        done = extract(
            photos, target, backbone="fake", on_progress=lambda p, seen=stages: seen.append(p.stage)
        )
        loaded.append(("load" in stages, done.computed))
    assert loaded == [(True, 1), (False, 0)]
    assert_right(photos, target)


def test_a_file_that_has_no_hash_yet_becomes_a_row_once_it_can_be_read(tmp_path, photos, target):
    (photos / LOST).rename(tmp_path / "away.png")
    table = photos / "photos.csv"
    names = [f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(4)]
    table.write_text("path,label\n" + "".join(f"{name},{name.split('/')[1]}\n" for name in names))
    first = extract(f"csv:{table}", target)
    assert (first.computed, first.temporary) == (ROWS - 1, {LOST: "unreadable file"})
    before = state_of(target)
    for options in ({}, {"verify": True}, {"overwrite": True}):
        still = extract(f"csv:{table}", target, **options)
        assert (still.computed, still.reused, still.retried) == (0, ROWS - 1, (LOST,))
        assert still.temporary == first.temporary
        assert state_of(target) == before, "the file is as it was, byte for byte"
    (tmp_path / "away.png").rename(photos / LOST)
    done = extract(f"csv:{table}", target)
    assert (done.computed, done.reused, done.retried) == (1, ROWS - 1, (LOST,))
    assert (done.quarantined, done.dropped) == ({}, 0)
    assert_right(photos, target)


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_what_stays_unreadable_leaves_the_cache_as_it_is(photos, target, number):
    once = iter([True])

    def fail(name: str, usual: Read) -> bytes:
        if name == LOST and not next(once, False):
            raise OSError(number, os.strerror(number))
        return usual()

    data = reading(photos, fail)
    assert extract(data, target).temporary == {LOST: "unreadable file"}
    before = state_of(target)
    for options in ({}, {"overwrite": True}):
        still = extract(data, target, **options)
        assert (still.computed, still.reused, still.retried) == (0, ROWS - 1, (LOST,))
        assert still.temporary == {LOST: "unreadable file"}
        assert state_of(target) == before
    assert repair(target).ok
    assert state_of(target) == before
    with pytest.raises(DataError, match=rf"{LOST}: unreadable file; without --strict it would be left out"):
        extract(data, target, strict=True)
    assert extract(photos, target).computed == 1
    assert_right(photos, target)


def test_what_turns_out_to_be_damaged_is_recorded_once(photos, target):
    (photos / LOST).write_text("no photo")
    extract_without(photos / LOST, photos, target)
    done = extract(photos, target)
    assert (done.quarantined, done.temporary, done.retried) == ({LOST: "not an image"}, {}, (LOST,))
    before = state_of(target)
    assert extract(photos, target).retried == ()
    assert state_of(target) == before


@pytest.mark.filterwarnings("ignore:.*more than once with different labels:featcache.errors.FeatcacheWarning")
def test_a_copy_of_the_same_bytes_serves_the_row(photos, target):
    (photos / "train/dog/copy.png").write_bytes((photos / LOST).read_bytes())
    (photos / "train/dog/3.png").unlink()
    assert extract_without(photos / LOST, photos, target).duplicates == 1
    done = extract(photos, target)
    assert (done.computed, done.reused, done.retried, done.quarantined) == (0, ROWS, (LOST,), {})
    assert_right(photos, target)


def test_another_cache_gives_its_row_and_never_that_it_has_none(photos, target, tmp_path):
    poor, whole = tmp_path / "poor.h5", tmp_path / "apart" / "whole.h5"
    extract_without(photos / LOST, photos, poor)
    done = extract(photos, target, reuse=[poor])
    assert (done.computed, done.reused, done.quarantined) == (1, ROWS - 1, {})
    assert_right(photos, target)
    extract(photos, whole)
    done = extract(reading(photos, broken), poor, reuse=[whole])
    assert (done.computed, done.reused, done.quarantined) == (0, ROWS, {})
    assert_right(photos, poor)


def test_a_run_that_is_killed_while_it_tries_again_is_continued(photos, target):
    extract_without(photos / LOST, photos, target)
    finished = state_of(target)

    def stop():
        return partial_path(target).exists()

    with pytest.raises(Interrupted, match="stopped after 7 of 8 images, which are kept"):
        extract(photos, target, stop=stop)
    assert state_of(target) == finished
    done = extract(photos, target)
    assert (done.resumed, done.computed, done.retried) == (ROWS - 1, 1, (LOST,))
    assert not partial_path(target).exists()
    assert_right(photos, target)


def test_a_repaired_cache_computes_what_is_damaged_and_what_was_not_read(photos, target):
    extract_without(photos / LOST, photos, target)
    with FeatureCache(target) as cache:
        start = cache._stored.layout.offsets["features/pool"]
    target.chmod(0o644)
    with target.open("r+b") as file:
        file.seek(start + 11)
        file.write(b"\xff")
    assert not repair(target).ok
    done = extract(photos, target)
    assert (done.resumed, done.computed) == (ROWS - 2, 2)
    assert_right(photos, target)


# Where nothing can be read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"verify": True}, {}])
def test_a_finished_cache_survives_a_disk_that_gives_nothing(photos, target, options):
    extract(photos, target)
    before = state_of(target)

    def fail(name: str, usual: Read) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(
        DataError, match=r"none of the 8 images of .*photos could be read; .*: unreadable file"
    ):
        extract(reading(photos, fail), target, **options)
    assert state_of(target) == before
    assert [path.name for path in target.parent.glob("a*")] == ["a.h5"]
    assert extract(photos, target).reused == ROWS


def test_images_that_cannot_be_read_now_have_not_left_the_dataset(photos, target):
    extract(photos, target)
    done = extract(reading(photos, broken), target, verify=True)
    assert (done.temporary, done.dropped) == ({LOST: "unreadable file"}, 0)
    assert extract(photos, target, verify=True).computed == 1
    assert_right(photos, target)


# Within one run -----------------------------------------------------------------------------------------------


def test_a_run_out_of_descriptors_tries_again_after_the_others(photos, target):
    """No file can be opened from the first computed images on, until another image has failed."""
    photo_folder(photos, {"train/owl": 12})
    usual_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    failed = []

    def note(name: str, usual: Read) -> bytes:
        try:
            return usual()
        except OSError as error:
            failed.append((name, error.errno))
            raise

    def limit(progress):
        if failed:
            resource.setrlimit(resource.RLIMIT_NOFILE, usual_limit)
        elif progress.stage == "compute" and resource.getrlimit(resource.RLIMIT_NOFILE) == usual_limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, usual_limit[1]))

    try:
        done = extract(reading(photos, note), target, on_progress=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual_limit)
    assert {number for _, number in failed} == {errno.EMFILE}
    assert (done.computed, done.quarantined) == (20, {})


def test_a_file_that_fails_once_while_it_is_hashed_is_read_after_the_others(photos, target):
    order = []

    def fail_once(name: str, usual: Read) -> bytes:
        order.append(name)
        if order.count(LOST) == 1 and name == LOST:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return usual()

    done = extract(reading(photos, fail_once), target)
    assert (done.computed, done.quarantined) == (ROWS, {})
    names = [record.id for record in open_dataset(str(photos)).records]
    assert order[: ROWS + 1] == [*names, LOST]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "no"), MemoryError()])
def test_each_image_is_tried_twice_and_each_copy_of_it(photos, target, error):
    (photos / "train/dog/copy.png").write_bytes((photos / LOST).read_bytes())
    (photos / "train/dog/3.png").unlink()
    both = (LOST, "train/dog/copy.png")
    reads: list[str] = []

    def fail(name: str, usual: Read) -> bytes:
        reads.append(name)
        if name in both and reads.count(name) > 1:  # the first time is for its hash
            raise error
        return usual()

    done = extract(reading(photos, fail), target)
    reason = "out of memory" if isinstance(error, MemoryError) else "unreadable file"
    assert done.temporary == dict.fromkeys(both, reason)
    assert reads.count(LOST) == 3
    # Bytes for which there was no memory are not tried a second time under another name.
    assert reads.count(both[1]) == (1 if reason == "out of memory" else 3)


def test_memory_that_was_short_for_a_moment(photos, target, monkeypatch):
    failures = iter([True])
    usual = Views.prepare

    def prepare(self, data, transforms, image):
        if next(failures, False):
            raise MemoryError
        return usual(self, data, transforms, image)

    monkeypatch.setattr(Views, "prepare", prepare)
    assert extract(photos, target).quarantined == {}
    assert_right(photos, target)
