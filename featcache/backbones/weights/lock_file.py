"""The lock file ``weights.lock.json``, which records weights whose full sha256 is not published.

Such a file is trusted when it is first loaded, after whatever is published of it was checked. Its sha256 is recorded
then, so that another file of the same name is noticed later. A record that turns out to be of a wrong file can be
released (`forget`). The lock file is in the weights folder and readable for people: one entry for each file name,
sorted.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from featcache.core.disk.files import replace_file
from featcache.core.disk.storage import OTHER_HOME, storage_error
from featcache.core.documents.document_format import DocumentFormat, read_limited
from featcache.core.documents.kinds import SHA256, Record, Table, Text, Whole
from featcache.core.environment import weights_folder
from featcache.errors import WeightsError

WAIT_S = 30


@dataclass(frozen=True)
class LockRecord:
    """The record of one file.

    Parameters
    ----------
    url
        Address of the file.
    sha256
        Of its bytes when it was first loaded; 64 hexadecimal digits.
    size
        Bytes.
    date
        Date of the record, such as ``"2026-11-22"`` (UTC).
    verified
        The published hash that was checked then: ``"md5 of Keras"``, ``"nothing published"``.
    """

    url: str
    sha256: str
    size: int
    date: str
    verified: str


LOCK_FILE = DocumentFormat(
    Table(
        Record({"url": Text(), "sha256": SHA256, "size": Whole(0), "date": Text(), "verified": Text()}),
        names=Text(1, 1000),
    ),
    what="an object with an entry for each file name",
    remedy="it holds the sha256 of weights for which none is published: repair it or restore it from a copy; if you "
    "delete it, each file is trusted anew when it is next used",
    error=WeightsError,
)


def lock_file() -> Path:
    """Return the path of the lock file, which need not exist."""
    return weights_folder() / "weights.lock.json"


def read_record(filename: str) -> LockRecord | None:
    """Return the record of a file of the weights folder; no lock is needed, because the file is replaced atomically.

    Raises
    ------
    WeightsError
        If the lock file is damaged or cannot be read.
    """
    entry = _read(lock_file()).get(filename)
    return _record(entry) if entry is not None else None


def remember(filename: str, record: LockRecord) -> LockRecord:
    """Record a file, unless there is a record of it already; return the one that holds.

    Raises
    ------
    WeightsError
        If the lock file is damaged (it is not changed then), or in use for long.
    StorageError
        If it cannot be written.
    """
    held = record

    def add(entries: dict[str, Any]) -> bool:
        nonlocal held
        if filename in entries:
            held = _record(entries[filename])
            return False
        entries[filename] = asdict(record)
        return True

    _change(add, f"record the sha256 of {filename} in", f"{OTHER_HOME}, or pass --weights PATH")
    return held


def forget(filename: str) -> LockRecord | None:
    """Release the record of a file, so that the next one of that name is recorded anew; return what it was.

    Raises
    ------
    WeightsError
        If the lock file is damaged (it is not changed then), or in use for long.
    StorageError
        If it cannot be written.
    """
    removed: list[LockRecord] = []

    def remove(entries: dict[str, Any]) -> bool:
        if filename in entries:
            removed.append(_record(entries.pop(filename)))
        return bool(removed)

    # Without a record nothing is written, not even the folder.
    if read_record(filename) is not None:
        _change(remove, f"release the record of {filename} in", OTHER_HOME)
    return removed[0] if removed else None


def _change(change: Callable[[dict[str, Any]], bool], what: str, elsewhere: str) -> None:
    """Let `change` alter the entries while no other process does; it returns whether there is anything to write."""
    path = lock_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=WAIT_S):
            entries = dict(_read(path))
            if change(entries):
                _replace(path, entries)
    except Timeout as error:
        raise WeightsError(
            f"{path} has been in use by another process for {WAIT_S} s; run again when that has ended"
        ) from error
    except OSError as error:
        raise storage_error(error, path, what, elsewhere=elsewhere) from error


def _replace(path: Path, entries: Mapping[str, Any]) -> None:
    text = json.dumps(entries, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    # Lone surrogates of names that are no UTF-8 can only be written as JSON's own escapes.
    replace_file(path, text.encode("utf-8", "backslashreplace"))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries unchanged, so that fields that a person added are kept."""
    try:
        return LOCK_FILE.read(read_limited(path), path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WeightsError(str(storage_error(error, path, "read"))) from error


def _record(entry: Mapping[str, Any]) -> LockRecord:
    return LockRecord(**{field.name: entry[field.name] for field in fields(LockRecord)})
