"""Tables of Arrow and Parquet files, read and checked; runs as a script, in a process of its own.

Arrow's library trusts the files that it maps: of 500 with one flipped bit 21 crashed it, and so does one that is cut
while it is mapped. And Parquet says how much it holds in numbers that nothing checks: 3.8 kB of it took 1.55 GB.
`featcache.datasets.formats.arrow_files` starts this script with open files. Of Arrow, every value is checked, and
written to standard output is what the columns are, or each row's label and where in the file its image is. Of Parquet,
the columns asked for are written, in small batches. Both are Arrow streams. What is written comes in pieces, each
behind its length in 8 bytes. A length of 0 ends them, and a reason to refuse the file may follow: without that end,
the process died.
"""

import io
import os
import struct
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

LENGTH = struct.Struct("<Q")
DAMAGED = "The file is damaged or was made to do harm: fetch or save it again"
_FREE = 2**26
"""Bytes that a file may decode to however small it is."""
_FOLD = {"arrow": 4, "parquet": 100}
"""How many times its own size a larger file may decode to. Arrow's are held as they are; names of files in order and
labels are packed 10 to 50 times by Parquet, images not at all."""
_ROWS_PER_BYTE = 8
"""Rows that a byte of a file may hold: nothing is smaller than a bit, but columns of nothing take no space at all."""
_BATCH_BYTES, _BATCH_ROWS = 2**23, 256


class RefusedError(Exception):
    """The file would take far more than it is; the arguments are the reason and what to do next."""

    def __init__(self, reason: str, advice: str = DAMAGED) -> None:
        super().__init__(reason, advice)


def main(arguments: list[str]) -> None:
    """Check Arrow files, or convert the Parquet file on standard input.

    Parameters
    ----------
    arguments
        ``schema``, ``rows`` or ``parquet``; the limits on processor time in seconds and on memory in bytes; with commas
        between them, descriptors of Arrow files, and names of columns in hexadecimal; folders where pyarrow is.
    """
    kind, seconds, memory = arguments[0], int(arguments[1]), int(arguments[2])
    files = [int(item) for item in arguments[3].split(",")]
    names = [bytes.fromhex(item).decode() for item in arguments[4].split(",") if item]
    sys.path.extend(arguments[5:])
    from featcache.core.child_process import limit_process

    out, reason = _Pieces(), ()
    try:
        if kind != "parquet":
            import numpy  # noqa: F401 - all is imported before no file can be opened any more
            import pyarrow as pa
            import pyarrow.compute

            # Maps of the very files that are open, and not of what has their names by now.
            maps = [pa.memory_map(f"/dev/fd/{file}") for file in files]
            limit_process(seconds, memory + sum(source.size() for source in maps))
            for number, source in enumerate(maps):
                out.write(LENGTH.pack(number))  # so that it is known at which of them the process died
                if kind == "rows":
                    write_rows(source, names, out)
                else:
                    write_schema(source, out)
        else:
            import pyarrow as pa
            import pyarrow.compute  # all is imported before no file can be opened any more; this decodes dictionaries
            import pyarrow.parquet

            limit_process(seconds, memory)
            write_parquet(pa.PythonFile(io.FileIO(0, closefd=False)), os.fstat(0).st_size, names, out)
    except RefusedError as error:
        reason = error.args
    except MemoryError:
        reason = (f"it takes more than {memory:,} bytes of memory", DAMAGED)
    except Exception as error:  # pyarrow's own kinds, text that is no UTF-8
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        reason = (f"{type(error).__name__}: {first}", DAMAGED)
    out.end(". ".join(part[:1000] for part in reason))
    os._exit(0)  # what it holds of a damaged file is not taken apart


class _Pieces(io.RawIOBase):
    """Standard output, as pieces behind their lengths."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if len(view):
            _write(LENGTH.pack(len(view)))
            _write(view)
        return len(view)

    def end(self, reason: str) -> None:
        _write(LENGTH.pack(0) + reason.encode("utf-8", "backslashreplace"))


def _write(data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def write_schema(source: Any, out: Any) -> None:
    """Write the names and types of an Arrow stream's columns, as a stream without rows."""
    import pyarrow as pa

    with pa.ipc.open_stream(source) as reader, pa.ipc.new_stream(out, reader.schema):
        pass


