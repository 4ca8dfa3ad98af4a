"""A folder's records, which are made when they are asked for, against the files that they stand for."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from featcache import open_dataset
from featcache.datasets.file_bytes import file_behind
from featcache.datasets.record_columns import columns_of

NAMES = (
    "train/cat/1.jpg",
    "train/cat/more/2.jpg",
    "train/dog/\udcff.jpg",
    "test/dog/3.jpg",
    "test/cat/é.jpg",
)


@pytest.fixture
def root(tmp_path) -> Path:
    for number, name in enumerate(NAMES):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (number + 1))
    (tmp_path / "photos" / "train" / "cat" / "gone.jpg").symlink_to("nowhere")
    for path in tmp_path.rglob("*.jpg"):
        if path.exists():
            os.utime(path, ns=(1, 1_000_000_007))
    return tmp_path / "photos"


def test_each_is_its_file(root):
    data = open_dataset(root)
    assert {record.id for record in data.records} == {*NAMES, "train/cat/gone.jpg"}
    for record in data.records:
        path = root / record.id
        assert file_behind(record.read) == str(path)
        split, label = record.id.split("/")[:2]
        assert (record.split, data.classes[record.label], record.group) == (split, label, "")
        if record.id.endswith("gone.jpg"):
            assert (record.size, record.mtime_ns, record.state) == (0, 0, b"")
        else:
            assert record.read() == path.read_bytes()
            assert (record.size, record.mtime_ns) == (path.stat().st_size, 1_000_000_007)


def test_they_are_a_sequence(root):
    records = open_dataset(root).records
    every = [*records]
    assert records == every
    assert [records[row] for row in range(-len(every), 0)] == every
    assert (records[1::2], records[::-1]) == (every[1::2], every[::-1])
    assert every[3] in records
    assert records.index(every[2]) == 2
    assert pickle.loads(pickle.dumps(records)) == records
    with pytest.raises(IndexError, match="out of range"):
        records[len(every)]


def test_their_columns_are_those_of_as_many_objects(root):
    data = open_dataset(root)
    own, want = data.columns, columns_of([*data.records])
    assert (own.split_names, own.groups) == (want.split_names, want.groups)
    assert own.ids == want.ids == [record.id for record in data.records]
    for name in ("labels", "split_of", "sizes", "mtimes_ns", "states", "has_state"):
        np.testing.assert_array_equal(getattr(own, name), getattr(want, name), err_msg=name)
    assert not own.has_state[own.ids.encoded.tolist().index(b"train/cat/gone.jpg")]
