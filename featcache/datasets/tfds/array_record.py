"""What ArrayRecord files say that their pieces take when they are unpacked, before a library believes it.

ArrayRecord is a file of Riegeli: blocks of 64 KiB, each behind a header of its own, and through them a row of chunks,
each behind a header that says how large it is packed and unpacked. A chunk is unpacked whole, whatever it says: 197 kB
took 1.2 GB and 37 s.

References
----------
https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from featcache.core.disk.names import open_regular_file
from featcache.errors import DataError

MOST_UNPACKED = 2**26
"""Bytes that a chunk may take however small it is packed: TFDS packs one example in each."""
MOST_FOLD = 100
_BLOCK, _BLOCK_HEADER = 2**16, 24
_DATA = _BLOCK - _BLOCK_HEADER
_CHUNK = struct.Struct(
    "<5Q"
)  # hash of the header, size of the data, their hash, type and records, size unpacked


def require_small_chunks(path: Path) -> None:
    """Refuse a file of which a piece takes far more than it is; damage is left for ArrayRecord to find.

    Raises
    ------
    DataError
        Naming the place.
    OSError
        If it cannot be opened.
    """
    for place, packed, unpacked in _chunks(path):
        if unpacked > max(MOST_UNPACKED, MOST_FOLD * packed):
            raise DataError(
                f"cannot read {path}: the {packed:,} bytes at byte {place:,} take {unpacked:,} when they are unpacked. "
                "The file was made to do harm: prepare the dataset again"
            )


def _chunks(path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield place, packed size and unpacked size of the chunks of a file, as long as they make sense."""
    descriptor, status = open_regular_file(str(path))
    try:
        at = 0  # counted without the blocks' headers
        while True:
            place = at // _DATA * _BLOCK + _BLOCK_HEADER + at % _DATA
            if place >= status.st_size:
                return
            piece = os.pread(descriptor, _CHUNK.size + _BLOCK_HEADER, place)
            before = (
                _BLOCK - place % _BLOCK
            )  # bytes to the next block, whose header may be within that of the chunk
            head = piece[:before] + piece[before + _BLOCK_HEADER :]
            if len(head) < _CHUNK.size:
                return
            _, packed, _, _, unpacked = _CHUNK.unpack(head[: _CHUNK.size])
            yield place, packed, unpacked
            at += _CHUNK.size + packed
    finally:
        os.close(descriptor)
