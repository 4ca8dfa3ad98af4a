"""Append-only logs: one JSON object a line, whole lines only, on the disk once they are written.

A killed process leaves at most the beginning of its last line. Nothing that is cut off within an object is an
object, so a last line without its end is either such a beginning, or whole but for the line feed.

A power cut may keep some blocks of the lines that were being appended, in any order, and leave zeros for the others. No
JSON has a zero byte, so lines with one never were on the disk, and are none.

Every line carries a checksum over its other values, because damage may leave valid JSON. Lines of earlier versions of
featcache have none. The checksum's value says too that it is one, so that damage to its name does not make a line look
like one of those.
"""

import os
import zlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.core.disk.files import replace_file
from featcache.core.disk.names import read_file
from featcache.core.disk.syncing import sync_file, sync_name
from featcache.core.documents.json_text import parse, plain, to_text
from featcache.core.documents.kinds import Kind, Record
from featcache.core.identity import canonical_json
from featcache.errors import IntegrityError

CHECKSUM = "checksum"
_METHOD = "crc32:"


@dataclass(frozen=True)
class Line:
    """A line of a log.

    Parameters
    ----------
    number
        Its number, from 1.
    record
        The record in it; ``None`` where it is damaged.
    why
        What is wrong with it; empty where nothing is.
    has_checksum
        Whether a checksum confirms it; those of earlier versions have none.
    """

    number: int
    record: dict[str, Any] | None
    why: str = ""
    has_checksum: bool = False


def read_lines(
    path: Path, *, content: Kind = Record({}), earlier: Kind | None = None, newest: int | None = None
) -> list[Line]:
    """Return the lines of a log, which another process may be writing; none where there is no file.

    A last line that is torn and lines that were lost in a power cut are left out.

    Parameters
    ----------
    path
        The log.
    content
        What stands in every record.
    earlier
        What stands in a record without a checksum, where that is known better.
    newest
        The newest value of the records' key ``format`` that can be read, if they have one.

    Raises
    ------
    IntegrityError
        If a newer featcache wrote a line.
    OSError
        If the log cannot be read.
    """
    try:
        *lines, last = read_file(path).split(b"\n")
    except FileNotFoundError:
        return []
    if _parse(last) is not None:  # whole but for its line feed
        lines.append(last)
    kinds = (content if earlier is None else earlier, content)
    found = []
    for number, text in enumerate(lines, start=1):
        if _is_lost(text):
            continue
        try:
            record = parse(text)
            _refuse_newer(path, number, record, newest)
            record, has_checksum = _verified(record)
            kinds[has_checksum].check(record)
        except ValueError as error:  # of which a `Misfit` is one
            found.append(Line(number, None, str(error)))
        else:
            found.append(Line(number, record, has_checksum=has_checksum))
    return found


def read_records(
    path: Path, *, damaged: str, content: Kind = Record({}), earlier: Kind | None = None
) -> list[dict[str, Any]]:
    """Return the records of a log; see `read_lines`.

    Parameters
    ----------
    path, content, earlier
        As for `read_lines`.
    damaged
        The message about a damaged line, with ``{path}``, ``{line}`` and ``{why}`` in it.

    Raises
    ------
    IntegrityError
        If any line is no JSON object, does not match its checksum, or does not fit `content`.
    OSError
        If the log cannot be read.
    """
    records = []
    for line in read_lines(path, content=content, earlier=earlier):
        if line.record is None:
            raise IntegrityError(damaged.format(path=path, line=line.number, why=line.why))
        records.append(line.record)
    return records


def _verified(record: Any) -> tuple[Any, bool]:
    """Return a record without its checksum, and whether it had one; raises `ValueError` if that does not match."""
    if not isinstance(record, dict):
        return record, False  # `Record` says what it is
    if CHECKSUM not in record:
        if any(isinstance(value, str) and value.startswith(_METHOD) for value in record.values()):
            raise ValueError("its checksum has another name")
        return record, False
    values = _without_checksum(record)
    if record[CHECKSUM] != _checksum(values):
        raise ValueError("it does not match its checksum")
    return values, True


def _without_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != CHECKSUM}


def _refuse_newer(path: Path, number: int, record: Any, newest: int | None) -> None:
    version = record.get("format") if isinstance(record, dict) else None
    if newest is None or type(version) is not int or version <= newest:
        return
    checksum = record.get(CHECKSUM)
    # Only where our checksum is there and does not match, it is the number of the format that is damaged.
    if not str(checksum).startswith(_METHOD) or checksum == _checksum(_without_checksum(record)):
        raise IntegrityError(
            f"{path}, line {number} has format {version}, this featcache reads {newest}: "
            "it was written by a newer featcache; upgrade featcache"
        )


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
        sync_name(path)


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


def drop_lines(path: Path, numbers: Collection[int]) -> None:
    """Take lines out of a log that `mend_end` has mended, at once or not at all; the others stay byte for byte.

    Parameters
    ----------
    path
        The log.
    numbers
        Of the lines, from 1.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """
    lines = enumerate(read_file(path).split(b"\n"), start=1)
    replace_file(path, b"\n".join(line for number, line in lines if number not in numbers))


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
    values = (plain(record) for record in records)
    return b"".join(to_text({**each, CHECKSUM: _checksum(each)}).encode() + b"\n" for each in values)


def _checksum(values: Mapping[str, Any]) -> str:
    return f"{_METHOD}{zlib.crc32(canonical_json(values)):08x}"
