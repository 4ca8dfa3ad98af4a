"""Content hashes of a dataset's images: who is who, before anything is decoded."""

import hashlib
from collections.abc import Sequence

from featcache.cache import FeatureCache
from featcache.core.parallel import batched, ordered_map
from featcache.core.progress import OnProgress, Progress
from featcache.datasets import Dataset, Record
from featcache.errors import ImageError
from featcache.extraction.row_table import UNREADABLE

TOGETHER = 16
"""Files that a thread takes at a time: handing one over costs as much as hashing a small one."""


def hash_records(
    data: Dataset, caches: Sequence[FeatureCache], *, workers: int, report: OnProgress, trust: bool = True
) -> list[bytes]:
    """Return the sha256 of every record's bytes.

    Parameters
    ----------
    data
        The records.
    caches
        A file whose name, size and time are as one of these remembers is not read again.
    workers
        Threads.
    report
        Told after every file.
    trust
        ``False`` reads every file, whatever its size and time say.
    """
    known = {} if not trust else _remembered(caches)

    def digest(record: Record) -> bytes:
        hint = known.get((record.id, record.size, record.mtime_ns)) if record.mtime_ns else None
        if hint is not None and hint != UNREADABLE:
            return hint
        try:
            return hashlib.sha256(record.read()).digest()
        except OSError:
            return UNREADABLE

    def digests(records: Sequence[Record]) -> list[bytes]:
        return [digest(record) for record in records]

    progress = Progress("hash", total=len(data.records))
    hashes = []
    for some in ordered_map(digests, batched(data.records, TOGETHER), workers=workers, ahead=256 // TOGETHER):
        for value in some:
            hashes.append(value)
            progress.done += 1
            report(progress)
    return hashes


def _remembered(caches: Sequence[FeatureCache]) -> dict[tuple[str, int, int], bytes]:
    return {
        (name, int(size), int(mtime)): digest.tobytes()
        for cache in reversed(caches)
        for name, size, mtime, digest in zip(
            cache.ids, cache.sizes, cache.mtimes_ns, cache.sha256, strict=True
        )
    }


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
