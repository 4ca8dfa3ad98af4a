"""The text at the start of a cache file, and the one digest over everything that never changes in it.

HDF5 leaves room for a *user block* before its own first byte. There stands, readable with ``head -3``: the
format and its version, the sha256 of the next line, and a line of JSON that says where each dataset lies and
what the digest is of all bytes outside the rows. Reading needs nothing else, and HDF5 not at all: its own
headers carry no checksum, and a single flipped bit in them can make the library loop for ever (measured).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from featcache.cache.documents import HEADER, START_AGAIN, check_columns, check_header, check_identity
from featcache.cache.layout import LayerSpec, data_bytes, layers_of, storage_plan, table_digest
from featcache.core.disk.contents import looks_like
from featcache.core.disk.files import PinnedFile
from featcache.core.documents.json_text import MOST_BYTES, parse
from featcache.core.identity import FORMAT_VERSION, canonical_json
from featcache.core.tasks import UNLABELLED
from featcache.errors import IntegrityError

MAGIC = b"featcache "

NEWEST_VERSION = 2
"""Of unlabelled caches, whose task readers of version 1 do not know; all others are of `FORMAT_VERSION`."""

_STEP = 1 << 20
_LONGEST = 1 << 24


class Readable(Protocol):
    """Bytes at known offsets: of a file, or of one that is yet to be written."""

    def read_into(self, values: np.ndarray, offset: int) -> None:
        """Fill a contiguous array with the bytes at `offset`."""


@dataclass(frozen=True)
class Header:
    """The places of everything in a cache file, and the digest of what never changes.

    Parameters
    ----------
    start
        Bytes before HDF5's own.
    size
        Bytes of the file.
    datasets
        Path of each dataset to (offset, length) in bytes.
    sha256
        Of the bytes from `start` to `size` that belong to no dataset of rows, in their order.
    """

    start: int
    size: int
    datasets: Mapping[str, tuple[int, int]]
    sha256: str = ""

    def encode(self, version: int = FORMAT_VERSION) -> bytes:
        """Return the text, padded with zeros to `start` bytes; `version` is that of the format."""
        body = canonical_json({**vars(self), "datasets": {k: list(v) for k, v in self.datasets.items()}})
        check = hashlib.sha256(body).hexdigest().encode()
        return (b"%b%d\n%b\n%b\n" % (MAGIC, version, check, body)).ljust(self.start, b"\0")

    def ranges_without(self, left_out: Callable[[str], bool]) -> Iterator[tuple[int, int]]:
        """Yield (first, last) of the bytes from `start` on that belong to no dataset of the given paths."""
        position = self.start
        for offset, length in sorted(span for path, span in self.datasets.items() if left_out(path)):
            yield position, offset
            position = offset + length
        yield position, self.size

    def digest(self, file: Readable) -> str:
        """Return the sha256 of the file's bytes that must not change after its creation, as they are now."""
        digest = hashlib.sha256()
        for first, last in self.ranges_without(changes):
            for position in range(first, last, _STEP):
                part = np.empty(min(_STEP, last - position), np.uint8)
                file.read_into(part, position)
                digest.update(part.data)
        return digest.hexdigest()


def version_of(identity: Mapping[str, Any]) -> int:
    """Return the version of the format that a cache of this identity is written in: the oldest that can hold it."""
    return NEWEST_VERSION if identity["dataset"].get("task") == UNLABELLED else FORMAT_VERSION


def changes(path: str) -> bool:
    """Return whether a dataset's bytes are written row by row, after the file was created."""
    return path.startswith(("features/", "crc32/")) or path == "rows/status"


def read_header(file: PinnedFile) -> Header:
    """Return a file's header, checked against its own sha256 and the file's length.

    Raises
    ------
    IntegrityError
        If the file is no cache, is of a newer format, or is damaged.
    """
    lines = first_lines(file)
    version = lines[0].removeprefix(MAGIC)
    # Python refuses to make a number of thousands of digits, which is no version either.
    if version.isdigit() and len(version) <= 9 and int(version) > NEWEST_VERSION:
        raise IntegrityError(
            f"{file.path} has format version {int(version)}, this featcache reads up to {NEWEST_VERSION}: "
            "upgrade featcache"
        )
    if len(lines) < 4 or version not in (b"%d" % FORMAT_VERSION, b"%d" % NEWEST_VERSION):
        raise IntegrityError(f"{file.path}: the header is damaged; {START_AGAIN}")
    if hashlib.sha256(lines[2]).hexdigest().encode() != lines[1]:
        raise IntegrityError(
            f"{file.path}: the header does not match its checksum: damaged or edited by hand; {START_AGAIN}"
        )
    value = HEADER.parse(lines[2], f"{file.path}: the header")
    check_header(value, file.path)
    datasets = {path: tuple(span) for path, span in value["datasets"].items()}
    header = Header(value["start"], value["size"], datasets, value["sha256"])
    if file.size < header.size:
        raise IntegrityError(
            f"{file.path} has {file.size:,} bytes of {header.size:,}: it was truncated; {START_AGAIN}"
        )
    return header


