"""Tar shards in WebDataset's layout, read in place: ``tar:shards-{000..009}.tar``.

Members that share a key (their name up to the first dot of its last part) are one sample: an image (``.jpg``,
``.jpeg``, ``.png``, ``.webp``) and its label (``.cls``: a number or a name; ``.json``: ``{"label": …, "split": …}``).
A shard's headers are walked once; an image's bytes are then read from the shard at their offset. Nothing is
ever extracted, so no name inside an archive can become a path on this machine.
"""

import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from featcache.core.disk.store_urls import is_url, redacted, scheme_of
from featcache.core.tasks import MULTICLASS, UNLABELLED
from featcache.datasets.dataset import Dataset, Record, access_errors, features_alone
from featcache.datasets.formats.shard_names import EXPECTED, find_shards
from featcache.datasets.labels.tar_labels import READERS, Label, as_indices
from featcache.datasets.layouts.shard_splits import splits_by_names
from featcache.datasets.remote.shards import find_remote_shards
from featcache.datasets.shard_file import OpenShard, Shard, ShardFile, Stream
from featcache.errors import DataError
from featcache.images.limits import MAX_FILE_BYTES
from featcache.splits.slices import SPLITS

IMAGES = frozenset({"jpg", "jpeg", "png", "webp"})
MAX_LABEL = 2**20


# tarfile reads a header's extension (long names, pax records) whole, however large it says it is.
_MAX_HEADER = 2**20

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "unzstd"),
    b"\x04\x22\x4d\x18": ("LZ4", "unlz4"),
}
_HOSTILE = (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError, EOFError)
"""Exceptions that tarfile raises on invalid headers; long-name headers of long-name headers recurse."""


class _Extent(NamedTuple):
    """Where a member's bytes are in its shard."""

    offset: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class _Sample:
    shard: Shard
    image: _Extent
    label: Label


def open_tar(pattern: str, *, unlabelled: bool = False) -> Dataset:
    """Index tar shards without extracting them.

    Class names are the lines of a ``classes.txt`` beside the first shard, into which numbers are indices;
    without one they are the labels' own texts, in natural order. A sample's split is that of its ``.json``,
    else the shard's file name begins with it (``train-000.tar``). Where neither says any, it is the word in the names
    of all shards or of their folders (``flowers-val-000.tar``), or the folder of the sample (``val/1.jpg``), if these
    are of several splits; else there is none.

    Left out and counted: samples without an image, with several, without a label or with one that cannot be
    read; members that are links, devices or sparse, whose names are absolute or climb with ``..``, or that are
    larger than `featcache.images.limits.MAX_FILE_BYTES`; members of other extensions.

    Parameters
    ----------
    pattern
        A file, a folder (its ``*.tar``), or a name with brace ranges (``{000..009}``, ``{a,b}``) or wildcards;
        ``~`` is expanded.
    unlabelled
        Whether to leave labels out, which need not be there then.

    Raises
    ------
    MissingFileError
        If a shard does not exist, or a wildcard matches none.
    DataError
        If a shard cannot be read, is compressed, truncated or damaged, or holds a name twice; if labels are not among
        the classes, or there are fewer than two classes.
    UsageError
        If the pattern cannot be expanded.
    """
    remote = is_url(pattern)
    with access_errors(redacted(pattern)):
        shards: Sequence[Shard] = find_remote_shards(pattern) if remote else _files(pattern)
    skipped: Counter[str] = Counter()
    samples: list[_Sample] = []
    for shard in shards:
        samples += _samples(shard, skipped, unlabelled=unlabelled)
    if unlabelled:
        classes, labels = (), [-1] * len(samples)
    else:
        listed = shards[0].classes()
        classes, labels = as_indices([sample.label for sample in samples], listed)
    pattern = redacted(pattern)
    _refuse_unusable(pattern, samples, classes, skipped)
    root = Path(os.path.commonpath([shard.place.parent for shard in shards]))
    names: dict[Shard, str] = {shard: shard.place.relative_to(root).as_posix() for shard in shards}
    split_of = splits_by_names(
        [(names[sample.shard], sample.image.name, sample.label.split) for sample in samples], f"tar:{pattern}"
    )
    records = [
        _record(sample, label, names[sample.shard], split)
        for sample, label, split in zip(samples, labels, split_of, strict=True)
    ]
    return Dataset(
        spec=f"tar:{pattern}",
        name=root.name or "dataset",
        classes=classes,
        records=records,
        skipped=dict(skipped),
        task=UNLABELLED if unlabelled else MULTICLASS,
        location=f"tar:{scheme_of(pattern)}://{root}" if remote else f"tar:{root.resolve()}",
    )


