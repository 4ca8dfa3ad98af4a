"""Reading: what is handed out is right, and everything else is refused with a reason."""

import json
import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from helpers.small_caches import SPLITS, small

from featcache.cache import FeatureCache, partial_path
from featcache.errors import (
    DataError,
    IdentityError,
    IntegrityError,
    MissingFileError,
    StorageError,
    UnknownNameError,
    UsageError,
)

ADVICE = "restore it from a copy, or delete it and run the same featcache extract command again"


@pytest.fixture
def want():
    return small()


@pytest.fixture
def cache(want, tmp_path):
    return want.publish(tmp_path / "a.h5")


def rewritten(path, change):
    """A copy of a finished cache after an edit with h5py, as a curious user might make one."""
    copy = path.with_name("edited.h5")
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        change(file)
    return copy


def flipped(path, offset, bit=0):
    copy = path.with_name("flipped.h5")
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    copy.write_bytes(data)
    return copy


def offset_of(path, name):
    with h5py.File(path) as file:
        return file[name].id.get_offset()


# What it gives ----------------------------------------------------------------------------------------------


def test_features_in_any_order_and_with_repeats(want, cache):
    rows = [12, 0, 1, 2, 2, 5]
    np.testing.assert_array_equal(cache.features(rows), want.features["pool"][rows])
    np.testing.assert_array_equal(cache.features(rows, "mixed7"), want.features["mixed7"][rows])
    np.testing.assert_array_equal(cache.features(rows, verify=False), want.features["pool"][rows])
    assert cache.features([]).shape == (0, 24)


def test_arrays_of_a_split(want, cache):
    for split in SPLITS:
        features, labels = cache.arrays(split)
        rows = [
            row for row in range(13) if SPLITS[want.rows.splits[row]] == split and row not in want.quarantined
        ]
        np.testing.assert_array_equal(features, want.features["pool"][rows])
        assert labels.tolist() == want.rows.labels[rows].tolist()
    assert len(cache.arrays("all")[1]) == len(cache.arrays()[1]) == 11
    np.testing.assert_array_equal(cache.to_numpy("mixed7"), cache.arrays(layer="mixed7")[0])


def test_the_first_layer_asked_for_is_the_default_whatever_its_name(tmp_path):
    want = small(shapes={"zebra": (3,), "aardvark": (4,)})
    cache = want.publish(tmp_path / "a.h5")
    assert list(cache.layers) == ["zebra", "aardvark"]
    assert cache.features([0]).shape == (1, 3)


def test_many_rows_are_read_on_several_threads(tmp_path):
    want = small(4000, shapes={"pool": (640,)}, quarantined={})
    cache = want.publish(tmp_path / "a.h5")
    np.testing.assert_array_equal(cache.arrays()[0], want.features["pool"])
    rows = np.random.default_rng(0).permutation(4000)
    np.testing.assert_array_equal(cache.features(rows), want.features["pool"][rows])


def test_threads_may_share_one_object(want, cache):
    with ThreadPoolExecutor(4) as pool:
        for features in pool.map(lambda _: cache.features([3, 8]), range(100)):
            np.testing.assert_array_equal(features, want.features["pool"][[3, 8]])


def test_the_mapped_view_is_the_file_and_cannot_be_written(want, cache):
    view = cache.mapped("pool")
    present = cache.rows_of()
    np.testing.assert_array_equal(view[present], want.features["pool"][present])
    assert np.isnan(view[4]).all()
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 0
    cache.close()
    np.testing.assert_array_equal(view[present], want.features["pool"][present])


def test_the_row_table_cannot_be_changed_by_accident(cache):
    with pytest.raises(ValueError, match="read-only"):
        cache.labels[0] = 2


def test_what_it_is(want, cache):
    assert len(cache) == 13
    assert repr(cache) == f"FeatureCache({str(cache.path)!r}, 13 rows, layers pool, mixed7)"
    assert cache.backbone == "mobilenet_v2.tv_in1k"
    assert cache.recipe == want.identity["recipe"]
    assert cache.split_names()[:5] == ["train", "train", "val", "val", "test"]
    assert cache.nbytes == cache.path.stat().st_size
    assert os.fspath(cache) == str(cache.path)


