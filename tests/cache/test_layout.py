"""The bytes of format v1, against h5py alone and a CRC computed bit by bit."""

import hashlib
import json
import struct
import zlib

import h5py
import numpy as np
import pytest
from helpers.small_caches import small
from hypothesis import given
from hypothesis import strategies as st

from featcache.cache.checksums import block_crcs, row_crc, row_crcs
from featcache.cache.layout import (
    LayerSpec,
    encode_ids,
    needed_bytes,
    partial_path,
    table_digest,
)
from featcache.core.columns.name_column import decode_ids

FINGERPRINT = "00ff" * 16


def crc32_bit_by_bit(data: bytes) -> int:
    """CRC-32 as ISO 3309 defines it (reflected polynomial 0xEDB88320), without tables or zlib."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@given(st.binary(max_size=40), st.integers(0, 2**40), st.integers(0, 255))
def test_a_rows_checksum_is_that_of_fingerprint_row_number_status_and_bytes(row, index, status):
    header = bytes.fromhex(FINGERPRINT) + struct.pack("<qB", index, status)
    assert row_crc(row, FINGERPRINT, index, status) == (crc32_bit_by_bit(header + row) or 1)


def test_checksums_of_many_rows_are_those_of_each():
    rows = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float16)
    numbers = [7, 0, 2**33, 1, 3]
    expected = [row_crc(row.tobytes(), FINGERPRINT, i, 0) for row, i in zip(rows, numbers, strict=True)]
    assert row_crcs(rows, FINGERPRINT, numbers).tolist() == expected
    assert row_crcs(rows[:0], FINGERPRINT, []).shape == (0,)


def test_a_checksum_depends_on_place_layer_and_status():
    row = b"\1\2\3"
    base = row_crc(row, FINGERPRINT, 1, 0)
    assert base != row_crc(row, FINGERPRINT, 2, 0)
    assert base != row_crc(row, FINGERPRINT, 1, 1)
    assert base != row_crc(row, "01" * 32, 1, 0)


def test_a_checksum_is_never_zero():
    """Four bytes can give a CRC any value; these give it 0."""
    seed = zlib.crc32(bytes.fromhex(FINGERPRINT) + struct.pack("<qB", 7, 0))
    changes = {bit: zlib.crc32((1 << bit).to_bytes(4, "little"), seed) for bit in range(32)}
    nothing = zlib.crc32(bytes(4), seed)
    bits = solve_over_gf2([changes[bit] ^ nothing for bit in range(32)], nothing)
    row = sum(1 << bit for bit in bits).to_bytes(4, "little")
    assert zlib.crc32(row, seed) == 0
    assert row_crc(row, FINGERPRINT, 7, 0) == 1
    assert row_crcs(np.frombuffer(row, np.float32).reshape(1, 1), FINGERPRINT, [7]).tolist() == [1]


def solve_over_gf2(vectors: list[int], wanted: int) -> list[int]:
    """Which of the vectors have `wanted` as their XOR."""
    basis: dict[int, tuple[int, int]] = {}  # leading bit -> (vector, which were combined)

    def reduced(vector, chosen):
        while vector and vector.bit_length() in basis:
            other, theirs = basis[vector.bit_length()]
            vector, chosen = vector ^ other, chosen ^ theirs
        return vector, chosen

    for number, vector in enumerate(vectors):
        rest, chosen = reduced(vector, 1 << number)
        if rest:
            basis[rest.bit_length()] = (rest, chosen)
    rest, chosen = reduced(wanted, 0)
    assert rest == 0
    return [number for number in range(len(vectors)) if chosen >> number & 1]


@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(0, 2**62),
    st.booleans(),
)
def test_the_checksums_of_rows_give_the_checksum_of_their_block(count, width, step, first, shuffled):
    random = np.random.default_rng(count * width)
    rows = random.integers(0, 256, (count, width), np.uint8)
    numbers = first + random.permutation(count) if shuffled else first + np.arange(count)
    stored = np.array(
        [row_crc(r.tobytes(), FINGERPRINT, int(n), 0) for r, n in zip(rows, numbers, strict=True)]
    )
    expected = [crc32_bit_by_bit(rows[i : i + step].tobytes()) for i in range(0, count, step)]
    found = block_crcs(stored.astype(np.uint32), FINGERPRINT, numbers, width, step)
    assert found.tolist() == expected


def test_bare_h5py_reads_everything(tmp_path):
    want = small()
    want.publish(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["format"] == "featcache"
        assert file.attrs["format_version"] == 1
        assert json.loads(file["identity"][()].tobytes()) == want.identity
        present = [row for row in range(len(want.rows)) if row not in want.quarantined]
        for name, values in want.features.items():
            dataset = file[f"features/{name}"]
            assert dataset.chunks is None
            assert dataset.dtype == np.dtype("<f4")
            np.testing.assert_array_equal(dataset[()][present], values[present])
            assert np.isnan(dataset[()][list(want.quarantined)]).all()
            fingerprint = bytes.fromhex(want.layers[name].fingerprint)
            for row in range(len(want.rows)):
                status = want.quarantined.get(row, 0)
                body = b"" if status else values[row].tobytes()
                crc = crc32_bit_by_bit(fingerprint + struct.pack("<qB", row, status) + body)
                assert file[f"crc32/{name}"][row] == crc
        assert file["rows/label"][()].tolist() == want.rows.labels.tolist()
        assert file["rows/split"][()].tolist() == want.rows.splits.tolist()
        assert file["rows/sha256"][()].tolist() == want.rows.sha256.tolist()
        assert file["rows/status"][()].tolist() == [want.quarantined.get(r, 0) for r in range(len(want.rows))]
        assert file["rows/id"][1] == b"train/rose/caf\xe9.jpg"


def test_the_row_table_digest_is_as_documented(tmp_path):
    want = small()
    digest = hashlib.sha256()
    ids = encode_ids(want.rows.ids)
    for header, column in (
        (f'["id",[13],{ids.dtype.itemsize}]', ids),
        ('["sha256",[13,32],1]', want.rows.sha256),
        ('["label",[13],4]', want.rows.labels),
        ('["split",[13],2]', want.rows.splits),
    ):
        digest.update(header.encode() + column.tobytes())
    assert want.identity["rows"]["sha256"] == digest.hexdigest()


def test_the_row_table_digest_depends_on_what_identifies_an_image():
    columns = small().rows.columns()
    for name in columns:
        changed = {**columns, name: columns[name].copy()}
        changed[name].view(np.uint8).reshape(-1)[5] ^= 1
        assert (table_digest(changed) == table_digest(columns)) == (name in ("size", "mtime_ns"))


def test_the_header_can_be_read_and_checked_with_a_few_lines(tmp_path):
    path = small().publish(tmp_path / "a.h5").path
    data = path.read_bytes()
    first, check, body, _ = data.split(b"\n", 3)
    assert first == b"featcache 1"
    assert hashlib.sha256(body).hexdigest().encode() == check
    header = json.loads(body)
    assert header["size"] == len(data)
    assert data[header["start"] :].startswith(b"\x89HDF\r\n\x1a\n")
    assert not any(data[len(first + check + body) + 3 : header["start"]])
    with h5py.File(path) as file:
        for name, (offset, length) in header["datasets"].items():
            assert file[name].id.get_offset() == offset
            assert data[offset : offset + length] == file[name][()].tobytes()
    constant = bytearray(data)
    changing = [span for name, span in header["datasets"].items() if name.startswith(("features/", "crc32/"))]
    for offset, length in sorted([*changing, header["datasets"]["rows/status"]], reverse=True):
        del constant[offset : offset + length]
    assert hashlib.sha256(constant[header["start"] :]).hexdigest() == header["sha256"]


def test_the_header_grows_with_the_layers(tmp_path):
    want = small(3, shapes={f"block_{i}_with_quite_a_long_name:avg": (2,) for i in range(60)}, quarantined={})
    cache = want.publish(tmp_path / "a.h5")
    assert want.wrong(cache) == []
    with h5py.File(cache.path) as file:
        assert file.userblock_size == 16384


def test_a_cache_without_rows(tmp_path):
    cache = small(0, quarantined={}).publish(tmp_path / "a.h5")
    assert len(cache) == 0
    assert cache.to_numpy().shape == (0, 24)


@given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda b: b"\0" not in b), min_size=1))
def test_ids_survive_whatever_bytes_the_file_system_allows(names):
    ids = tuple(name.decode("utf-8", "surrogateescape") for name in names)
    assert decode_ids(encode_ids(ids)) == ids


def test_large_datasets_start_on_a_page_and_the_size_is_estimated(tmp_path):
    want = small(1100, shapes={"pool": (32,)})
    cache = want.publish(tmp_path / "a.h5")
    with h5py.File(cache.path) as file:
        for name in ("features/pool", "crc32/pool", "rows/id", "rows/sha256"):
            assert file[name].id.get_offset() % 4096 == 0
    estimate = needed_bytes(want.identity, encode_ids(want.rows.ids).dtype.itemsize)
    assert estimate * 0.6 < cache.nbytes <= estimate


@pytest.mark.parametrize(
    ("shape", "dtype", "size"), [((1280,), "float32", 5120), ((7, 7, 2), "float16", 196)]
)
def test_a_layer_knows_the_bytes_of_a_row(shape, dtype, size):
    spec = LayerSpec(shape, dtype, FINGERPRINT)
    assert spec.row_bytes == size
    assert LayerSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_unfinished_file_has_its_own_name(tmp_path):
    assert partial_path(tmp_path / "flowers.h5") == tmp_path / "flowers.partial.h5"
