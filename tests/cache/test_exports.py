"""Exports hold the same values, and say so with libraries that know nothing of featcache."""

import sys

import numpy as np
import pytest
from helpers.small_caches import CLASSES, SPLITS, small

from featcache.errors import FeatcacheError, IntegrityError, StorageError, UsageError


@pytest.fixture
def want():
    return small()


@pytest.fixture
def cache(want, tmp_path):
    return want.publish(tmp_path / "a.h5")


def present(want):
    return [row for row in range(len(want.rows)) if row not in want.quarantined]


def test_a_numpy_archive(want, cache, tmp_path):
    path = cache.to_npz(tmp_path / "out.npz")
    rows = present(want)
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["features/pool"], want.features["pool"][rows])
        np.testing.assert_array_equal(archive["features/mixed7"], want.features["mixed7"][rows])
        assert archive["id"].tolist() == [want.rows.ids[row] for row in rows]
        assert archive["label"].tolist() == want.rows.labels[rows].tolist()
        assert archive["split"].tolist() == [SPLITS[want.rows.splits[row]] for row in rows]
        assert archive["sha256"].tolist() == want.rows.sha256[rows].tolist()
        assert archive["classes"].tolist() == list(CLASSES)


def test_a_parquet_table(want, cache, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an optional extra")
    table = parquet.read_table(cache.to_parquet(tmp_path / "out.parquet")).to_pydict()
    rows = present(want)
    assert table["id"][:2] == ["train/daisy/000.jpg", r"train/rose/caf\udce9.jpg"]
    assert table["class"] == [CLASSES[want.rows.labels[row]] for row in rows]
    assert table["label"] == want.rows.labels[rows].tolist()
    assert table["split"] == [SPLITS[want.rows.splits[row]] for row in rows]
    assert table["sha256"][0] == want.rows.sha256[0].tobytes().hex()
    np.testing.assert_array_equal(np.array(table["features/pool"], np.float32), want.features["pool"][rows])
    flat = want.features["mixed7"][rows].reshape(len(rows), -1)
    np.testing.assert_array_equal(np.array(table["features/mixed7"], np.float32), flat)


def test_parquet_without_pyarrow_says_what_to_install(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        FeatcacheError, match=r"needs pyarrow, .*pip install 'featcache\[parquet\]'"
    ) as caught:
        cache.to_parquet(tmp_path / "out.parquet")
    assert isinstance(caught.value, ImportError)


def test_an_export_that_fails_leaves_the_older_file(want, cache, tmp_path):
    path = cache.to_npz(tmp_path / "out.npz")
    before = path.read_bytes()
    cache.path.chmod(0o644)
    with cache.path.open("r+b") as stream:
        stream.seek(cache._stored.layout.offsets["features/pool"])
        stream.write(b"\xff")
    with pytest.raises(IntegrityError, match="1 rows of layer pool are damaged"):
        cache.to_npz(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "out.npz"]


def test_where_it_cannot_go(cache, tmp_path):
    with pytest.raises(UsageError, match=r"output .*out.zip must end in .npz"):
        cache.to_npz(tmp_path / "out.zip")
    with pytest.raises(StorageError, match=r"cannot write .*out.npz: No such file or directory"):
        cache.to_npz(tmp_path / "nowhere" / "out.npz")