# Processes --------------------------------------------------------------------------------------------------


def sum_in_child(cache, queue):
    queue.put(float(cache.features([3, 8]).sum()))


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, whose threads the child does not use
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_reads_the_same(method, want, cache):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=sum_in_child, args=(cache, queue))
    child.start()
    assert queue.get(timeout=60) == float(want.features["pool"][[3, 8]].sum())
    child.join()
    assert child.exitcode == 0


def test_pickling_keeps_the_path_and_refuses_another_file(want, cache):
    data = pickle.dumps(cache)
    assert want.wrong(pickle.loads(data)) == []
    small(seed=5).publish(cache.path)
    with pytest.raises(IdentityError, match="was replaced since this object was pickled; open it again"):
        pickle.loads(data)
    assert want.wrong(cache) == []  # which has the old file open


def test_no_descriptor_is_left_behind(cache):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        FeatureCache(cache.path).arrays()
        with pytest.raises(IntegrityError):
            FeatureCache(flipped(cache.path, 5))
    assert len(os.listdir("/proc/self/fd")) <= before + 1


# Refusals ---------------------------------------------------------------------------------------------------


def test_names_that_do_not_exist(cache):
    with pytest.raises(UnknownNameError, match="holds no layer 'mixed_7'; did you mean 'mixed7'"):
        cache.features([0], "mixed_7")
    with pytest.raises(UnknownNameError, match="has no split 'trian'; did you mean 'train'"):
        cache.rows_of("trian")
    with pytest.raises(UnknownNameError, match="has no split 'unlabelled'; known: train, val, test, all"):
        cache.arrays("unlabelled")


def test_rows_that_do_not_exist_or_have_no_features(cache):
    for row in (-1, 13):
        with pytest.raises(UsageError, match=f"has no row {row}; its rows are 0 to 12"):
            cache.features([0, row])
    with pytest.raises(DataError, match=r"row 4 \(train/rose/004.jpg\) has no features, its image could not"):
        cache.features([3, 4])


def test_a_split_without_readable_images(tmp_path):
    want = small(2, quarantined={0: 1, 1: 1})
    with pytest.raises(DataError, match="no readable image in split 'train'"):
        want.publish(tmp_path / "a.h5").arrays("train")


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(MissingFileError, match=r"no cache .*b.h5; make one with: featcache extract DATASET"):
        FeatureCache(tmp_path / "b.h5")


def test_an_unfinished_file_says_how_far_it_is(want, tmp_path):
    target = tmp_path / "a.h5"
    with want.create(target) as writer:
        want.fill(writer, range(8))
        message = (
            r"a.h5 is not finished \(61 % complete\); run the same featcache extract command again to go on"
        )
        with pytest.raises(MissingFileError, match=message):
            FeatureCache(target)
        unfinished = FeatureCache(partial_path(target))
        np.testing.assert_array_equal(unfinished.features([2]), want.features["pool"][[2]])
        with pytest.raises(IntegrityError, match=r"a.partial.h5 is not finished \(61 % complete\)"):
            unfinished.arrays("test")
        with pytest.raises(IntegrityError, match="is not finished"):
            unfinished.mapped()
    partial_path(target).write_bytes(b"")
    with pytest.raises(MissingFileError, match=r"is not finished \(just begun\)"):
        FeatureCache(target)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"\n<!doctype html><p>404", r"it is a web page \(a failed download\?\)"),
        (b"\x89PNG\r\n\x1a\n....", "it is a PNG image"),
        (bytes(5000), r"it is zeros \(a failed copy\?\)"),
    ],
)
def test_files_that_are_no_cache(content, what, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"a.h5 is no featcache cache: {what}.*; {ADVICE}"):
        FeatureCache(path)


def test_a_folder_is_no_cache(tmp_path):
    with pytest.raises(DataError, match="is a folder; expected a cache, the file that"):
        FeatureCache(tmp_path)


