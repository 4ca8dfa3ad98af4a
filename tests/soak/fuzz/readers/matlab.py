"""MATLAB files: any, and those in which a publisher's splits are."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from helpers import published_layouts
from scipy.io import savemat

from featcache import open_dataset
from featcache.datasets.matlab.mat_file import read_mat

from ..mutators import changed_bytes, packed, unpacked
from ..reader import Reader, Subject
from .tables import walk

_HEADER = 128


def _saved(variables: dict[str, object], *, pack: bool = False) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables, do_compression=pack)
    return stream.getvalue()


def _changed_mat(data: bytes, chance: random.Random) -> bytes:
    """Change what is in packed elements, too, and keep the sizes of elements right where a body was changed."""
    head, rest, parts = data[:_HEADER], data[_HEADER:], []
    while len(rest) >= 8:
        kind, size = struct.unpack("<II", rest[:8])
        body, rest = rest[8 : 8 + size], rest[8 + size :]
        parts.append((kind, body))
    if not parts:
        return data
    at = chance.randrange(len(parts))
    kind, body = parts[at]
    if kind == 15:
        try:
            inside = zlib.decompressobj().decompress(body, 1 << 20)
        except zlib.error:
            return data
        body = zlib.compress(changed_bytes(inside, chance, [], _WORDS), 1)
    else:
        body = changed_bytes(body, chance, [], _WORDS)
    parts[at] = (kind, body)
    return head + b"".join(struct.pack("<II", kind, len(body)) + body for kind, body in parts) + rest


_WORDS = tuple(
    struct.pack("<II", kind, size)
    for kind in (1, 2, 5, 6, 9, 14, 15, 16, 17)
    for size in (0, 8, 2**31, 2**32 - 1)
)


def _mat(folder: Path) -> Subject:
    place = folder / "held.mat"
    records = np.array([[(3, "a.jpg"), (4, "größe 1.jpg")]], [("class", "u1"), ("fname", object)])
    held = {
        "doubles": np.array([[1.0, 2.5]]),
        "bytes": np.arange(7, dtype=np.uint8)[None],
        "flags": np.array([[True, False]]),
        "text": "daisy",
        "names": np.array([["rose", "tulip"]], object),
        "records": records,
    }

    def use(data: bytes) -> None:
        place.write_bytes(data)
        read_mat(place)

    return Subject([_saved(held), _saved(held, pack=True)], use, _changed_mat, words=_WORDS)


def _flowers(folder: Path) -> Subject:
    published_layouts.oxford_flowers_of_the_publisher(folder)
    root = folder / "flowers-102"
    names = ("setid.mat", "imagelabels.mat")

    def use(data: bytes) -> None:
        for name, content in zip(names, unpacked(data, 2), strict=True):
            (root / name).write_bytes(content)
        walk(open_dataset(f"lists:{root}"))

    def mutate(data: bytes, chance: random.Random) -> bytes:
        parts = unpacked(data, 2)
        at = chance.randrange(2)
        parts[at] = _changed_mat(parts[at], chance)
        return packed(*parts)

    return Subject([packed(*((root / name).read_bytes() for name in names))], use, mutate, words=_WORDS)


READERS = (Reader("mat", _mat), Reader("mat-flowers", _flowers))
