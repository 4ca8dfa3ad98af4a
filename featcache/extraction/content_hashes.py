"""Content hashes of a dataset's images: who is who, before anything is decoded."""

import contextlib
import hashlib
import random
from collections.abc import Generator, Sequence

from featcache.core.parallel import batched, ordered_map
from featcache.core.progress import OnProgress, Progress
from featcache.datasets import Dataset, Record
from featcache.errors import ImageError
from featcache.extraction.remembered_hashes import recall, remember
from featcache.extraction.row_table import UNREADABLE

TOGETHER = 16
"""Files that a thread takes at a time: handing one over costs as much as hashing a small one."""

SAMPLE, SHARE = 16, 100
"""Of the files whose hashes are remembered, at least so many, and one in so many, are read all the same."""


def hash_records(
    data: Dataset, *, workers: int, report: OnProgress, trust: bool = True, keep: bool = True
) -> list[bytes]:
    """Return the sha256 of every record's bytes.

    A file that was hashed before, and whose inode has not changed since, is not read again. Some of these are, to see
    that this file system can be relied on: if one has other bytes, all are read.

    Parameters
    ----------
    data
        The records.
    workers
        Threads.
    report
        Told after every file.
    trust
        ``False`` reads every file, whatever is remembered of it.
    keep
        Remember the hashes, for the next time.
    """
    known = recall(data) if trust else {}
    rows = _sample(known, data.location)
    again = list(_hashed([data.records[row] for row in rows], workers))
    wrong = again != [known[row] for row in rows]
    if wrong:
        known = {}
    new = [row for row in range(len(data.records)) if row not in known]
    progress = Progress("hash", total=len(data.records))
    hashes = []
    with contextlib.closing(_hashed([data.records[row] for row in new], workers)) as missing:
        for row in range(len(data.records)):
            hashes.append(known[row] if row in known else next(missing))
            progress.done += 1
            report(progress)
    if keep and any(data.records[row].state for row in new):
        remember(data, hashes, alone=wrong)
    return hashes


def _sample(known: dict[int, bytes], location: str) -> list[int]:
    """Return some of the rows that are remembered: any, but of the same dataset always the same."""
    count = min(len(known), max(SAMPLE, len(known) // SHARE))
    return random.Random(location).sample(list(known), count)


def _hashed(records: Sequence[Record], workers: int) -> Generator[bytes]:
    """Yield the sha256 of each record's bytes, `UNREADABLE` where there are none."""
    ahead = 256 // TOGETHER
    for some in ordered_map(_digests, batched(records, TOGETHER), workers=workers, ahead=ahead):
        yield from some


def _digests(records: Sequence[Record]) -> list[bytes]:
    return [_digest(record) for record in records]


def _digest(record: Record) -> bytes:
    try:
        return hashlib.sha256(record.read()).digest()
    except OSError:
        return UNREADABLE


def read_unchanged(record: Record, digest: bytes) -> bytes:
    """Return the bytes of a record that hashed to `digest`.

    Raises
    ------
    ImageError
        If the file cannot be read, or holds other bytes by now.
    """
    try:
        data = record.read()
    except OSError as error:
        raise ImageError("unreadable file", error.strerror or str(error)) from error
    if hashlib.sha256(data).digest() != digest:
        raise ImageError("changed during extraction", "its bytes are not those that were hashed before")
    return data
