"""The structure of an HDF5 file as JSON; runs as a script, in a process of its own.

The HDF5 library is not safe on malicious files: one flipped bit can crash it or keep it busy for ever
(measured with HDF5 2.0). So it never runs in the process of the user. `featcache.backbones.weights.hdf5_manifest`
starts this file with the open weights file as standard input, and reads on standard output where each
dataset lies. No value of a dataset is read here. Only the standard library and h5py are needed, so that the
start takes a quarter of a second; h5py is imported in the functions because listing the backbones imports
every module beside them.
"""

# pyright: reportAttributeAccessIssue=false
# (h5py's compiled modules have no stubs)

import codecs
import io
import itertools
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

# The largest model of keras.applications, NASNetLarge, has 1,000 layers with 3 to 8 objects each.
MAX_OBJECTS = 50_000
MAX_DEPTH = 32
MAX_NAME = 1024  # bytes, of one component of a path or one name in an attribute

DAMAGED = "the file is damaged: delete it and download it again"
SAVE_AGAIN = "save it again with Keras, which writes plain uncompressed datasets"

# Groups and attributes that Keras writes beside the weights of a model, at the root only.
_LEFT_OUT = frozenset({"optimizer", "optimizer_weights"})
_ATTRIBUTES = ("layer_names", "weight_names", "name")

_LAYOUTS = {
    "CHUNKED": "stored in chunks, perhaps compressed",
    "VIRTUAL": "virtual: its values are in other files",
    "COMPACT": "stored inside of its header",
}
_TYPES = {
    "<f2": "IEEE_F16LE",
    "<f4": "IEEE_F32LE",
    "<f8": "IEEE_F64LE",
    "|i1": "STD_I8LE",
    "<i2": "STD_I16LE",
    "<i4": "STD_I32LE",
    "<i8": "STD_I64LE",
    "|u1": "STD_U8LE",
    "<u2": "STD_U16LE",
    "<u4": "STD_U32LE",
    "<u8": "STD_U64LE",
}


class RefusedError(Exception):
    """The file holds something that is not supported; the arguments are the reason and what to do next."""


def main(arguments: list[str]) -> None:
    """Walk the file on standard input and print what was found.

    Parameters
    ----------
    arguments
        Offset and size in bytes of the HDF5 file within standard input; the limits on processor time in
        seconds and on memory in bytes; folders where h5py and numpy are.
    """
    offset, size, seconds, memory = map(int, arguments[:4])
    sys.path.extend(arguments[4:])
    import h5py

    from featcache.core.child_process import limit_process

    codecs.lookup("ascii")  # h5py asks for it when no file can be opened any more, so it has to be loaded
    limit_process(seconds, memory)
    try:
        answer: dict[str, Any] = walk(h5py.File(_Window(0, offset, size), "r"))
    except RefusedError as error:
        answer = {"refused": error.args}
    except MemoryError:
        answer = {"refused": (f"its structure needs more than {memory:,} bytes of memory", DAMAGED)}
    except Exception as error:  # h5py raises what it likes: OSError, RuntimeError, KeyError, ValueError, …
        answer = {"refused": (f"damaged or incomplete as an HDF5 file ({error})", DAMAGED)}
    sys.stdout.buffer.write(json.dumps(answer).encode())
    sys.stdout.buffer.flush()
    os._exit(0)  # closing a damaged file may take HDF5 as long as reading it


def walk(file: Any) -> dict[str, Any]:
    """Return the manifest of a Keras weights file, refusing what Keras does not write.

    Parameters
    ----------
    file
        An open `h5py.File`.

    Returns
    -------
    dict
        ``groups``: path to the attributes that name layers and weights; ``datasets``: for each its path,
        dtype, shape, offset in bytes (``None`` where nothing is stored) and size in bytes.

    Raises
    ------
    RefusedError
        The file is not of Keras, has links, data in other files, chunks, or objects of other kinds.
    """
    from h5py import h5d, h5g

    root = h5g.open(file.id, b"/")
    _check_keras(root)
    groups: dict[str, dict[str, list[str]]] = {}
    datasets: list[list[Any]] = []
    for path, thing in _objects(root):
        if isinstance(thing, h5d.DatasetID):
            datasets.append([path, *_dataset(thing, path)])
        elif attributes := _attributes(thing, path):
            groups[path] = attributes
    return {"groups": groups, "datasets": datasets}


class _Window(io.RawIOBase):
    """A part of an open file as a file; HDF5 is given no name that it could open again."""

    def __init__(self, descriptor: int, offset: int, size: int):
        self._descriptor, self._offset, self._size = descriptor, offset, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(self._size - self._position, 0))
        chunk = os.pread(self._descriptor, wanted, self._offset + self._position)
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)


def _check_keras(root: Any) -> None:
    from h5py import h5a

    named = any(h5a.exists(root, key) for key in (b"layer_names", b"layer_names0"))
    # The last one is what TensorFlow 2.13 wrote for layers.
    inside = any(
        root.links.exists(key)
        for key in (b"model_weights", b"layers", b"vars", b"_layer_checkpoint_dependencies")
    )
    if not (named or inside):
        raise RefusedError(
            "an HDF5 file that holds no Keras weights (no layer_names, layers or model_weights)",
            'save the weights with model.save_weights("x.weights.h5")',
        )


