"""Groups and targets: columns that only some caches have."""

import hashlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.small_caches import Small, small

from featcache.cache import FeatureCache
from featcache.cache.layout import encode_ids, table_digest
from featcache.errors import IntegrityError

GROUPS = tuple(f"patient {i // 4}" if i % 5 else "" for i in range(13))
TARGETS = np.array([[i / 3, -i] for i in range(13)], np.float32)


def further(**columns) -> Small:
    """Return the small cache with more columns, as an extraction of a table with groups would write it."""
    plain = small()
    if "targets" in columns:
        columns["labels"] = np.full(len(plain.rows), -1, np.int32)
    return replace(plain, rows=replace(plain.rows, **columns))


@pytest.mark.parametrize(
    "columns", [{"groups": GROUPS}, {"targets": TARGETS}, {"groups": GROUPS, "targets": TARGETS}]
)
def test_columns_are_read_as_they_were_written(tmp_path, columns):
    want = further(**columns)
    cache = want.publish(tmp_path / "a.h5")
    assert want.wrong(cache) == []
    assert cache.groups == columns.get("groups")
    if "targets" in columns:
        assert cache.targets is not None
        np.testing.assert_array_equal(cache.targets, TARGETS)
    else:
        assert cache.targets is None
    with h5py.File(tmp_path / "a.h5") as file:
        assert sorted(set(file["rows"]) & {"group", "target"}) == sorted(name[:-1] for name in columns)


def test_an_interrupted_cache_goes_on_with_them(tmp_path):
    want = further(groups=GROUPS, targets=TARGETS)
    with want.create(tmp_path / "a.h5") as writer:
        want.fill(writer, range(6))
    cache = want.resume(tmp_path / "a.h5")
    assert want.wrong(cache) == []
    assert cache.groups == GROUPS


def test_a_cache_without_them_is_what_it_was(tmp_path):
    cache = small().publish(tmp_path / "a.h5")
    assert cache.groups is None
    assert cache.targets is None
    assert cache.task == "classes"
    assert cache.identity["rows"].keys() == {"count", "sha256"}


def test_they_are_in_the_digest_of_the_row_table():
    plain, own = small().rows.columns(), further(groups=GROUPS, targets=TARGETS).rows.columns()
    digest = hashlib.sha256()
    ids, groups = encode_ids(small().rows.ids), encode_ids(GROUPS)
    for header, column in (
        (f'["id",[13],{ids.dtype.itemsize}]', ids),
        ('["sha256",[13,32],1]', plain["sha256"]),
        ('["label",[13],4]', np.full(13, -1, "<i4")),
        ('["split",[13],2]', plain["split"]),
        (f'["group",[13],{groups.dtype.itemsize}]', groups),
        ('["target",[13,2],4]', TARGETS),
    ):
        digest.update(header.encode() + column.tobytes())
    assert table_digest(own) == digest.hexdigest() != table_digest(plain)


def test_a_flipped_bit_in_them_is_found(tmp_path):
    path = further(groups=GROUPS, targets=TARGETS).publish(tmp_path / "a.h5").path
    data = path.read_bytes()
    for column in (b"patient 1", TARGETS[3:5].tobytes()):
        damaged = bytearray(data)
        damaged[data.index(column)] ^= 1
        (tmp_path / "b.h5").write_bytes(damaged)
        with pytest.raises(
            IntegrityError, match="the row table, the identity or HDF5's headers do not match"
        ):
            FeatureCache(tmp_path / "b.h5")


def test_arrays_are_features_and_targets(tmp_path):
    want = further(targets=TARGETS)
    cache = want.publish(tmp_path / "a.h5")
    features, targets = cache.arrays("train")
    np.testing.assert_array_equal(targets, TARGETS[cache.rows_of("train")])
    np.testing.assert_array_equal(features, want.features["pool"][cache.rows_of("train")])


def test_exports_hold_them(tmp_path: Path):
    pq = pytest.importorskip("pyarrow.parquet")
    plain = further(groups=GROUPS, targets=TARGETS[:, :1].repeat(3, 1))
    cache = plain.publish(tmp_path / "a.h5")
    rows = cache.rows_of()
    with np.load(cache.to_npz(tmp_path / "a.npz")) as archive:
        np.testing.assert_array_equal(archive["target"], plain.rows.targets[rows])
        assert archive["group"].tolist() == [GROUPS[row] for row in rows]
    table = pq.read_table(cache.to_parquet(tmp_path / "a.parquet")).to_pydict()
    assert table["target/rose"] == TARGETS[rows, 0].tolist()
    assert table["group"] == [GROUPS[row] for row in rows]
    assert "label" not in table
