"""Zip archives that claim to hold weights: very many entries, sizes that are not so, and any bytes changed."""

import io
import struct
import zipfile

import numpy as np
import pytest
from helpers.fuzz import ASKED, FULL, drawn_cases, fuzz
from helpers.torch_writer import checkpoint, example, one_tensor, read_bytes, zipped
from hypothesis import strategies as st

from featcache.backbones.weights.readers import read_tensors
from featcache.backbones.weights.zip_entries import MOST_OF_DIRECTORY, zip_entries
from featcache.errors import WeightsError

ENTRY = struct.Struct("<4s4B4HL2L5H2L")
END = struct.Struct("<4s4H2LH")
END_64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR_64 = struct.Struct("<4sLQL")


def archive(count: int, *, names: int = 7, zip64: bool = False) -> bytes:
    """A zip archive of a directory alone, of `count` entries that lie nowhere; written here, as no writer would."""
    head = ENTRY.pack(b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, names, 0, 0, 0, 0, 0, 0)
    start = b"PK\3\4" + bytes(26)
    directory = b"".join(head + f"{number:0{names}}".encode() for number in range(count))
    size, offset = len(directory), len(start)
    more = b""
    if zip64:
        at = offset + size
        more = END_64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
        more += LOCATOR_64.pack(b"PK\6\7", 0, at, 1)
        size = offset = 2**32 - 1
    return start + directory + more + END.pack(b"PK\5\6", 0, 0, count % 65536, count % 65536, size, offset, 0)


@pytest.mark.parametrize("zip64", [False, True])
def test_a_directory_of_very_many_entries_is_not_read(zip64, tmp_path, monkeypatch):
    """Whatever the count says: it is the bytes that take time."""
    path = tmp_path / "x.pth"
    path.write_bytes(archive(500_000, zip64=zip64))
    parsed = []
    monkeypatch.setattr(zipfile, "ZipInfo", lambda *given: parsed.append(given))
    said = r"x\.pth: its directory of entries has 26,500,000 bytes, and at most 2,097,152 are read; save the weights"
    with pytest.raises(WeightsError, match=said):
        read_tensors(path)
    assert parsed == []


def test_the_directory_of_a_real_network_is_far_below_the_limit():
    """Of 3,000 tensors: the largest network that is known here has 700."""
    tensors = {f"stages.3.blocks.26.long_name_{n}.weight": np.zeros(1, np.float32) for n in range(3000)}
    data = zipped(checkpoint(tensors))
    assert len(zip_entries(io.BytesIO(data))) == 3002
    assert MOST_OF_DIRECTORY > 5 * 3000 * 120
    assert len(read_bytes(data)) == 3000


BASES = [
    zipped(one_tensor()),
    zipped(checkpoint(example())),
    archive(3),
    archive(300, zip64=True),
    *([archive(39_000), archive(20_000, names=50)] if ASKED else []),
]
NUMBERS = [0, 1, 46, 255, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1]


@drawn_cases
def archives(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 4))):
        signature = draw(st.sampled_from([b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b""]))
        where = data.rfind(signature) if signature else draw(st.integers(0, len(data) - 1))
        where = max(0, where) + draw(st.integers(0, 55))
        number = draw(st.sampled_from(NUMBERS))
        width = draw(st.sampled_from([1, 2, 4, 8]))
        data[where : where + width] = (number % 256**width).to_bytes(width, "little")
    cut = draw(st.sampled_from([None, None, None, -1, -10, -30, 100]))
    return bytes(data[:cut])


def outcome(data: bytes) -> str:
    try:
        read_bytes(data)
    except WeightsError:
        return "refused"
    return "read"


def test_changed_archives_are_read_or_refused():
    fuzz("zip archives", archives(), outcome, 100)


@pytest.mark.slow
def test_many_changed_archives_are_read_or_refused():
    fuzz("zip archives", archives(), outcome, FULL)
