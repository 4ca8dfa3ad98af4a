"""Arrow and Parquet files that others made, read without trusting them: a child process reads them first.

`featcache.datasets.formats.arrow_child` is that process, and starting it takes a fifth of a second.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from featcache.core.child_process import child_process, end_of
from featcache.core.disk.names import open_regular_file
from featcache.datasets.file_state import state_digest
from featcache.datasets.formats.arrow_child import DAMAGED, LENGTH
from featcache.errors import DataError

MEMORY_BYTES = 3 * 2**28
"""Address space of the child process for a small file: Python and pyarrow map half of it before they read anything."""
_MEMORY_FOLD, _MOST_MEMORY = 4, 2**32
_SECONDS, _BYTES_PER_SECOND = 20, 2**22
_AT_ONCE = 128
"""Files that one child process looks at: a process may often have no more than 1,024 open, or 256."""
_CHILD = Path(__file__).with_name("arrow_child.py")


class ArrowRows(NamedTuple):
    """Rows of an Arrow file whose values were all checked.

    Parameters
    ----------
    table
        pyarrow's, with the columns ``label``, ``path``, ``size``, ``offset`` (of an image's bytes in the file), and
        ``held`` (those of images that are compressed there).
    status
        Of the file that was read, whatever has its name by now.
    """

    table: Any
    status: os.stat_result


def arrow_columns(paths: Sequence[Path]) -> list[ArrowRows]:
    """Return Arrow streams as tables of all their columns, without their rows; raises as `arrow_rows`."""
    return _arrow(paths, "schema", ())


def arrow_rows(paths: Sequence[Path], image: str, label: str) -> list[ArrowRows]:
    """Return labels of Arrow streams, and where the images are, after every value of them was checked.

    Nothing is mapped into this process: a file that is cut while it is mapped ends it.

    Parameters
    ----------
    paths
        The files.
    image, label
        Names of columns.

    Raises
    ------
    DataError
        If one is damaged or decodes to far more than it is, changes meanwhile, or a column is of a type that holds no
        images or no labels.
    OSError
        If one cannot be opened.
    """
    return _arrow(paths, "rows", (image, label))


def _arrow(paths: Sequence[Path], kind: str, columns: Sequence[str]) -> list[ArrowRows]:
    found: list[ArrowRows] = []
    for start in range(0, len(paths), _AT_ONCE):
        found += _read_some(paths[start : start + _AT_ONCE], kind, columns)
    return found


def _read_some(paths: Sequence[Path], kind: str, columns: Sequence[str]) -> list[ArrowRows]:
    import pyarrow as pa

    with ExitStack() as stack:
        files: list[int] = []
        for path in paths:
            files.append(open_regular_file(str(path))[0])
            stack.callback(os.close, files[-1])
        before = [os.fstat(file) for file in files]
        tables: list[Any] = []

        def where() -> Path:
            return paths[min(len(tables), len(paths) - 1)]

        with _answer(where, files, sum(file.st_size for file in before), kind, columns) as answer:
            while answer.read(LENGTH.size):
                with pa.ipc.open_stream(answer) as reader:
                    tables.append(reader.read_all())
        for path, file, status in zip(paths, files, before, strict=True):
            if state_digest(os.fstat(file)) != state_digest(status):
                raise DataError(
                    f"cannot read {path}: it was changed while it was read. Run the command again"
                )
        return [ArrowRows(table, status) for table, status in zip(tables, before, strict=True)]


def parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """Yield columns of a Parquet file as record batches of pyarrow; dictionaries are decoded.

    Parameters
    ----------
    path
        The file.
    columns
        Names of columns, at least one.

    Raises
    ------
    DataError
        If it is damaged, decodes to far more than it is, or a column is neither text nor numbers nor lists of them.
    OSError
        If it cannot be opened.
    """
    import pyarrow as pa

    with _parquet(path, columns) as answer, pa.ipc.open_stream(answer) as reader:
        yield from reader


def copy_parquet(path: Path, columns: Sequence[str], stream: IO[bytes]) -> None:
    """Write columns of a Parquet file to an open file, as an Arrow stream; raises as `parquet_batches`."""
    with _parquet(path, columns) as answer:
        while piece := answer.read(2**20):
            stream.write(piece)


def require_sound_parquet(path: Path) -> None:
    """Refuse a Parquet file that is damaged or decodes to far more than it is; raises as `parquet_batches`."""
    import pyarrow.parquet as pq

    with _parquet(path, pq.read_schema(path).names) as answer:
        answer.drain()


@contextmanager
def _parquet(path: Path, columns: Sequence[str]) -> "Iterator[_Answer]":
    descriptor, status = open_regular_file(str(path))
    try:
        with _answer(lambda: path, [descriptor], status.st_size, "parquet", columns) as answer:
            yield answer
    finally:
        os.close(descriptor)


@contextmanager
def _answer(
    where: Callable[[], Path], files: Sequence[int], size: int, kind: str, columns: Sequence[str]
) -> "Iterator[_Answer]":
    """Give what the child process writes; at the end, refuse the file if it did, or did not end itself."""
    memory = min(MEMORY_BYTES + _MEMORY_FOLD * size, _MOST_MEMORY)
    names = [name.encode("utf-8", "surrogatepass").hex() for name in columns]
    # The pool of the system takes no more address space than it needs.
    environment = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    with child_process(
        _CHILD,
        (kind, _SECONDS + size // _BYTES_PER_SECOND, memory, ",".join(map(str, files)), ",".join(names)),
        packages=("featcache", "pyarrow", "numpy"),
        file=files[0],
        more_files=files,
        environment=environment,
    ) as child:
        assert child.stdout is not None
        answer, stumbled = _Answer(child.stdout), None
        try:
            yield answer
        except (
            Exception
        ) as error:  # perhaps over the end of the stream, where the child refused the file or died
            stumbled = error
        answer.drain()
        child.wait()
        if not answer.ended or answer.reason:
            raise _refusal(where(), answer, child.returncode) from stumbled
        if stumbled is not None:
            raise stumbled


class _Answer:
    """The pieces that the child process writes, joined; what pyarrow takes for a file."""

    closed = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = 0
        self.ended = False
        self.reason = ""

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end."""
        pieces: list[bytes] = []
        while size and self._next():
            piece = self._stream.read(self._left if size < 0 else min(size, self._left))
            if not piece:
                break
            self._left -= len(piece)
            size -= len(piece) if size > 0 else 0
            pieces.append(piece)
        return b"".join(pieces)

    def drain(self) -> None:
        """Read to the end and forget what comes."""
        while self.read(2**20):
            pass

    def _next(self) -> bool:
        """Begin the next piece if need be; false at the end of all, whose reason is then known."""
        if not self._left and not self.ended:
            head = self._stream.read(LENGTH.size)
            if len(head) == LENGTH.size:
                (self._left,) = LENGTH.unpack(head)
                if not self._left:
                    self.ended = True
                    self.reason = self._stream.read(10_000).decode("utf-8", "replace")
        return self._left > 0

    def readable(self) -> bool:
        """Return true: part of what pyarrow asks of a file."""
        return True

    def writable(self) -> bool:
        """Return false: part of what pyarrow asks of a file."""
        return False

    def seekable(self) -> bool:
        """Return false: part of what pyarrow asks of a file."""
        return False

    def close(self) -> None:
        """Do nothing: the process is ended by whoever started it."""


def _refusal(path: Path, answer: _Answer, code: int) -> DataError:
    why = answer.reason
    if not why:
        end = (
            f"its structure {end_of(code, 'Arrow')}"
            if code < 0
            else f"what reads it failed with status {code}"
        )
        why = f"{end}. {DAMAGED}"
    return DataError(f"cannot read {path}: {why}")