def write_rows(source: Any, names: list[str], out: Any) -> None:
    """Write where each image of an Arrow stream is, and its label; refuse what could not be read.

    Parameters
    ----------
    source
        The file, mapped.
    names
        Of the columns of images and of labels.
    out
        Where to: a stream with the columns ``label``, ``path``, ``size``, ``offset`` and ``held``, the bytes of images
        that are compressed in the file.

    Raises
    ------
    RefusedError
        If it decodes to too much, or a column holds no images or no labels; damage raises what pyarrow raises, or ends
        the process.
    """
    import pyarrow as pa

    whole = source.read_buffer(source.size())
    budget = _Budget("arrow", whole.size)
    with pa.ipc.open_stream(whole) as reader:
        image, label = (reader.schema.field(name).type for name in names)
        _require_types(image, label)
        path = image.field("path").type if pa.types.is_struct(image) else pa.string()
        kinds = {
            "label": label,
            "path": path,
            "size": pa.int64(),
            "offset": pa.int64(),
            "held": pa.large_binary(),
        }
        schema = pa.schema(kinds)
        writer = pa.ipc.new_stream(out, schema)
        for batch in reader:
            batch.validate(full=True)
            budget.take(batch)
            columns = [batch.column(names[1]), *_places(batch.column(names[0]), path, whole)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
        writer.close()  # not where it stumbles: the end of the stream says that all went well


def _places(images: Any, path: Any, whole: Any) -> list[Any]:
    """Return paths, sizes and offsets of images, and the bytes of those that are not in the file as they are."""
    import numpy as np
    import pyarrow as pa

    pc: Any = import_module("pyarrow.compute")  # its functions are made when it is imported
    count, paths = len(images), pa.nulls(len(images), path)
    nothing = [pa.nulls(count, pa.int64()), pa.nulls(count, pa.int64()), pa.nulls(count, pa.large_binary())]
    if pa.types.is_struct(images.type):
        paths, images = pc.struct_field(images, "path"), pc.struct_field(images, "bytes")
    elif pa.types.is_string(images.type) or pa.types.is_large_string(images.type):
        return [images.cast(path), *nothing]
    sizes = pc.binary_length(images).cast(pa.int64())
    _, places, data = images.buffers()
    start = data.address - whole.address if data is not None else 0
    if data is not None and not 0 <= start <= whole.size - data.size:
        return [paths, sizes, nothing[1], images.cast(pa.large_binary())]
    wide = pa.types.is_large_binary(images.type) or pa.types.is_large_string(images.type)
    offsets = np.frombuffer(places, np.int64 if wide else np.int32)[images.offset : images.offset + count]
    # Not by pa.array, which looks for pandas first, and nothing can be imported any more.
    found = pa.Array.from_buffers(pa.int64(), count, [None, pa.py_buffer(offsets.astype(np.int64) + start)])
    return [paths, sizes, found, nothing[2]]


def _require_types(image: Any, label: Any) -> None:
    """Refuse types of which few bytes can become much: lists of nothings, views of one text from everywhere."""
    from pyarrow import types

    parts = {field.name: field.type for field in image} if types.is_struct(image) else {"": image}
    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    if parts.keys() not in ({""}, {"bytes", "path"}) or not all(
        any(is_(t) for is_ in texts) for t in parts.values()
    ):
        raise RefusedError(f"the column of images is of the type {image}", "Expected bytes, paths, or both")
    if not (types.is_primitive(label) or types.is_null(label) or any(is_(label) for is_ in texts)):
        raise RefusedError(f"the column of labels is of the type {label}", "Expected text or whole numbers")


def write_parquet(source: Any, size: int, names: list[str], out: Any) -> None:
    """Write columns of a Parquet file as an Arrow stream of small batches.

    Parameters
    ----------
    source
        The open file.
    size
        Its bytes.
    names
        Of the columns.
    out
        Where to.

    Raises
    ------
    RefusedError
        If it decodes to too much.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    budget = _Budget("parquet", size)
    # Not a whole group of rows at once, and not in threads: each would hold pages of its own.
    file = pq.ParquetFile(source, pre_buffer=False, buffer_size=2**20)
    budget.foresee(file.metadata, {*names})
    schema = file.schema_arrow
    chosen = pa.schema([_plain(schema.field(name)) for name in names], metadata=schema.metadata)
    with pa.ipc.new_stream(out, chosen) as writer:
        for batch in _batches(file, names):
            batch.validate(full=True)
            budget.take(batch)
            # Of a dictionary every value is written: how much that is only shows here.
            columns = [
                column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
                for column in map(batch.column, names)
            ]
            plain = pa.record_batch(columns, schema=chosen)
            if plain.nbytes > batch.nbytes:
                budget.take(plain)
            writer.write_batch(plain)


def _plain(field: Any) -> Any:
    """Return a column's field with its dictionary decoded; refuse types that hold far more than their bytes.

    A list of a million nothings, or a view of one text from everywhere, takes no space until it is Python's.
    """
    import pyarrow as pa

    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    parts = []
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        parts = [kind.value_type]
    elif pa.types.is_struct(kind):
        parts = [part.type for part in kind]
    if not (all(map(_is_scalar, parts)) if parts else _is_scalar(kind) or pa.types.is_null(kind)):
        raise RefusedError(
            f"column {field.name!r} is of the type {field.type}; expected text, numbers or lists of them",
            "Choose another column",
        )
    return field.with_type(kind)


def _is_scalar(kind: Any) -> bool:
    from pyarrow import types

    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return types.is_primitive(kind) or types.is_decimal(kind) or any(is_text(kind) for is_text in texts)


def _batches(file: Any, names: list[str]) -> Iterator[Any]:
    about = file.metadata
    whole = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
    rows = _BATCH_BYTES * about.num_rows // max(1, whole)
    yield from file.iter_batches(max(1, min(rows, _BATCH_ROWS)), columns=names, use_threads=False)


class _Budget:
    """What a file of `size` bytes may decode to."""

    def __init__(self, kind: str, size: int) -> None:
        self.size = size
        self.most = _FREE + _FOLD[kind] * size
        self.rows = self.most_rows = _ROWS_PER_BYTE * size + 100_000
        self.left = self.most

    def foresee(self, metadata: Any, names: set[str]) -> None:
        """Refuse what the footer of a Parquet file says already, before anything is decoded."""
        declared = 0
        for group in range(metadata.num_row_groups):
            part = metadata.row_group(group)
            for number in range(part.num_columns):
                column = part.column(number)
                if column.path_in_schema.partition(".")[0] in names:
                    declared += max(0, column.total_uncompressed_size)
        self._require(declared, metadata.num_rows)

    def take(self, batch: Any) -> None:
        """Count a batch that was decoded."""
        self.left -= batch.nbytes
        self.rows -= batch.num_rows
        self._require(self.most - self.left, self.most_rows - self.rows)

    def _require(self, nbytes: int, rows: int) -> None:
        if nbytes > self.most or rows > self.most_rows:
            raise RefusedError(
                f"its {self.size:,} bytes decode to more than {self.most:,}, or {self.most_rows:,} rows"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
