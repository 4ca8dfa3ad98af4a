"""One CRC-32 per row, and the check of many rows at once against their checksums.

The checksum of a row is the CRC-32 of a header (fingerprint of the layer, row number, status) followed by the
row's bytes, with 1 in place of 0, which means that the row is absent. A row in the wrong place, of the wrong
layer or of another recipe therefore fails like a damaged one.

zlib checks 5 KB at a time at half the speed of a megabyte, and keeps Python's lock meanwhile. But CRC-32 is
linear: with ``S_n(c)`` for what n zero bytes make of a CRC c (linear in c),

    crc(a + b) = S_len(b)(crc(a)) ^ crc(b).

So the CRCs that rows should have give the CRC that a block of them should have, and one call checks the whole block;
only if it disagrees are its rows checked one by one.
"""

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

PRESENT = 0
"""Status of a row that has features; any other value is 1 + an index into `QUARANTINE_REASONS`."""

_PLACE = struct.Struct("<qB")


def row_crc(row: bytes | memoryview, fingerprint: str, index: int, status: int) -> int:
    """Return the checksum stored for a row; never 0."""
    return zlib.crc32(row, zlib.crc32(bytes.fromhex(fingerprint) + _PLACE.pack(index, status))) or 1


def row_crcs(rows: np.ndarray, fingerprint: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return uint32 ``[n]`` checksums of present rows ``[n, …]`` at their indices in the file."""
    if not len(rows):
        return np.zeros(0, np.uint32)
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    seeds = _seeds(fingerprint, np.asarray(indices, np.int64)).tolist()
    crc32 = zlib.crc32
    return np.array([crc32(row.data, seed) or 1 for row, seed in zip(flat, seeds, strict=True)], np.uint32)


def quarantined_crcs(statuses: np.ndarray, fingerprint: str, indices: np.ndarray) -> np.ndarray:
    """Return uint32 ``[n]`` checksums of rows without features: over no bytes, so over their status alone."""
    pairs = zip(indices.tolist(), statuses.tolist(), strict=True)
    return np.array([row_crc(b"", fingerprint, index, status) for index, status in pairs], np.uint32)


def block_crcs(
    stored: np.ndarray, fingerprint: str, indices: np.ndarray, row_bytes: int, step: int
) -> np.ndarray:
    """Return the plain CRC-32 that each block of rows has if every row in it has its stored checksum.

    Parameters
    ----------
    stored
        uint32 ``[n]``: the rows' checksums.
    fingerprint, indices
        Of the checksums; the rows are taken to be present.
    row_bytes
        Bytes of one row.
    step
        Rows in a block; the last one may be shorter.

    Returns
    -------
    numpy.ndarray
        uint32 ``[ceil(n / step)]``.
    """
    if not len(stored):
        return np.zeros(0, np.uint32)
    # stored = S(seed) ^ crc(row), hence the CRC that the bytes of each row alone should have.
    shift = _shift_tables(row_bytes)
    alone = stored ^ _apply(shift, _seeds(fingerprint, indices))
    # Neighbours are joined, then neighbours of these, in as many turns as a block has doublings. Nothing before a row
    # is the CRC 0 of no bytes, so that a block is filled up in front.
    width = 1 << (step - 1).bit_length()
    joined = np.zeros((-(-len(alone) // step), width), np.uint32)
    whole = len(alone) // step
    joined[:whole, width - step :] = alone[: whole * step].reshape(whole, step)
    if rest := len(alone) - whole * step:
        joined[whole, width - rest :] = alone[whole * step :]
    while joined.shape[1] > 1:
        joined = _apply(shift, joined[:, 0::2]) ^ joined[:, 1::2]
        shift = _twice(shift)
    return joined[:, 0]


def _seeds(fingerprint: str, indices: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of fingerprint, row number and status "present" of many rows: the XOR of a table per byte."""
    start = zlib.crc32(bytes.fromhex(fingerprint))
    seeds = np.full(len(indices), zlib.crc32(_PLACE.pack(0, PRESENT), start), np.uint32)
    for place, table in enumerate(_place_tables()):
        digits = indices >> 8 * place & 255
        if digits.any():
            seeds ^= table[digits]
    return seeds


@lru_cache(maxsize=1)
def _place_tables() -> tuple[np.ndarray, ...]:
    """Return, for each byte of a row number, the change of the header's CRC by that byte's value."""
    nothing = zlib.crc32(_PLACE.pack(0, PRESENT))
    changes = [
        [zlib.crc32(struct.pack("<QB", value << 8 * place, PRESENT)) ^ nothing for value in range(256)]
        for place in range(8)
    ]
    return tuple(np.array(row, np.uint32) for row in changes)


@lru_cache(maxsize=32)
def _shift_tables(length: int) -> np.ndarray:
    """Return the tables uint32 ``[4, 256]`` of ``S_length``, one for each byte of the CRC that it is applied to."""
    zeros = bytes(length)
    nothing = zlib.crc32(zeros)
    return _tables_of([zlib.crc32(zeros, 1 << bit) ^ nothing for bit in range(32)])


def _twice(tables: np.ndarray) -> np.ndarray:
    """Return the tables of ``S_2n``, which is ``S_n`` after ``S_n``, from those of ``S_n``."""
    bits = np.arange(32)
    return _tables_of(_apply(tables, tables[bits // 8, 1 << bits % 8]).tolist())


def _tables_of(images: Sequence[int]) -> np.ndarray:
    """Return the tables of a linear map from the images of the 32 bits."""
    tables = np.zeros((4, 256), np.uint32)
    for bit, image in enumerate(images):
        tables[bit // 8, np.arange(256) >> bit % 8 & 1 == 1] ^= np.uint32(image)
    return tables


def _apply(tables: np.ndarray, crcs: np.ndarray) -> np.ndarray:
    result = tables[0][crcs & 255]
    for place in range(1, 4):
        result ^= tables[place][crcs >> 8 * place & 255]
    return result
