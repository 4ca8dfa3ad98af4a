"""Append-only logs: one JSON object a line, whole lines only, on the disk once they are written.

A killed process leaves at most the beginning of its last line. Nothing that is cut off within an object is an
object, so a last line without its end is either such a beginning, or whole but for the line feed.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from featcache.core.documents.json_text import parse, to_text
from featcache.core.documents.kinds import Kind, Record
from featcache.core.files import replace_file, sync_file, sync_folder
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
        If any line but a torn last one is no JSON object, or does not fit `content`.
    OSError
        If the log cannot be read.
    """
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    if _parse(last) is not None:  # whole but for its line feed
        lines.append(last)
    return [
        _read(line, damaged, content, path=path, line=number) for number, line in enumerate(lines, start=1)
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
    """Make a log end in a whole line, if it is there: a torn last line is dropped, a whole one gets its line feed.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """
    if not path.exists() or _ends_in_line_feed(path):
        return
    content = path.read_bytes()
    whole, feed, last = content.rpartition(b"\n")
    replace_file(path, whole + feed if _parse(last) is None else content + b"\n")


def _ends_in_line_feed(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        return stream.read(1) in (b"", b"\n")


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
