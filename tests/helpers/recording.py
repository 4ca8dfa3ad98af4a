"""What a process did to its files, system call by system call, and the disk as a crash would leave it.

`record` runs a Python program with ``recorder.c`` preloaded. `Disk` replays the calls in memory: its `files`
after k of them are what a kill leaves (the kernel keeps what was written), and `power_cut` gives what a power
cut may leave: of every 4 KiB block written since its file's last fsync any version, of the files' sizes the
old or the new one, of the changes of names since each folder's last fsync the first few. A folder is not synced by
what happens in another, its own names in its parent included.
"""

import enum
import os
import random
import shutil
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from helpers.programs import environment

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
    EXCHANGE = 9
    MKDIR = 10
    RMDIR = 11
    LINK = 12
    MARK = 13


@dataclass(frozen=True)
class Call:
    """One system call that changed something; `number` is the offset, size, flags, or what was given to ``mark``."""

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
    return list(parsed(log.read_bytes()))


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
    preload = {"LD_PRELOAD": str(compiled(shim, scratch)), "WATCH_UNDER": str(under)}
    command = [sys.executable, "-c", program, *arguments]
    run = subprocess.run(
        command, env=environment(**preload, **variables), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def compiled(shim: str, scratch: Path) -> Path:
    """Return the library to preload that ``recorder.c`` or another shim compiles to; made once in `scratch`."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("recording system calls needs Linux and a C compiler")
    library = scratch / f"{shim}.so"
    if not library.exists():
        source = Path(__file__).with_name(f"{shim}.c")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
    return library


def parsed(log: bytes) -> Iterator[Call]:
    """Yield the calls that a log of ``recorder.c`` holds."""
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


@dataclass
class _Folder:
    """Names now, at the last fsync, and after each change in between."""

    now: "_Names" = field(default_factory=dict)
    durable: "_Names" = field(default_factory=dict)
    changes: "list[_Names]" = field(default_factory=list)

    def change(self, **names: "_File | _Folder | None") -> None:
        """Give names, or with ``None`` take them away, all at one blow."""
        self.now = {name: found for name, found in (self.now | names).items() if found is not None}
        self.changes.append(self.now)

    def sync(self) -> None:
        self.durable, self.changes = self.now, []

    def after_power_cut(self, chance: random.Random) -> "_Names":
        return chance.choice([self.durable, *self.changes])


_Names = dict[str, _File | _Folder]


class Disk:
    """The files below the root while calls are replayed; those of the beginning are on the disk.

    Parameters
    ----------
    files
        Path to contents; a path that ends in ``/`` is a folder. All above them are there, too.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._root = _Folder()
        self._descriptors: dict[int, _File | _Folder] = {}
        for path, content in (files or {}).items():
            whole = Path(path)
            folder = self._made(whole if path.endswith("/") else whole.parent)
            if not path.endswith("/"):
                folder.change(**{whole.name: _File(bytearray(content), content)})
                folder.sync()

    @property
    def files(self) -> dict[str, bytes]:
        """Path to contents, as after a kill; an empty folder's path ends in ``/``."""
        return _flat("", self._root, lambda folder: folder.now, lambda file: bytes(file.now))

    def power_cut(self, chance: random.Random) -> dict[str, bytes]:
        """As `files`, as one of the many ways in which a power cut can leave them."""
        return _flat(
            "",
            self._root,
            lambda folder: folder.after_power_cut(chance),
            lambda file: file.after_power_cut(chance),
        )

    def apply(self, call: Call) -> None:
        """Do what the call did."""
        file = self._descriptors.get(call.fd)
        match call.op:
            case Op.OPEN:
                self._open(call)
            case Op.WRITE if isinstance(file, _File):
                file.write(call.number, call.data)
            case Op.TRUNCATE if isinstance(file, _File):
                file.truncate(call.number)
            case Op.ALLOCATE if isinstance(file, _File):
                file.truncate(max(call.number, len(file.now)))
            case Op.RENAME:
                self._rename(call.path, call.data.decode())
            case Op.EXCHANGE:
                one, other = self._find(call.path), self._find(call.data.decode())
                self._name({call.path: other, call.data.decode(): one})
            case Op.LINK:
                self._name({call.data.decode(): self._find(call.path)})
            case Op.MKDIR:
                self._name({call.path: _Folder()})
            case Op.UNLINK | Op.RMDIR:
                self._name({call.path: None})
            case Op.FSYNC if file:
                file.sync()
            case Op.CLOSE:
                self._descriptors.pop(call.fd, None)

    def _open(self, call: Call) -> None:
        found = self._find(call.path)
        if found is None and not call.number & os.O_CREAT:
            found = self._made(
                Path(call.path)
            )  # there from before the recording, and empty or of no interest
        elif found is None:
            found = _File()
            self._name({call.path: found})
        if call.number & os.O_TRUNC and isinstance(found, _File):
            found.truncate(0)
        self._descriptors[call.fd] = found

    def _rename(self, source: str, target: str) -> None:
        self._name({source: None, target: self._find(source)})

    def _name(self, names: "dict[str, _File | _Folder | None]") -> None:
        """Give paths to files and folders; those of one folder at one blow."""
        changes: dict[Path, dict[str, _File | _Folder | None]] = defaultdict(dict)
        for path, found in names.items():
            changes[Path(path).parent][Path(path).name] = found
        for parent, own in changes.items():
            self._made(parent).change(**own)

    def _find(self, path: str) -> "_File | _Folder | None":
        found: _File | _Folder | None = self._root
        for part in Path(path).parts[1:]:
            found = found.now.get(part) if isinstance(found, _Folder) else None
        return found

    def _made(self, folder: Path) -> _Folder:
        """Return a folder, which was there before the recording if it is not known."""
        found = self._root
        for part in folder.parts[1:]:
            if part not in found.now:
                new = _Folder()
                for names in (found.now, found.durable, *found.changes):
                    names[part] = new
            inner = found.now[part]
            assert isinstance(inner, _Folder), folder
            found = inner
        return found


def _flat(
    path: str,
    folder: _Folder,
    names_of: Callable[[_Folder], _Names],
    content_of: Callable[[_File], bytes],
) -> dict[str, bytes]:
    files = {}
    for name, found in names_of(folder).items():
        place = f"{path}/{name}"
        if isinstance(found, _File):
            files[place] = content_of(found)
        else:
            files |= _flat(place, found, names_of, content_of) or {f"{place}/": b""}
    return files


def lay_down(files: dict[str, bytes], under: str, folder: Path) -> None:
    """Write a simulated disk's files into a real, empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, content in files.items():
        place = folder / Path(path).relative_to(under)
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    """Return a real folder as a `Disk` begins with it."""
    found = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {f"{folder}/": b"", **found}
