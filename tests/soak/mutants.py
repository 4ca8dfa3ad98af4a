"""Faults put into featcache on purpose, by their names: a soak that does not find them proves nothing.

Each is what somebody might do for speed, or forget.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import header, row_store, writer
from featcache.cache.checksums import PRESENT
from featcache.core.disk import lock, syncing
from featcache.datasets import file_state
from featcache.extraction import run
from featcache.extraction.planning import content_hashes, remembered_hashes


def apply(name: str) -> None:
    """Break something, for as long as this process lives; nothing is broken by no name."""
    if name:
        MUTANTS[name]()


def everywhere(name: str, old: Any, new: Any) -> None:
    """Replace a function or class in every module that took it by its name."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("featcache") and module.__dict__.get(name) is old:
            setattr(module, name, new)


def _no_checksums() -> None:
    """Rows that have a checksum are taken to be right."""
    read = row_store.StoredRows.read

    def unchecked(self: Any, rows: np.ndarray, layer: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        values, _ = read(self, rows, layer, **options)
        return values, (self.crcs[layer][rows] != 0) & (self.status[rows] == PRESENT)

    row_store.StoredRows.read = unchecked  # type: ignore[method-assign]


def _no_fsync() -> None:
    everywhere("sync_file", syncing.sync_file, lambda descriptor: True)


def _replaced_unsynced() -> None:
    """The final name is given before the rows are on the disk."""
    writer.CacheWriter.sync = lambda self: None  # type: ignore[method-assign]


def _names_unsynced() -> None:
    everywhere("sync_name", syncing.sync_name, lambda path: None)


def _checksums_of_what_was_read() -> None:
    """Rows are copied from other caches unchecked, and get checksums of whatever they are."""
    read = row_store.StoredRows.read

    def unchecked(self: Any, rows: np.ndarray, layer: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        return read(self, rows, layer, **{**options, "verify": len(rows) == self.count})

    row_store.StoredRows.read = unchecked  # type: ignore[method-assign]


def _by_size_and_time() -> None:
    """A file of the same size and modification time is taken for the same."""

    def state(*found: os.stat_result) -> bytes:
        text = repr([(each.st_size, each.st_mtime_ns) for each in found]).encode()
        return hashlib.blake2b(text, digest_size=file_state.STATE_BYTES).digest()

    everywhere("file_state", file_state.file_state, state)
    content_hashes.SAMPLE = 1  # of few photos the sample that is read again is all of them, and would find it


def _header_unchecked() -> None:
    header.Header.digest = lambda self, file: self.sha256 or "0" * 64  # type: ignore[method-assign]


def _no_lock() -> None:
    class Nothing(lock.WriteLock):
        def __enter__(self) -> "Nothing":
            return self

        def __exit__(self, *error: object) -> None: ...

    everywhere("WriteLock", lock.WriteLock, Nothing)


def _old_rows_stay() -> None:
    run.remove_set_aside = lambda target, known=False: None  # type: ignore[attr-defined]


def _hashes_unchecked() -> None:
    """Remembered hashes are used whatever their file's own checksum says, and no sample of files is read again."""
    start = len(remembered_hashes._MAGIC) + 32

    def read(path: Path) -> Any:
        try:
            return remembered_hashes._columns(path.read_bytes()[start:])
        except (OSError, ValueError):
            return None

    remembered_hashes._read_columns = read
    content_hashes.SAMPLE = 1


def _by_number() -> None:
    """An extraction that is continued takes as many rows for those of before."""
    everywhere(
        "same_rows", run.same_rows, lambda identity, rows, document: identity["rows"]["count"] == len(rows)
    )


def _overwritten_in_place() -> None:
    """The final file is written over, not replaced: a reader sees both, and a power cut a mixture."""
    replace = os.replace

    def copied(source: Any, target: Any, **others: Any) -> None:
        if str(target).endswith(".h5") and not str(target).endswith((".partial.h5", ".previous.h5")):
            content = Path(source).read_bytes()
            with open(target, "r+b" if os.path.exists(target) else "wb") as stream:
                stream.write(content)
                stream.truncate()
                os.fsync(stream.fileno())
            os.unlink(source)
            return
        replace(source, target, **others)

    os.replace = copied  # type: ignore[assignment]


MUTANTS: Mapping[str, Callable[[], None]] = {
    "no checksums": _no_checksums,
    "no fsync": _no_fsync,
    "replaced before it is synced": _replaced_unsynced,
    "names are not synced": _names_unsynced,
    "rows are copied unchecked": _checksums_of_what_was_read,
    "files by size and time": _by_size_and_time,
    "header unchecked": _header_unchecked,
    "no lock": _no_lock,
    "old rows stay": _old_rows_stay,
    "remembered hashes unchecked": _hashes_unchecked,
    "rows by their number": _by_number,
    "overwritten in place": _overwritten_in_place,
}
"""How each is made."""
