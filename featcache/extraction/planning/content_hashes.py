"""SHA-256 of every image of a dataset, which identifies it before anything is decoded."""

import contextlib
import hashlib
import os
import random
from collections.abc import Callable, Generator, Sequence

from featcache.core.parallel import batched, ordered_map
from featcache.core.progress import OnProgress, Progress
from featcache.datasets import Dataset, Record
from featcache.datasets.dataset import why_unread
from featcache.datasets.remote.pieces import forget_fetched
from featcache.errors import ImageError
from featcache.extraction.planning.remembered_hashes import recall, remember
from featcache.extraction.planning.row_table import UNREADABLE
from featcache.images.decoding import TEMPORARY_REASONS
from featcache.images.limits import room_for_file

TOGETHER = 16
"""Files per task of a thread: scheduling a task costs as much as hashing a small file."""

Digests = Callable[[Sequence[int]], Generator[bytes | ImageError]]
"""Numbers of records to the sha256 of each one's bytes, or why they cannot be read, in the same order."""

SAMPLE, SHARE = 16, 100
"""Files with stored hashes that are read again as a check: at least `SAMPLE`, and one in `SHARE`."""


def hash_records(
    data: Dataset,
    *,
    workers: int,
    report: OnProgress,
    trust: bool = True,
    keep: bool = True,
    failures: dict[int, ImageError] | None = None,
    digests: Digests | None = None,
) -> list[bytes]:
    """Return the sha256 of every record's bytes.

    A file that was hashed before, and whose inode has not changed since, is not read again. A sample of these files is
    read to check that the file system's state is reliable: if one holds other bytes, all files are read. Files that
    cannot be read for a moment are tried once more after all others: a lack of memory or file descriptors may have
    passed.

    Parameters
    ----------
    data
        The records.
    workers
        Threads.
    report
        Called after every file.
    trust
        ``False`` reads every file, even if its hash is stored.
    keep
        Store the hashes for later runs.
    failures
        Filled with the number and the error of each record that could not be read.
    digests
        What reads and hashes records; threads of this process by default.
    """
    digested = digests or (lambda rows: _iter_hashes([data.records[row] for row in rows], workers))
    failures = {} if failures is None else failures
    if not trust:
        forget_fetched(data.records)
    known = recall(data) if trust else {}
    rows = _sample(known, data.location)
    again = dict(zip(rows, digested(rows), strict=True))
    seen = {row: found for row, found in again.items() if isinstance(found, bytes)}
    wrong = any(digest != known[row] for row, digest in seen.items())
    if wrong or not seen:
        known = {}
    new = [row for row in range(len(data.records)) if row not in known]
    progress = Progress("hash", total=len(data.records))
    hashes: list[bytes] = []

    def take(row: int, found: bytes | ImageError) -> bytes:
        if isinstance(found, bytes):
            failures.pop(row, None)
            return found
        failures[row] = found
        return UNREADABLE

    with contextlib.closing(digested(new)) as missing:
        for row in range(len(data.records)):
            hashes.append(known[row] if row in known else take(row, next(missing)))
            progress.done += 1
            report(progress)
    lost = [row for row, error in failures.items() if error.reason in TEMPORARY_REASONS]
    with contextlib.closing(digested(lost)) as second_attempt:
        for row, found in zip(lost, second_attempt, strict=True):
            hashes[row] = take(row, found)
            report(progress)
    if keep and any(data.records[row].state for row in new):
        remember(data, hashes, alone=wrong)
    return hashes


def _sample(known: dict[int, bytes], location: str) -> list[int]:
    """Return a random sample of the rows with stored hashes, the same for the same dataset."""
    count = min(len(known), max(SAMPLE, len(known) // SHARE))
    # As bytes: a path need not be UTF-8.
    return random.Random(os.fsencode(location)).sample(list(known), count)


def _iter_hashes(records: Sequence[Record], workers: int) -> Generator[bytes | ImageError]:
    """Yield the sha256 of each record's bytes, or why they cannot be read."""
    ahead = 256 // TOGETHER
    for some in ordered_map(_digests, batched(records, TOGETHER), workers=workers, ahead=ahead):
        yield from some


def _digests(records: Sequence[Record]) -> list[bytes | ImageError]:
    return [_digest(record) for record in records]


def _digest(record: Record) -> bytes | ImageError:
    try:
        with room_for_file(record.size):
            return hashlib.sha256(record.read()).digest()
    except (OSError, ImageError, MemoryError) as error:
        return why_unread(error, record.size).with_traceback(None)


def read_unchanged(record: Record, digest: bytes) -> bytes:
    """Read a record and verify that its bytes still hash to `digest`.

    Raises
    ------
    ImageError
        If the file cannot be read, could not be read when it was hashed, or has changed since.
    """
    try:
        data = record.read()
    except (OSError, MemoryError) as error:
        raise why_unread(error, record.size) from error
    if digest == UNREADABLE:
        raise ImageError("unreadable file", "it could not be read when it was hashed; it can be read now")
    if hashlib.sha256(data).digest() != digest:
        raise ImageError("changed during extraction", "its bytes are not those that were hashed before")
    return data
