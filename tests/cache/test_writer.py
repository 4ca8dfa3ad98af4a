"""Creating, filling, resuming and publishing."""

import errno
import os
import stat
import subprocess
import sys
import warnings

import numpy as np
import pytest
from helpers.small_caches import small

from featcache.cache import CacheWriter, FeatureCache, partial_path
from featcache.cache import writer as writing
from featcache.core.disk import files as cache_files
from featcache.core.disk import storage
from featcache.errors import IntegrityError, StorageError, UsageError


def test_a_published_cache_holds_what_was_written(tmp_path):
    want = small()
    cache = want.publish(tmp_path / "deep" / "a.h5")
    assert want.wrong(cache) == []
    assert not partial_path(cache.path).exists()
    assert sorted(path.name for path in cache.path.parent.iterdir()) == ["a.h5"]
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o444


def test_what_others_may_not_read_stays_so(tmp_path):
    before = os.umask(0o077)
    try:
        cache = small().publish(tmp_path / "a.h5")
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o400


def test_rows_may_come_in_any_order(tmp_path):
    want = small(30)
    order = np.random.default_rng(1).permutation(30)
    with want.create(tmp_path / "a.h5") as writer:
        want.fill(writer, order, block=7)
        assert want.wrong(writer.publish()) == []


def test_half_precision_is_stored_rounded(tmp_path):
    want = small(dtype="float16")
    cache = want.publish(tmp_path / "a.h5")
    assert cache.features([0], "pool").dtype == np.float16
    assert want.wrong(cache) == []


def test_an_unfinished_cache_is_not_published(tmp_path):
    want = small()
    with want.create(tmp_path / "a.h5") as writer:
        want.fill(writer, range(12))
        with pytest.raises(IntegrityError, match=r"1 of 13 rows are missing or damaged \(first: 12\)"):
            writer.publish()
    assert not (tmp_path / "a.h5").exists()
    assert want.wrong(want.resume(tmp_path / "a.h5")) == []


def test_resuming_verifies_every_row_and_computes_the_others(tmp_path):
    want = small()
    target = tmp_path / "a.h5"
    with want.create(target) as writer:
        want.fill(writer, range(9))
        offset = writer._offsets["features/mixed7"] + 2 * 3 * 5 * 4
    with partial_path(target).open("r+b") as stream:  # row 2, as a power cut might leave it
        stream.seek(offset + 8)
        stream.write(b"\0\0\0\0")
    with CacheWriter.resume(target) as writer:
        # Quarantined rows are tried again.
        assert np.flatnonzero(~writer.done()).tolist() == [2, 4, 7, 9, 10, 11, 12]
    assert want.wrong(want.resume(target)) == []


def test_a_quarantined_row_that_can_be_read_after_all_gets_its_features(tmp_path):
    before, after = small(quarantined={4: 2, 7: 6}), small(quarantined={4: 2})
    target = tmp_path / "a.h5"
    with before.create(target) as writer:
        before.fill(writer)
    assert after.wrong(after.resume(target)) == []


def test_nothing_to_resume(tmp_path):
    assert CacheWriter.resume(tmp_path / "a.h5") is None
    for leftover in (b"", b"<html>not found</html>", bytes(4096)):
        partial_path(tmp_path / "a.h5").write_bytes(leftover)
        assert CacheWriter.resume(tmp_path / "a.h5") is None
    assert small().wrong(small().resume(tmp_path / "a.h5")) == []


def test_an_unfinished_cache_with_a_damaged_row_table_is_made_anew(tmp_path):
    want = small()
    target = tmp_path / "a.h5"
    want.create(target).close()
    data = bytearray(partial_path(target).read_bytes())
    data[data.index(b"train/daisy/003.jpg")] ^= 1
    partial_path(target).write_bytes(data)
    assert CacheWriter.resume(target) is None
    assert want.wrong(want.resume(target)) == []