def test_another_hdf5_file_is_no_cache(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(IntegrityError, match="is no featcache cache: it is an HDF5 file of something else"):
        FeatureCache(tmp_path / "a.h5")


def test_a_newer_version_asks_for_an_upgrade(cache):
    newer = cache.path.with_name("newer.h5")
    newer.write_bytes(cache.path.read_bytes().replace(b"featcache 1", b"featcache 3", 1))
    with pytest.raises(IntegrityError, match="version 3, this featcache reads up to 2: upgrade featcache"):
        FeatureCache(newer)


def relabel(file):
    file["rows/label"][3] = 2


def touch(file):
    file["rows/mtime_ns"][3] = 7


def rename_class(file):
    document = json.loads(file["identity"][()].tobytes())
    document["dataset"]["classes"][0] = "Daisy"
    del file["identity"]
    file["identity"] = np.frombuffer(json.dumps(document).encode(), np.uint8)


def annotate(file):
    file.attrs["note"] = "mine"


@pytest.mark.parametrize("edit", [relabel, touch, rename_class, annotate])
def test_a_file_edited_by_hand_is_refused(edit, cache):
    message = "the row table, the identity or HDF5's headers do not match their checksum: damaged or edited"
    with pytest.raises(IntegrityError, match=f"{message} by hand; {ADVICE}"):
        FeatureCache(rewritten(cache.path, edit))


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (3, "is no featcache cache: it is of no format that is known"),
        (10, "the header is damaged"),
        (30, "the header does not match its checksum"),
        (100, "the header does not match its checksum"),
    ],
)
def test_a_damaged_header(offset, message, cache):
    with pytest.raises(IntegrityError, match=message):
        FeatureCache(flipped(cache.path, offset))


def test_a_damaged_row_is_named_and_the_others_are_given(want, cache):
    damaged = FeatureCache(flipped(cache.path, offset_of(cache.path, "features/pool") + 5 * 96 + 17))
    np.testing.assert_array_equal(damaged.features([3, 6]), want.features["pool"][[3, 6]])
    np.testing.assert_array_equal(damaged.features([5], "mixed7"), want.features["mixed7"][[5]])
    with pytest.raises(
        IntegrityError,
        match=r"1 rows of layer pool are damaged, the first is row 5 \(train/tulip/005.jpg\); to compute "
        r"them again run: featcache cache repair .*flipped.h5, then the same featcache extract command",
    ):
        damaged.features([3, 5])


@pytest.mark.parametrize("row", [0, 4])
def test_a_damaged_status_cannot_make_a_row_appear_or_disappear(row, cache):
    """Row 0 has features, row 4 has none (status 2)."""
    for bit in range(8):
        damaged = FeatureCache(flipped(cache.path, offset_of(cache.path, "rows/status") + row, bit))
        for read in (damaged.rows_of, damaged.arrays, damaged.quarantined, damaged.to_numpy):
            if row == 4 and bit == 1 and read in (damaged.rows_of, damaged.quarantined):
                continue  # now says "has features", which reading them refutes
            with pytest.raises(IntegrityError, match=f"the first is row {row}"):
                read()


def test_a_file_shortened_while_open(want, cache):
    cache.path.chmod(0o644)
    os.truncate(cache.path, offset_of(cache.path, "features/pool") + 3 * 96 + 5)
    np.testing.assert_array_equal(cache.features([0, 2]), want.features["pool"][[0, 2]])
    with pytest.raises(IntegrityError, match="became shorter while it was open: it was truncated"):
        cache.features([3])
    with pytest.raises(IntegrityError, match="became shorter while it was open: it was truncated"):
        cache.mapped()


def test_a_file_that_may_not_be_read(cache, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match=r"cannot read .*a.h5: Permission denied \[errno 13, EACCES\]"):
        FeatureCache(cache.path)


def test_a_disk_that_fails_while_reading(cache, monkeypatch):
    def fail(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(
        StorageError, match=r"cannot read .*a.h5: Input/output error \[errno 5, EIO\]; the disk"
    ):
        cache.features([0])
