"""Read lines of UTF-8 text files, with or without a byte order mark; refuse files that are not text."""

import stat
from collections.abc import Iterator
from pathlib import Path

from featcache.datasets.dataset import access_errors, space_at_end
from featcache.errors import DataError, MissingFileError

LONGEST = 1 << 20
"""Longest line in bytes: a limit on memory, far above any list or table of images."""


def require_file(path: Path, expected: str) -> None:
    """Raise unless `path` is a regular file, so that a FIFO cannot block the scan.

    Parameters
    ----------
    path
        The file.
    expected
        What the file should be, for the message.

    Raises
    ------
    MissingFileError
        If it does not exist.
    DataError
        If it is a folder, a FIFO or a device, or cannot be accessed.
    """
    with access_errors(path, "open"):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise MissingFileError(f"no file {path}{space_at_end(path)}; expected {expected}") from None
        except ValueError as error:
            raise DataError(f"cannot open {path}: {error}; no file has such a name") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise DataError(f"{path} is {what}; expected {expected}")


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
        raise DataError(
            f"{path}, line {number} is not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1}); "
            "save it as UTF-8, for example with: iconv -f WINDOWS-1252 -t UTF-8 (or -f UTF-16)"
        ) from None
