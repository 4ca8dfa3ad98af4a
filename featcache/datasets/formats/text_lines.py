"""Read lines of UTF-8 text files; a byte order mark is left out; what is not text is refused."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from featcache.datasets.dataset import access_errors
from featcache.errors import DataError

LONGEST = 1 << 20
"""Longest line in bytes: a limit on memory, far above any list or table of images."""


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line's number, from 1, and its text with its line end; a byte order mark is left out.

    Raises
    ------
    DataError
        If a line is not UTF-8 or longer than `LONGEST`, or the file cannot be read.
    """
    with access_errors(path), path.open("rb") as stream:
        number = 0
        while line := stream.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise DataError(f"{path}, line {number} is longer than {LONGEST:,} bytes; is it a text file?")
            yield number, _decode(line, path, number)


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        utf_16 = number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff"))
        own, other = shlex.quote(str(path)), shlex.quote(f"{path.with_suffix('')}-utf8{path.suffix}")
        raise DataError(
            f"{path}, line {number} is not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1}); "
            f"{'it begins as UTF-16 does; ' if utf_16 else ''}save it as UTF-8, for example with: iconv -f "
            f"{'UTF-16' if utf_16 else 'WINDOWS-1252'} -t UTF-8 {own} > {other}"
        ) from None
