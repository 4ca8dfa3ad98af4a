"""SHA-256 of every image of a dataset, which identifies it before anything is decoded."""

import contextlib
import hashlib
import os
import random
from array import array
from collections.abc import Callable, Generator, Iterable, Sequence

import numpy as np

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
) -> np.ndarray:
    """Return the sha256 of every record's bytes, uint8 ``[N, 32]``; zeros for what cannot be read.

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
        Called after every file that is read, and at the end.
    trust
        ``False`` reads every file, even if its hash is stored.
    keep
        Store the hashes for later runs.
    failures
        Filled with the number and the error of each record that could not be read.
    digests
        What reads and hashes records; threads of this process by default.
    """
    failures = {} if failures is None else failures
    if not trust:
        forget_fetched(data.records)
    count = len(data.records)
    digested = digests or (lambda rows: iter_hashes(map(data.records.__getitem__, rows), workers))
    known, hashes = recall(data) if trust else (np.zeros(count, bool), np.zeros((count, 32), np.uint8))
    wrong, proven = _check_sample(known, hashes, data.location, digested)
    if not proven:
        known[:], hashes[:] = False, 0
    progress = Progress("hash", total=count)

    def take(row: int, found: bytes | ImageError) -> None:
        if isinstance(found, bytes):
            failures.pop(row, None)
            hashes[row] = np.frombuffer(found, np.uint8)
        else:
            failures[row] = found

    new = array("q", np.flatnonzero(~known).astype("=i8").tobytes())
    with contextlib.closing(digested(new)) as missing:
        for row, found in zip(new, missing, strict=True):
            take(row, found)
            progress.done = row + 1  # those before it, too: they were hashed, or are known
            report(progress)
    if progress.done < count:
        progress.done = count
        report(progress)
    lost = [row for row, error in failures.items() if error.reason in TEMPORARY_REASONS]
    with contextlib.closing(digested(lost)) as second_attempt:
        for row, found in zip(lost, second_attempt, strict=True):
            take(row, found)
            report(progress)
    if keep and data.columns.has_state[new].any():
        remember(data, hashes, alone=wrong)
    return hashes


def _check_sample(
    known: np.ndarray, hashes: np.ndarray, location: str, digested: Digests
) -> tuple[bool, bool]:
    """Read a sample of the rows with stored hashes; return whether one has other bytes, and whether all may be used."""
    rows = _sample(known, location)
    again = list(zip(rows, digested(rows), strict=True))
    seen = {row: found for row, found in again if isinstance(found, bytes)}
    wrong = any(digest != hashes[row].tobytes() for row, digest in seen.items())
    return wrong, bool(seen) and not wrong


def _sample(known: np.ndarray, location: str) -> list[int]:
    """Return a random sample of the rows with stored hashes, the same for the same dataset."""
    rows = np.flatnonzero(known)
    count = min(len(rows), max(SAMPLE, len(rows) // SHARE))
    # As bytes: a path need not be UTF-8.
    return rows[random.Random(os.fsencode(location)).sample(range(len(rows)), count)].tolist()


def iter_hashes(records: Iterable[Record], workers: int) -> Generator[bytes | ImageError]:
    """Yield the sha256 of each record's bytes, or why they cannot be read."""
    ahead = 256 // TOGETHER
    for some in ordered_map(digests_of, batched(records, TOGETHER), workers=workers, ahead=ahead):
        yield from some


def digests_of(records: Sequence[Record]) -> list[bytes | ImageError]:
    """Return the sha256 of each record's bytes, or why they cannot be read."""
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
