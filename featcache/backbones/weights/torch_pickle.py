"""The pickle streams inside torch checkpoints, read as inert data: nothing is imported, nothing executed.

`pickle.Unpickler` with a strict ``find_class`` does not execute code either, yet it cannot be made safe
against malicious files: one ``LONG_BINPUT`` makes it allocate a memo of 64 GiB, and hashing a deeply
nested tuple as a key overflows the C stack (both tried on CPython 3.11, the second kills the process).
So this is a small machine for the opcodes that ``torch.save`` writes and no others, the way of torch's own
``_weights_only_unpickler.py``. All that it can build is None, bool, int, float, str, list, tuple, dict with
keys that are str or `NumberKey`, and the three records below.
"""

import pickle  # for the names of its opcodes only
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from featcache.errors import WeightsError

# 36 opcodes describe a tensor in the files seen, so this is 130,000 tensors; a stream of nothing but
# opcodes then ends after seconds, not after hours.
MAX_OPCODES = 5_000_000
MAX_LINE = 256
MAX_RANK = 64  # numpy's limit
MAX_SIZE = 2**63

STORAGE_DTYPES = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}


class MalformedError(WeightsError):
    """The bytes of a weights file do not conform to its format; the message does not name the file.

    Parameters
    ----------
    reason
        The fault.
    advice
        What to do next.
    """

    def __init__(self, reason: str, advice: str = "the file is damaged: delete it and download it again"):
        super().__init__(f"{reason}; {advice}")


@dataclass(frozen=True, slots=True)
class Global:
    """The dotted name of an allowed Python object; only a name, the object is never looked up."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A flat run of values elsewhere in the file, of which one or more tensors are views.

    `count` is in elements, as the stream declares it: not yet checked against the file.
    """

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage; `offset` and `strides` are in elements and not yet checked against it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Stream(NamedTuple):
    """One pickle stream that was read: its object, the storages it refers to by key, and where it ends."""

    value: Any
    storages: dict[str, Storage]
    end: int


def read_stream(data: bytes, start: int = 0) -> Stream:
    """Read the pickle stream that begins at a byte offset.

    Parameters
    ----------
    data
        Bytes that hold the stream, and perhaps more after it.
    start
        Offset of the stream's first byte.

    Returns
    -------
    Stream
        Inert values only; tensors are `Tensor` records.

    Raises
    ------
    MalformedError
        The stream is cut short or damaged, or it asks for anything but plain values and tensors.
    """
    machine = _Machine(data, start)
    try:
        value = machine.run()
    except IndexError as error:
        raise MalformedError("the pickle stream takes more values than it has put down") from error
    return Stream(value, machine.storages, machine.position)


def _ordered_dict(arguments: tuple) -> dict:
    # Python 2 gave the items here. Copying them would let a stream build one long list and copy it a
    # million times.
    if arguments:
        raise MalformedError("an OrderedDict has its items as arguments", "save it again with Python 3")
    return {}


def _tensor(arguments: tuple) -> Tensor:
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            if len(shape) != len(strides) or len(shape) > MAX_RANK:
                raise MalformedError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
            if not all(type(n) is int and 0 <= n < MAX_SIZE for n in (offset, *shape, *strides)):
                raise MalformedError("a tensor has a negative or impossible size, stride or offset")
            return Tensor(storage, offset, shape, strides)
    raise MalformedError("a tensor is built from something else than storage, offset, size and stride")


def _parameter(arguments: tuple) -> Tensor:
    match arguments:
        case (Tensor() as data, *_):
            return data
    raise MalformedError("a Parameter is built from something else than a tensor")


# `_rebuild_tensor` and `Parameter` are in files of 2017 that torchvision still links to (VGG, DenseNet).
_BUILDERS: dict[str, Callable[[tuple], dict | Tensor]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
}


class NumberKey(str):
    """A whole number that was the key of a dictionary, as text.

    The hash of an int is known beforehand, so a file can be written whose keys all collide: 60,000 of them, 0.9 MB,
    keep a dict busy for 45 s. Text is hashed with a secret of the process. Optimizers' states have such keys, the
    addresses of parameters in old files; no weights are named so.
    """


def _fill(target: dict, pairs: Iterable[Any]) -> dict:
    for key, value in pairs:
        # Other keys are never needed, and hashing a nested tuple recurses without bound.
        if type(key) not in (str, int):
            raise MalformedError(f"a dictionary has a key of type {type(key).__name__}")
        safe = NumberKey(f"number {key}") if type(key) is int else key
        if safe in target:
            raise MalformedError(f"a dictionary has the key {shorten(key)} twice")
        target[safe] = value
    return target


