"""A log of JSON lines: what was appended is read, half a line is no record, damage is named."""

import binascii
import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from featcache.core.disk import jsonl
from featcache.core.disk.jsonl import append_records, mend_end, read_records, rewrite_records
from featcache.core.documents.kinds import Record, Whole
from featcache.errors import IntegrityError

RECORDS = [
    {"id": "a", "value": 1.5},
    {"id": "ü\udce4\n", "value": None},
    {"id": "c", "deep": {"x": [1, "}"]}},
]
DAMAGED = "{path}: line {line} is bad; delete it"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log {x}.jsonl"


def read(path, **options):
    return read_records(path, damaged=DAMAGED, **options)


def test_records_come_back_in_order(path):
    assert read(path) == []
    append_records(path, RECORDS[:1])
    append_records(path, [])
    append_records(path, RECORDS[1:])
    assert read(path) == RECORDS
    found = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    for values, line in zip(RECORDS, found, strict=True):
        # Computed anew: of the compact JSON with sorted keys.
        text = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
        assert line == {**values, "checksum": f"crc32:{binascii.crc32(text):08x}"}
    rewrite_records(path, RECORDS[::-1])
    assert read(path) == RECORDS[::-1]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_wherever_the_last_line_is_cut_off_the_ones_before_are_read_and_the_next_is_whole(path):
    append_records(path, RECORDS)
    content = path.read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(content) + 1):
        path.write_bytes(content[:end])
        whole = RECORDS if end >= len(content) - 1 else RECORDS[:2]
        assert read(path) == whole
        mend_end(path)
        append_records(path, [{"id": "next"}])
        assert read(path) == [*whole, {"id": "next"}]


@pytest.mark.parametrize("hole", [(10, 3), (25, 60), (0, 2), (100, 1)])
def test_lines_that_lost_a_block_in_a_power_cut_are_none_and_the_others_stay(path, hole):
    """Of several lines that are appended at once, any blocks may have reached the disk."""
    append_records(path, [{"id": number} for number in range(4)])
    durable = path.read_bytes()
    append_records(path, [{"id": number, "note": "x" * 20} for number in range(4, 9)])
    content = bytearray(path.read_bytes())
    start = len(durable) + hole[0]
    content[start : start + hole[1]] = bytes(hole[1])
    path.write_bytes(content)
    kept = [record["id"] for record in read(path)]
    assert kept[:4] == [0, 1, 2, 3]
    assert 6 <= len(kept) < 9
    mend_end(path)
    append_records(path, [{"id": 9}])
    assert [record["id"] for record in read(path)] == [*kept, 9]
    assert b"\0" not in path.read_bytes()


@pytest.mark.parametrize("torn", [b"{", b"\x00\x00\x00", b'{"note": "\xc3', b"3", b'"', b"[1]"])
def test_what_is_no_object_at_the_end_is_dropped(path, torn):
    for before in (b"", b'{"id": 1}\n'):
        path.write_bytes(before + torn)
        assert len(read(path)) == bool(before)
        mend_end(path)
        assert path.read_bytes() == before


def test_mending_what_is_whole_or_not_there_changes_nothing(path):
    mend_end(path)
    assert not path.exists()
    for content in (b"", b'{"id": 1}\n'):
        path.write_bytes(content)
        state = path.stat()
        mend_end(path)
        assert path.read_bytes() == content
        assert path.stat().st_ino == state.st_ino


@pytest.mark.parametrize("bad", [b"{broken", b"", b"3", b'{"other": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_line_is_named(path, bad):
    path.write_bytes(b'{"id": 1}\n' + bad + b'\n{"id": 2}\n')
    with pytest.raises(IntegrityError, match=r"log \{x\}\.jsonl: line 2 is bad; delete it$"):
        read(path, content=Record({"id": Whole()}))


def test_an_append_that_fails_leaves_no_half_line(path, monkeypatch):
    append_records(path, RECORDS[:1])
    write = os.write

    def full(descriptor, content):
        monkeypatch.setattr(os, "write", refuse)
        return write(descriptor, content[:7])

    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for place, name, fails in ((os, "write", full), (jsonl, "sync_file", refuse)):
        monkeypatch.setattr(place, name, fails)
        with pytest.raises(OSError, match="No space left"):
            append_records(path, RECORDS[1:])
        monkeypatch.undo()
        assert read(path) == RECORDS[:1]
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:5]))
    append_records(path, RECORDS[1:])
    assert read(path) == RECORDS, "a system call may write less than asked"


def test_killed_while_appending(path):
    """A record that is appended is there, and so is at most one that was being appended."""
    program = (
        "import sys; from pathlib import Path; from featcache.core.disk.jsonl import append_records\n"
        "for n in range(10**6):\n"
        "    append_records(Path(sys.argv[1]), [{'n': n, 'text': 'x' * 5000}])\n"
        "    print(n, flush=True)"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for _ in range(20):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        told = 20 + len(child.stdout.read().splitlines())
    mend_end(path)
    append_records(path, [{"n": "next"}])
    *records, last = read(path)
    assert last == {"n": "next"}
    assert [record["n"] for record in records] in ([*range(told)], [*range(told + 1)])