def _files(pattern: str) -> list[ShardFile]:
    return [ShardFile(path, EXPECTED) for path in find_shards(pattern)]


def _record(sample: _Sample, label: int, shard: str, split: str) -> Record:
    image, written = sample.image, sample.label.split
    return Record(
        id=f"{shard}/{image.name}",
        label=label,
        split=split if written is None else SPLITS.get(written.casefold(), written),
        read=sample.shard.reader(image.offset, image.size),
        size=image.size,
        mtime_ns=sample.shard.mtime_ns,
        state=sample.shard.state,
    )


# Shards -----------------------------------------------------------------------------------------------------


class _Headers:
    """A shard's stream for tarfile: forwards only, within the file, and no read larger than a header may be.

    A member whose size is negative would send tarfile back, and round for ever (CVE-2025-8194); one of 2^60 bytes,
    to where no file system has a byte.
    """

    def __init__(self, stream: Stream, size: int, name: str) -> None:
        self._stream = stream
        self._size = size
        self.name = name

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        if position < self._stream.tell():
            raise tarfile.ReadError("a member of negative size")
        if position > self._size:
            raise tarfile.ReadError(f"unexpected end of data, a member reaches byte {position}")
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()


class _Member(tarfile.TarInfo):
    """A member of whose header only what matters here is read, where it is a plain file's.

    Two thirds of a scan are tarfile's reading of owners, times and modes. Every other kind of header, and any that
    this does not understand at once, is left to it.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> tarfile.TarInfo:
        if len(buf) == tarfile.BLOCKSIZE and buf[156:157] == tarfile.REGTYPE:
            size, checksum = _octal(buf[124:136]), _octal(buf[148:156])
            if size is not None and checksum == sum(buf) - sum(buf[148:156]) + 8 * ord(" "):
                member = cls(_text(buf[:100], encoding, errors))
                member.size = size
                if buf[345]:
                    member.name = f"{_text(buf[345:500], encoding, errors)}/{member.name}"
                return member
        return super().frombuf(buf, encoding, errors)


def _octal(field: bytes | bytearray) -> int | None:
    """Return an octal number as all writers write sizes below 8 GiB; ``None`` for any other encoding."""
    digits = field.rstrip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None


def _text(field: bytes | bytearray, encoding: str, errors: str) -> str:
    return field.partition(b"\0")[0].decode(encoding, errors)


def _samples(shard: Shard, skipped: Counter[str], *, unlabelled: bool = False) -> Iterator[_Sample]:
    with shard.opened() as held:
        _refuse_compressed(shard, held.stream)
        grouped: dict[str, dict[str, _Extent]] = {}
        for key, extension, extent in _members(shard, held, skipped):
            fields = grouped.setdefault(key, {})
            if extension in fields:
                raise DataError(
                    f"{shard} holds {extent.name} twice: which image goes with which label cannot be known. "
                    "Write the shard again with keys of its own for each sample"
                )
            fields[extension] = extent
        found = [_sample_of(fields, shard, held.pread, unlabelled=unlabelled) for fields in grouped.values()]
    for each in found:
        if isinstance(each, str):
            skipped[each] += 1
        else:
            yield _Sample(shard, *each)


def _members(shard: Shard, held: OpenShard, skipped: Counter[str]) -> Iterator[tuple[str, str, _Extent]]:
    """Yield key, extension and extent of the members that matter; raise where the archive is not whole."""
    try:
        headers = _Headers(held.stream, held.size, str(shard))
        with tarfile.open(fileobj=headers, mode="r:", tarinfo=_Member) as archive:  # type: ignore[arg-type]
            while (member := archive.next()) is not None:
                archive.members.clear()  # they would all be kept
                if member.isdir():
                    continue
                key, extension = _key(member.name)
                if why := _unusable(member, extension):
                    skipped[why] += 1
                    continue
                yield key, extension, _Extent(member.offset_data, member.size, _plain(member.name))
            end = archive.offset
    except _HOSTILE as error:
        # At byte 0 it is no archive at all; an empty one has its end marker there.
        raise _damaged(shard, str(error) or type(error).__name__) from error
    _require_end(shard, held.stream, end)


def _require_end(shard: Shard, stream: Stream, offset: int) -> None:
    """Refuse a shard without its end marker, at which tarfile stops as silently as at a damaged header."""
    stream.seek(offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise _damaged(shard, f"no end marker at byte {offset}, the download or copy stopped there")
    if any(block):
        raise _damaged(shard, f"the header at byte {offset} makes no sense")
    if any(stream.read(_MAX_HEADER)):
        raise _damaged(
            shard, f"there is more after the end marker at byte {offset}, as where archives are joined"
        )


def _damaged(shard: Shard, why: str) -> DataError:
    return DataError(f"{shard} is truncated or damaged: {why}. Fetch or write this shard again")


def _refuse_compressed(shard: Shard, stream: Stream) -> None:
    start = stream.read(6)
    stream.seek(0)
    for magic, (kind, tool) in _COMPRESSED.items():
        if start.startswith(magic):
            raise DataError(
                f"{shard} is compressed ({kind}), and records are read in place, which that does not allow. "
                f"Unpack the layer once ({tool}); JPEG, PNG and WebP are compressed already"
            )


def _plain(name: str) -> str:
    # A pax header may say NUL, which no file name holds and a cache's ids would lose.
    return name.removeprefix("./").replace("\0", "\\0")


def _key(name: str) -> tuple[str, str]:
    """Split a member's name at the first dot of its last part, as WebDataset does."""
    folder, slash, last = _plain(name).rpartition("/")
    stem, _, extension = last.partition(".")
    return folder + slash + stem, extension.casefold()


