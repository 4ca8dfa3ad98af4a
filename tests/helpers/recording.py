"""What a process did to its files, system call by system call, and the disk as a crash would leave it.

`record` runs a Python program with ``recorder.c`` preloaded. `Disk` replays the calls in memory: its `files`
after k of them are what a kill leaves (the kernel keeps what was written), and `power_cut` gives what a power
cut may leave: of every 4 KiB block written since its file's last fsync any version, of the files' sizes the
old or the new one, of the renames since the folder's last fsync the first few.
"""

import enum
import os
import random
import shutil
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

BLOCK = 4096
_HEAD = struct.Struct("<5q")


class Op(enum.IntEnum):
    OPEN = 1
    WRITE = 2
    TRUNCATE = 3
    ALLOCATE = 4
    RENAME = 5
    UNLINK = 6
    FSYNC = 7
    CLOSE = 8


@dataclass(frozen=True)
class Call:
    """One system call that changed something; `number` is the offset, size or flags."""

    op: Op
    fd: int
    number: int
    path: str
    data: bytes

    def half(self) -> "Call":
        """The same write, cut off in the middle."""
        return Call(self.op, self.fd, self.number, self.path, self.data[: len(self.data) // 2])


def record(program: str, arguments: Sequence[str], *, under: Path, scratch: Path) -> list[Call]:
    """Run a Python program and return what it did to the files below a folder."""
    log = scratch / "calls.log"
    log.unlink(missing_ok=True)
    preloaded(program, arguments, under=under, scratch=scratch, RECORD_TO=str(log))
    return list(_parsed(log.read_bytes()))


def preloaded(
    program: str,
    arguments: Sequence[str],
    *,
    under: Path,
    scratch: Path,
    shim: str = "recorder",
    **variables: str,
) -> str:
    """Run a Python program with ``recorder.c`` or another shim watching the files below a folder; return its output."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(_compiled(shim, scratch)),
        "WATCH_UNDER": str(under),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        **variables,
    }
    command = [sys.executable, "-c", program, *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def _compiled(shim: str, scratch: Path) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("recording system calls needs Linux and a C compiler")
    library = scratch / f"{shim}.so"
    if not library.exists():
        source = Path(__file__).with_name(f"{shim}.c")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
    return library


def _parsed(log: bytes) -> Iterator[Call]:
    position = 0
    while position < len(log):
        op, fd, number, path_length, length = _HEAD.unpack_from(log, position)
        position += _HEAD.size
        path = log[position : position + path_length].decode()
        position += path_length
        yield Call(Op(op), fd, number, path, log[position : position + length])
        position += length


@dataclass
class _File:
    """Contents now, at the last fsync, and the writes in between."""

    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    writes: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        self._grow(offset + len(data))
        self.now[offset : offset + len(data)] = data
        self.writes.append((offset, data))

    def truncate(self, size: int) -> None:
        self._grow(size)
        del self.now[size:]

    def _grow(self, size: int) -> None:
        self.now.extend(bytes(max(0, size - len(self.now))))

    def sync(self) -> None:
        self.durable, self.writes = bytes(self.now), []

    def after_power_cut(self, chance: random.Random) -> bytes:
        size = chance.choice([len(self.durable), len(self.now)])
        content = bytearray(self.durable[:size].ljust(size, b"\0"))
        blocks: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for offset, data in self.writes:
            for block in range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1):
                start = max(offset, block * BLOCK)
                end = min(offset + len(data), (block + 1) * BLOCK)
                blocks[block].append((start, data[start - offset : end - offset]))
        for versions in blocks.values():
            for start, data in versions[: chance.randint(0, len(versions))]:
                content[start : start + len(data)] = data
        return bytes(content[:size])


class Disk:
    """One folder's files while calls are replayed."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._names: dict[str, _File] = {
            path: _File(bytearray(content), content) for path, content in (files or {}).items()
        }
        self._durable_names = dict(self._names)
        self._name_changes: list[dict[str, _File]] = []
        self._descriptors: dict[int, _File | None] = {}

    @property
    def files(self) -> dict[str, bytes]:
        """Path to contents, as after a kill."""
        return {path: bytes(file.now) for path, file in self._names.items()}

    def apply(self, call: Call) -> None:
        """Do what the call did."""
        file = self._descriptors.get(call.fd)
        match call.op:
            case Op.OPEN:
                self._open(call)
            case Op.WRITE if file:
                file.write(call.number, call.data)
            case Op.TRUNCATE if file:
                file.truncate(call.number)
            case Op.ALLOCATE if file:
                file.truncate(max(call.number, len(file.now)))
            case Op.RENAME:
                self._names[call.data.decode()] = self._names.pop(call.path)
                self._name_changes.append(dict(self._names))
            case Op.UNLINK:
                del self._names[call.path]
                self._name_changes.append(dict(self._names))
            case Op.FSYNC if file:
                file.sync()
            case Op.FSYNC:
                self._durable_names, self._name_changes = dict(self._names), []
            case Op.CLOSE:
                del self._descriptors[call.fd]

    def _open(self, call: Call) -> None:
        known = self._names.get(call.path)
        if call.number & os.O_DIRECTORY or (known is None and not call.number & os.O_CREAT):
            self._descriptors[call.fd] = None  # the folder
            return
        if known is None:
            known = self._names[call.path] = _File()
            self._name_changes.append(dict(self._names))
        if call.number & os.O_TRUNC:
            known.truncate(0)
        self._descriptors[call.fd] = known

    def power_cut(self, chance: random.Random) -> dict[str, bytes]:
        """Path to contents, as one of the many ways in which a power cut can leave them."""
        names = chance.choice([self._durable_names, *self._name_changes])
        return {path: file.after_power_cut(chance) for path, file in names.items()}


def lay_down(files: dict[str, bytes], under: str, folder: Path) -> None:
    """Write a simulated disk's files into a real, empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, content in files.items():
        (folder / Path(path).relative_to(under)).write_bytes(content)
