"""Append-only logs: one JSON object a line, whole lines only, on the disk once they are written.

A killed process leaves at most the beginning of its last line. Nothing that is cut off within an object is an
object, so a last line without its end is either such a beginning, or whole but for the line feed.

A power cut may keep some blocks of the lines that were being appended, in any order, and leave zeros for the others. No
JSON has a zero byte, so lines with one never were on the disk, and are none.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from featcache.core.disk.files import replace_file
from featcache.core.disk.names import read_file
from featcache.core.disk.syncing import sync_file, sync_folder
from featcache.core.documents.json_text import parse, to_text
from featcache.core.documents.kinds import Kind, Record
from featcache.errors import IntegrityError


def read_records(path: Path, *, damaged: str, content: Kind = Record({})) -> list[dict[str, Any]]:
    """Return the records of a log, which another process may be writing; none where there is no file.

    Parameters
    ----------
    path
        The log.
    damaged
        The message about a line that is no record, with ``{path}``, ``{line}`` and ``{why}`` in it.
    content
        What stands in every record.

    Raises
    ------
    IntegrityError
        If any line is no JSON object, or does not fit `content`, unless it is the last one and torn, or was lost in a
        power cut.
    OSError
        If the log cannot be read.
    """
    try:
        *lines, last = read_file(path).split(b"\n")
    except FileNotFoundError:
        return []
    if _parse(last) is not None:  # whole but for its line feed
        lines.append(last)
    return [
        _read(line, damaged, content, path=path, line=number)
        for number, line in enumerate(lines, start=1)
        if not _is_lost(line)
    ]


def _read(text: bytes, damaged: str, content: Kind, **place: Any) -> dict[str, Any]:
    try:
        record = parse(text)
        content.check(record)
    except ValueError as error:  # of which a `Misfit` is one
        raise IntegrityError(damaged.format(**place, why=error)) from error
    return record


def append_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records; all of them are on the disk when this returns, and none if it fails.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    content = memoryview(_encode(records))
    with path.open("ab", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        try:
            while content:
                content = content[os.write(stream.fileno(), content) :]
            sync_file(stream.fileno())
        except BaseException:  # half a line would spoil the next one
            with suppress(OSError):
                os.truncate(stream.fileno(), size)
            raise
    if not size:
        sync_folder(path.parent)


def mend_end(path: Path) -> None:
    """Make a log end in a whole line, if it is there: torn and lost lines are dropped, a whole one gets its line feed.

    Only for who writes it: what looks torn may be a line that another process is writing.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """
    if not path.exists():
        return
    content = read_file(path)
    *lines, last = content.split(b"\n")
    whole = [line for line in (*lines, last) if not _is_lost(line)]
    if whole and whole[-1] is last and _parse(last) is None:
        whole.pop()
    mended = b"".join(line + b"\n" for line in whole)
    if mended != content:
        replace_file(path, mended)


def _is_lost(line: bytes) -> bool:
    return b"\0" in line


def rewrite_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace a log by one of these records, at once or not at all; raises ``OSError``."""
    replace_file(path, _encode(records))


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _encode(records: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(to_text(record).encode() + b"\n" for record in records)