def first_lines(file: PinnedFile) -> list[bytes]:
    """Return a header's three lines, without their line feeds, and what follows, as far as it was read.

    Raises
    ------
    IntegrityError
        If the file does not start as a cache does.
    """
    size = 4096
    while True:
        text = np.empty(min(size, file.size), np.uint8)
        file.read_into(text, 0)
        start = text.tobytes()
        if not start.startswith(MAGIC):
            # What is not named as a cache may be anybody's: it is not to be deleted.
            advice = (
                START_AGAIN
                if file.path.suffix == ".h5"
                else "name the .h5 file that featcache extract writes"
            )
            raise IntegrityError(f"{file.path} is no featcache cache: {_what(start)}; {advice}")
        lines = start.split(b"\n", 3)
        if len(lines) == 4 or size >= min(file.size, _LONGEST):
            return lines
        size *= 2


def _what(start: bytes) -> str:
    return f"it is {looks_like(start) or 'of no format that is known here'}"


@dataclass(frozen=True)
class Layout:
    """The identity, layers and row table of a file: read once, after which rows are plain bytes at known offsets.

    Parameters
    ----------
    identity
        The identity document.
    layers
        Its layers.
    offsets
        Where each dataset starts, in bytes.
    columns
        The row table.
    """

    identity: dict[str, Any]
    layers: dict[str, LayerSpec]
    offsets: dict[str, int]
    columns: dict[str, np.ndarray]

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.identity["rows"]["count"]


def read_layout(file: PinnedFile) -> Layout:
    """Read and verify everything but the rows.

    Raises
    ------
    IntegrityError
        If the file is no cache, truncated, damaged, edited by hand, or of a newer format.
    """
    header = read_header(file)
    if header.digest(file) != header.sha256:
        raise IntegrityError(
            f"{file.path}: the row table, the identity or HDF5's headers do not match their checksum: damaged "
            f"or edited by hand; {START_AGAIN}"
        )
    identity = _identity_in(file, header)
    offsets = {path: offset for path, (offset, _) in header.datasets.items()}
    columns = {}
    plan = storage_plan(identity, _id_bytes(header, identity))
    if strange := header.datasets.keys() - plan.keys() - {"identity"}:
        raise IntegrityError(
            f"{file.path}: the identity does not say what {min(strange)!a} is; {START_AGAIN}"
        )
    for path, (shape, dtype) in plan.items():
        if header.datasets.get(path, (0, -1))[1] != data_bytes(shape, dtype):
            raise IntegrityError(f"{file.path}: {path} is not what the identity says; {START_AGAIN}")
        if path.startswith("rows/"):
            values = np.empty(shape, dtype)
            file.read_into(values, offsets[path])
            columns[path.removeprefix("rows/")] = values
    # The header's digest only says that the file is as it was written; this one says what was to be written.
    if table_digest(columns) != identity["rows"]["sha256"]:
        raise IntegrityError(
            f"{file.path}: the row table is not the one that the identity names: a disk that failed while the "
            f"cache was created may have lost it; {START_AGAIN}"
        )
    check_columns(identity, columns, file.path)
    return Layout(identity, layers_of(identity), offsets, columns)


def _identity_in(file: PinnedFile, header: Header) -> dict[str, Any]:
    offset, length = header.datasets.get("identity", (0, 0))
    content = np.empty(min(length, MOST_BYTES + 1), np.uint8)
    file.read_into(content, offset)
    try:
        identity = parse(content.tobytes())
    except ValueError as error:
        raise IntegrityError(
            f"{file.path}: the identity is no JSON: a disk that failed while the cache was created may have lost "
            f"it; {START_AGAIN}"
        ) from error
    check_identity(identity, file.path)
    return identity


def _id_bytes(header: Header, identity: Mapping[str, Any]) -> int:
    return header.datasets.get("rows/id", (0, 0))[1] // max(1, identity["rows"]["count"]) or 1