def shorten(value: str | int, limit: int = 80) -> str:
    """Return a printable form of a name from a file, which may hold anything and be of any length."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class _Machine:
    """The pickle machine's state: a stack, the stacks below its marks, and a memo."""

    def __init__(self, data: bytes, position: int):
        self.data = data
        self.position = position
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            opcode = self.take(1)
            if opcode == pickle.STOP:
                return self.stack.pop()
            action = _ACTIONS.get(opcode)
            if action is None:
                raise MalformedError(
                    f"byte {self.position - 1} is {opcode!r}, no opcode that torch.save writes"
                )
            action(self)
        raise MalformedError(f"the pickle stream is longer than {MAX_OPCODES:,} opcodes")

    # Reading the stream

    def take(self, count: int) -> bytes:
        chunk = self.data[self.position : self.position + count]
        if len(chunk) < count:
            raise MalformedError(f"the pickle stream is cut short at byte {len(self.data)}")
        self.position += count
        return chunk

    def skip(self, count: int) -> None:
        self.take(count)

    def number(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def text(self, width: int) -> str:
        return _decode(self.take(self.number(width)))

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + MAX_LINE)
        if end < 0:
            raise MalformedError(f"the name at byte {self.position} has no end")
        line = self.take(end - self.position)
        self.position = end + 1
        return _decode(line)

    # Moving values

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def top(self, count: int) -> list[Any]:
        return [self.stack.pop() for _ in range(count)][::-1]

    def keep(self, index: int) -> None:
        # Writers count up; numbers at a writer's choice could be made to collide, as keys could.
        if index > 2 * len(self.memo) + 1024:
            raise MalformedError(f"the pickle stream keeps its {len(self.memo)}th value as number {index}")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise MalformedError(f"the pickle stream recalls value {index}, which it never kept")
        self.push(self.memo[index])

    # Building values

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise MalformedError("the pickle stream appends to something that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, flat: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(flat) % 2:
            raise MalformedError("the pickle stream sets items of something that is not a dictionary")
        _fill(self.stack[-1], zip(flat[::2], flat[1::2], strict=True))

    def name(self, module: Any, attribute: Any) -> None:
        name = f"{module}.{attribute}" if isinstance(module, str) and isinstance(attribute, str) else "?"
        if name not in STORAGE_DTYPES and name not in _BUILDERS:
            raise MalformedError(
                f"holds the Python object {shorten(name)} where only tensors and plain values are read",
                "nothing was executed; save the tensors alone with torch.save(model.state_dict(), path), "
                "or as .safetensors",
            )
        self.push(Global(name))

    def reduce(self, function: Any, arguments: Any) -> None:
        build = _BUILDERS.get(function.name) if isinstance(function, Global) else None
        if build is None or not isinstance(arguments, tuple):
            raise MalformedError("the pickle stream calls something that does not build a tensor")
        self.push(build(arguments))

    def build(self) -> None:
        # The attributes are dropped: torch's are layer versions and hooks, never weights.
        self.stack.pop()
        if not isinstance(self.stack[-1], dict | Tensor):
            raise MalformedError("the pickle stream sets attributes of something that is not a tensor")

    def storage(self, identity: Any) -> None:
        match identity:
            # The legacy format's sixth field describes a view of another storage (torch < 0.4), else None.
            case ("storage", Global(name), str(key), str(), int(count)) | (
                "storage",
                Global(name),
                str(key),
                str(),
                int(count),
                None,
            ) if name in STORAGE_DTYPES and 0 <= count < MAX_SIZE:
                storage = Storage(key, STORAGE_DTYPES[name], count)
            case _:
                raise MalformedError("the pickle stream refers to something that is not a plain storage")
        if self.storages.setdefault(key, storage) != storage:
            raise MalformedError(f"storage {shorten(key)} is declared twice with different types or sizes")
        self.push(storage)


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("a name is not valid UTF-8") from error


# Protocol 2 is what torch.save writes; FRAME, SHORT_BINUNICODE, MEMOIZE and STACK_GLOBAL are for files saved
# with ``pickle_protocol=4``.
_ACTIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: lambda m: m.skip(1),
    pickle.FRAME: lambda m: m.skip(8),
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(m.number(4, signed=True)),
    pickle.BININT1: lambda m: m.push(m.number(1)),
    pickle.BININT2: lambda m: m.push(m.number(2)),
    pickle.LONG1: lambda m: m.push(m.number(m.number(1), signed=True)),
    pickle.BINFLOAT: lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    pickle.BINUNICODE: lambda m: m.push(m.text(4)),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.text(1)),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE1: lambda m: m.push(tuple(m.top(1))),
    pickle.TUPLE2: lambda m: m.push(tuple(m.top(2))),
    pickle.TUPLE3: lambda m: m.push(tuple(m.top(3))),
    pickle.MARK: lambda m: m.mark(),
    pickle.TUPLE: lambda m: m.push(tuple(m.since_mark())),
    pickle.APPEND: lambda m: m.extend(m.top(1)),
    pickle.APPENDS: lambda m: m.extend(m.since_mark()),
    pickle.SETITEM: lambda m: m.set_items(m.top(2)),
    pickle.SETITEMS: lambda m: m.set_items(m.since_mark()),
    pickle.BINPUT: lambda m: m.keep(m.number(1)),
    pickle.LONG_BINPUT: lambda m: m.keep(m.number(4)),
    pickle.MEMOIZE: lambda m: m.keep(len(m.memo)),
    pickle.BINGET: lambda m: m.recall(m.number(1)),
    pickle.LONG_BINGET: lambda m: m.recall(m.number(4)),
    pickle.GLOBAL: lambda m: m.name(m.line(), m.line()),
    pickle.STACK_GLOBAL: lambda m: m.name(*m.top(2)),
    pickle.BINPERSID: lambda m: m.storage(m.stack.pop()),
    pickle.REDUCE: lambda m: m.reduce(*m.top(2)),
    pickle.BUILD: lambda m: m.build(),
}