def _unusable(member: tarfile.TarInfo, extension: str) -> str | None:
    """Return why a member is left out, or ``None``."""
    if not member.isreg():
        return "tar member that is a link, device or FIFO"
    if member.issparse():
        return "sparse tar member"
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "tar member with an absolute name or .. in it"
    if extension not in IMAGES and extension not in READERS:
        return f"tar member that is neither image nor label (.{extension})"
    if member.size > (MAX_FILE_BYTES if extension in IMAGES else MAX_LABEL):
        return "tar member too large to be what its name says"
    return None


def _sample_of(
    fields: dict[str, _Extent], shard: Shard, pread: Callable[[int, int], bytes], *, unlabelled: bool
) -> tuple[_Extent, Label] | str:
    """Return a sample's image and label, or why it has none."""
    images = [extent for extension, extent in fields.items() if extension in IMAGES]
    if len(images) != 1:
        return "sample without an image" if not images else "sample with several images"
    if unlabelled:
        return images[0], Label("", None, "")
    value: int | str | None = None
    split: str | None = None
    for extension in ("json", "cls"):  # .cls last: it is the label, the other may say more
        if extension in fields:
            extent = fields[extension]
            try:
                said, its_split = READERS[extension](pread(extent.size, extent.offset))
            except ValueError:
                return f"sample whose .{extension} cannot be read"
            value, split = (value if said is None else said), its_split or split
    if value is None or value == -1:  # -1 is many datasets' way to say that there is none
        return "sample without a label"
    return images[0], Label(value, split, f"{shard}, {images[0].name}")


def _refuse_unusable(
    pattern: str, samples: Sequence[_Sample], classes: Sequence[str], skipped: Counter[str]
) -> None:
    found = "; left out: " + ", ".join(f"{n} {why}" for why, n in skipped.items()) if skipped else ""
    alone = features_alone(f"tar:{pattern}")
    layout = f"expected members such as 0001.jpg with 0001.cls or 0001.json; {alone}"
    if not samples:
        raise DataError(f"tar:{pattern} holds no labelled images; {layout}{found}")
    if len(classes) == 1:
        one = f"holds one class ({classes[0]}); a classifier needs at least two"
        raise DataError(f"tar:{pattern} {one}; {layout}{found}")
