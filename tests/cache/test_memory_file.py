"""A file that is built in memory is what HDF5 would have written, and needs no memory for what nobody wrote."""

import io
import tracemalloc

import h5py
import numpy as np
import pytest
from helpers.small_caches import RECIPE, small
from hypothesis import given
from hypothesis import strategies as st

from featcache.cache import LayerSpec
from featcache.cache.create import build_image
from featcache.cache.header import changes
from featcache.cache.layout import build_identity, storage_plan
from featcache.cache.memory_file import MemoryFile
from featcache.core.disk import files as cache_files
from featcache.errors import StorageError

WRITES = st.lists(st.tuples(st.integers(0, 20000), st.binary(min_size=1, max_size=6000)), max_size=6)


@given(WRITES, WRITES, st.integers(0, 26000), st.integers(0, 9000))
def test_reads_are_those_of_a_file(writes, placed, offset, size):
    """Against `io.BytesIO`, which has every byte."""
    image, oracle = MemoryFile(), io.BytesIO()
    for position, content in writes:
        for file in (image, oracle):
            file.seek(position)
            file.write(content)
            assert file.tell() == position + len(content)
    assert image.seek(0, io.SEEK_END) == len(oracle.getvalue())
    image.truncate(30000)
    for position, content in placed:
        image.place(position, np.frombuffer(content, np.uint8))
        oracle.seek(position)
        oracle.write(content)
    expected = oracle.getvalue().ljust(35000, b"\0")
    image.seek(offset)
    assert image.read(size) == expected[offset : offset + size]
    ranges = [(0, 100), (offset, offset + size)]
    pieces = b"".join(content.tobytes() for _, content in image.pieces(ranges))
    assert pieces == expected[:100] + expected[offset : offset + size]


def test_features_need_no_memory_before_they_are_there():
    """2 PB of them, in a file whose every other byte is known."""
    want = small(5000)
    layers = {"map": LayerSpec((10**11,), "float32", RECIPE.fingerprint("map"))}
    identity = build_identity(recipe={}, layers=layers, dataset={}, rows=want.rows, provenance={})
    tracemalloc.start()
    image, header = build_image(identity, want.rows)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert image.size == header.size > 2 * 10**15
    assert most < 10**7


def test_hdf5_finds_every_dataset_where_the_header_says():
    want = small()
    image, header = build_image(want.identity, want.rows)
    plan = storage_plan(want.identity, want.rows.columns()["id"].dtype.itemsize)
    with h5py.File(image) as file:
        assert set(header.datasets) == {*plan, "identity"}
        for name, (offset, length) in header.datasets.items():
            assert (file[name].id.get_offset(), file[name].nbytes) == (offset, length)
        for name, column in want.rows.columns().items():
            np.testing.assert_array_equal(file[f"rows/{name}"], column)
        for name in filter(changes, plan):
            assert not file[name][()].any()


def test_a_disk_that_keeps_other_bytes_is_found_out(tmp_path, monkeypatch):
    """Every write succeeds, and the second changes a bit of what it was given."""
    write, calls = cache_files.os.pwrite, []

    def pwrite(descriptor, data, offset):
        calls.append(offset)
        changed = bytearray(data)
        changed[len(changed) // 2] ^= len(calls) == 2
        return write(descriptor, changed, offset)

    monkeypatch.setattr(cache_files.os, "pwrite", pwrite)
    with pytest.raises(
        StorageError, match=r"what was read back is not what was written .*look at the system's log"
    ):
        small().create(tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []
