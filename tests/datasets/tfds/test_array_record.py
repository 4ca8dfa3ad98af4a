"""The sizes that ArrayRecord files state are those of what was written; those that are far too large are refused."""

import contextlib
import random
from pathlib import Path

import pytest

from featcache.datasets.tfds.array_record import MOST_UNPACKED, _chunks, require_small_chunks
from featcache.errors import DataError

array_record = pytest.importorskip(
    "array_record.python.array_record_module", reason="array_record is not installed"
)


def write(path: Path, records: list[bytes]) -> Path:
    writer = array_record.ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    return path


def test_the_sizes_are_those_of_the_records(tmp_path):
    """Over many blocks, at whose ends a chunk's header may be cut in two."""
    chance = random.Random(0)
    records = [chance.randbytes(chance.choice([1, 50, 3000, 70_000])) for _ in range(2000)]
    path = write(tmp_path / "a.array_record", records)
    found = [unpacked for _, _, unpacked in _chunks(path) if unpacked]
    assert found[: len(records)] == [len(record) for record in records]
    require_small_chunks(path)


def test_a_record_that_is_large_inside_is_refused_before_it_is_unpacked(tmp_path):
    path = write(tmp_path / "a.array_record", [b"small", bytes(MOST_UNPACKED + 1), b"small"])
    assert path.stat().st_size < 200_000
    with pytest.raises(
        DataError, match=r"a\.array_record: the [\d,]+ bytes at byte [\d,]+ take 67,108,86\d when"
    ):
        require_small_chunks(path)


def test_damage_is_left_to_the_reader(tmp_path):
    whole = write(tmp_path / "a.array_record", [b"x" * 5000] * 9).read_bytes()
    chance = random.Random(1)
    for cut in (0, 10, 63, 70, len(whole) // 2):
        (tmp_path / "a.array_record").write_bytes(whole[:cut])
        require_small_chunks(tmp_path / "a.array_record")
    for _ in range(200):
        (tmp_path / "a.array_record").write_bytes(whole[:64] + chance.randbytes(40) + whole[104:])
        with contextlib.suppress(DataError):
            require_small_chunks(tmp_path / "a.array_record")