@pytest.mark.skipif(
    not hasattr(os, "setuid") or os.getuid() != 0, reason="needs root, to become somebody else"
)
def test_a_kill_between_read_only_and_the_final_name_loses_nothing(tmp_path):
    """As a user who is not root: root may write read-only files."""
    want = small()
    target = tmp_path / "a.h5"
    with want.create(target) as writer:
        want.fill(writer)
    partial_path(target).chmod(0o444)
    for path in (tmp_path, partial_path(target)):
        os.chown(path, 65534, 65534)
    code = (
        "import os, sys; from pathlib import Path; from featcache.cache import CacheWriter; import h5py\n"
        "os.setuid(65534)\n"
        "with CacheWriter.resume(Path('a.h5')) as writer:\n"
        "    print(int(writer.done().sum())); writer.publish()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.stdout == "11\n", run.stderr
    assert want.wrong(FeatureCache(target)) == []


def test_a_file_that_cannot_be_opened_is_not_taken_for_nothing(tmp_path, monkeypatch):
    want = small()
    want.create(tmp_path / "a.h5").close()

    def refuse(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(cache_files.os, "open", refuse)
    with pytest.raises(
        StorageError, match=r"cannot read .*a.partial.h5: Input/output error \[errno 5, EIO\]"
    ):
        CacheWriter.resume(tmp_path / "a.h5")


def test_overflow_names_image_layer_and_what_to_do(tmp_path):
    want = small(dtype="float16")
    values = {name: array.copy() for name, array in want.features.items()}
    values["mixed7"][3, 1, 2] = 70000.0
    with want.create(tmp_path / "a.h5") as writer:
        with pytest.raises(
            UsageError,
            match=r"layer mixed7, row 3 \(train/daisy/003.jpg\): a value of 70000 does not fit float16; "
            "use --dtype float32",
        ):
            writer.write([2, 3], {name: array[2:4] for name, array in values.items()})
        assert not writer.done().any()  # not even the other layer's rows


def test_what_is_not_finite_is_refused(tmp_path):
    want = small()
    values = {name: array[:1].copy() for name, array in want.features.items()}
    values["pool"][0, 0] = np.nan
    with (
        want.create(tmp_path / "a.h5") as writer,
        pytest.raises(
            UsageError, match=r"layer pool, row 0 .*nan does not fit float32: the network's output"
        ),
    ):
        writer.write([0], values)


def test_rows_and_shapes_that_do_not_fit_are_refused(tmp_path):
    want = small()
    with want.create(tmp_path / "a.h5") as writer:
        for row in (-1, 13):
            with pytest.raises(UsageError, match=f"has rows 0 to 12, not {row} to {row}"):
                writer.write([row], {name: values[:1] for name, values in want.features.items()})
            with pytest.raises(UsageError, match="has rows 0 to 12"):
                writer.quarantine(row, 1)
        with pytest.raises(UsageError, match=r"layer pool: features of shape \(1, 23\), expected \(1, 24\)"):
            writer.write([0], {"pool": np.zeros((1, 23)), "mixed7": np.zeros((1, 3, 5))})


def test_publishing_replaces_and_open_readers_keep_the_old_file(tmp_path):
    old, new = small(seed=1), small(17, seed=2)
    target = tmp_path / "a.h5"
    reader = old.publish(target)
    mapped = reader.mapped("pool")
    assert new.wrong(new.publish(target)) == []
    assert old.wrong(reader) == []
    np.testing.assert_array_equal(mapped[0], old.features["pool"][0])


def test_a_full_disk_is_noticed_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "free_bytes", lambda folder: 1000)
    with pytest.raises(
        StorageError,
        match=r"\[errno 28, ENOSPC\]; free some space \(needs .* kB, has 1.0 kB\), or write elsewh",
    ):
        small().create(tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_reservation_or_fsync_still_works(tmp_path, monkeypatch):
    def unsupported(*args):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(cache_files.os, "posix_fallocate", unsupported)
    monkeypatch.setattr(cache_files.os, "fsync", unsupported)
    want = small()
    with pytest.warns(
        RuntimeWarning, match="cannot fsync: rows survive a kill of featcache, not a power cut"
    ):
        cache = want.publish(tmp_path / "a.h5")
    assert want.wrong(cache) == []


def test_rows_are_synced_every_few_seconds(tmp_path, monkeypatch):
    now = [100.0]
    calls = []
    monkeypatch.setattr(writing.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(writing, "sync_file", lambda descriptor: calls.append(now[0]) or True)
    want = small()
    with want.create(tmp_path / "a.h5") as writer:
        for second in range(13):
            now[0] = 100.0 + second
            want.fill(writer, [second])
    assert calls == [106.0, 112.0, 112.0]  # and once when it ends, for whatever reason


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StorageError, match=r"cannot write .*file/a.partial.h5: (Not a directory|File exists)"
    ):
        small().create(tmp_path / "file" / "a.h5")


def test_writing_the_same_twice_warns_about_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        want = small()
        want.publish(tmp_path / "a.h5")
        want.publish(tmp_path / "a.h5")