def _objects(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield every group and dataset below the root, and the root, by path; each may be met only once."""
    from h5py import h5d, h5g, h5o

    seen = {h5o.get_info(root).addr}
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        parent, group = waiting.pop()
        yield parent or "/", group
        for name, is_hard in _links(group, parent):
            path = f"{parent}/{name}"
            if not parent and name in _LEFT_OUT:
                continue
            if not is_hard:
                raise RefusedError(f"{_short(path)} is a soft or external link", SAVE_AGAIN)
            thing = h5o.open(group, name.encode())
            if not isinstance(thing, h5g.GroupID | h5d.DatasetID):
                raise RefusedError(f"{_short(path)} is neither a group nor a dataset", SAVE_AGAIN)
            address = h5o.get_info(thing).addr
            if address in seen:
                raise RefusedError(f"{_short(path)} is a second name of another object", SAVE_AGAIN)
            seen.add(address)
            if len(seen) > MAX_OBJECTS or path.count("/") > MAX_DEPTH:
                raise RefusedError(
                    f"more than {MAX_OBJECTS:,} objects, or nested deeper than {MAX_DEPTH} groups", DAMAGED
                )
            if isinstance(thing, h5d.DatasetID):
                yield path, thing
            else:
                waiting.append((path, thing))


def _links(group: Any, parent: str) -> list[tuple[str, bool]]:
    """Names in a group, and whether each is a hard link."""
    from h5py import h5l

    found: list[tuple[bytes, bool]] = []

    def collect(name: bytes, info: Any) -> bool:  # must not raise: h5py loses what is raised here
        found.append((name, info.type == h5l.TYPE_HARD))
        return len(name) > MAX_NAME or len(found) > MAX_OBJECTS

    group.links.iterate(collect, info=True)
    if (found and len(found[-1][0]) > MAX_NAME) or len(found) > MAX_OBJECTS:
        raise RefusedError(
            f"a name of over {MAX_NAME} bytes, or too many, in {_short(parent or '/')}", DAMAGED
        )
    return [(_text(name), is_hard) for name, is_hard in found]


def _dataset(dataset: Any, path: str) -> tuple[str, list[int], int | None, int]:
    """Type, shape, offset and size in bytes of a dataset whose values lie in one piece in this file."""
    from h5py import h5d, h5s

    plan = dataset.get_create_plist()
    if plan.get_external_count():
        raise RefusedError(f"the values of dataset {_short(path)} are in another file", SAVE_AGAIN)
    if plan.get_layout() != h5d.CONTIGUOUS:
        kinds = {getattr(h5d, name): text for name, text in _LAYOUTS.items()}
        kind = kinds.get(plan.get_layout(), "of an unknown layout")
        raise RefusedError(f"dataset {_short(path)} is {kind}", SAVE_AGAIN)
    space = dataset.get_space()
    if space.get_simple_extent_type() == h5s.NULL:
        raise RefusedError(f"dataset {_short(path)} has no shape", SAVE_AGAIN)
    shape = [int(n) for n in space.get_simple_extent_dims()]
    return _type(dataset, path), shape, dataset.get_offset(), int(dataset.get_storage_size())


def _type(dataset: Any, path: str) -> str:
    from h5py import h5a, h5t

    found = dataset.get_type()
    for name, constant in _TYPES.items():
        if found == getattr(h5t, constant):
            return name
    # h5py writes bfloat16 as two opaque bytes, and Keras says beside them what they are.
    opaque = isinstance(found, h5t.TypeOpaqueID) and found.get_size() == 2 and h5a.exists(dataset, b"dtype")
    if opaque and _strings(dataset, "dtype", path) == ["bfloat16"]:
        return "bfloat16"
    kind = type(found).__name__.removeprefix("Type").removesuffix("ID").lower()
    raise RefusedError(
        f"dataset {_short(path)} is of a type that is not read ({kind}, {found.get_size()} bytes)",
        "only little-endian numbers are: save it again as float32",
    )


def _attributes(group: Any, path: str) -> dict[str, list[str]]:
    """The names that a group's attributes give; others, such as ``model_config``, are never read."""
    found = {}
    for name in _ATTRIBUTES:
        strings = _chunked_strings(group, name, path)
        if strings is not None:
            found[name] = strings
    return found


def _chunked_strings(group: Any, name: str, path: str) -> list[str] | None:
    """An attribute's strings, also where Keras cut a long list into ``name0``, ``name1`` and so on."""
    from h5py import h5a

    if h5a.exists(group, name.encode()):
        return _strings(group, name, path)
    pieces = itertools.takewhile(
        lambda piece: h5a.exists(group, piece.encode()), (f"{name}{number}" for number in range(MAX_OBJECTS))
    )
    strings: list[str] | None = None
    for piece in pieces:
        strings = (strings or []) + _strings(group, piece, path)
    return strings


def _strings(thing: Any, name: str, path: str) -> list[str]:
    import numpy as np
    from h5py import h5a, h5t

    attribute = h5a.open(thing, name.encode())
    count, kind = attribute.get_space().get_simple_extent_npoints(), attribute.get_type()
    if count == 0:  # an empty list, which Keras writes as one of numbers
        return []
    is_text = isinstance(kind, h5t.TypeStringID) and (kind.is_variable_str() or kind.get_size() <= MAX_NAME)
    if not is_text or count > MAX_OBJECTS:
        raise RefusedError(f"attribute {name} of {_short(path)} is no list of names", DAMAGED)
    values: Any = np.zeros(attribute.shape, attribute.dtype)
    attribute.read(values)
    names = values.ravel().tolist()
    if any(len(each) > MAX_NAME for each in names):
        raise RefusedError(f"attribute {name} of {_short(path)} has a name of over {MAX_NAME} bytes", DAMAGED)
    return [_text(each) for each in names]


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise RefusedError("a name is not valid UTF-8", DAMAGED) from error


def _short(path: str) -> str:
    return repr(path) if len(path) <= 80 else repr(path[:79] + "…")


if __name__ == "__main__":
    main(sys.argv[1:])
