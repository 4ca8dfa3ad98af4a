"""Hostile Arrow and Parquet files end no process of ours, take little memory, and are refused by name."""

import os
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.datasets.formats import arrow_child, arrow_files
from featcache.datasets.formats.arrow_files import (
    arrow_columns,
    arrow_rows,
    parquet_batches,
    require_sound_parquet,
)
from featcache.errors import DataError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FLIPS = int(os.environ.get("FEATCACHE_FLIPS", "40"))


def photos(count: int, size: int = 60) -> pa.Table:
    chance = random.Random(0)
    images = [{"bytes": chance.randbytes(size), "path": f"{row}.png"} for row in range(count)]
    return pa.table(
        {"image": pa.array(images, IMAGE), "label": [("cat", "dog")[row % 2] for row in range(count)]}
    )


def write_arrow(path: Path, table: pa.Table, compression: str | None = None) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(str(path), table.schema, options=options) as writer:
        writer.write_table(table, 16)
    return path


def write_parquet(path: Path, table: pa.Table, **options: object) -> Path:
    pq.write_table(table, path, **options)
    return path


# What is read -----------------------------------------------------------------------------------------------


def test_whole_files_are_read_as_pyarrow_reads_them(tmp_path):
    table = photos(300)
    first, second = (
        write_arrow(tmp_path / "a.arrow", table),
        write_arrow(tmp_path / "b.arrow", table.slice(0, 9)),
    )
    assert [found.table.schema for found in arrow_columns([first, second])] == [table.schema] * 2
    for path, found, count in zip((first, second), rows_of([first, second]), (300, 9), strict=True):
        told = found.table.to_pydict()
        assert (told["label"], told["held"]) == (table["label"].to_pylist()[:count], [None] * count)
        assert images_of(path, told) == table["image"].to_pylist()[:count]
    packed = table.set_column(1, "label", table["label"].dictionary_encode()).append_column(
        "other", table["label"]
    )
    file = write_parquet(tmp_path / "a.parquet", packed, row_group_size=70)
    found = pa.Table.from_batches(parquet_batches(file, ["label", "image"]))
    assert found.to_pydict() == table.select(["label", "image"]).to_pydict()
    assert rows_of([]) == []


@pytest.mark.parametrize("kind", ["large_binary", "string", "sliced", "packed", "no nulls"])
def test_images_of_every_layout_are_found(tmp_path, kind):
    chance = random.Random(1)
    held = [
        None if kind != "no nulls" and row % 7 == 3 else chance.randbytes(row).hex().encode()
        for row in range(50)
    ]
    types = {"large_binary": pa.large_binary(), "string": pa.string()}
    values = pa.array(held, pa.binary()).cast(types.get(kind, pa.binary()))
    image = pa.StructArray.from_arrays([values, pa.nulls(50, pa.string())], ["bytes", "path"])
    table = pa.table({"image": image, "label": pa.array(range(50))})
    table = table.slice(13, 30) if kind == "sliced" else table
    path = write_arrow(tmp_path / "a.arrow", table, "lz4" if kind == "packed" else None)
    told = rows_of([path])[0].table.to_pydict()
    expected = held[13:43] if kind == "sliced" else held
    assert [image["bytes"] for image in images_of(path, told)] == expected
    assert any(told["held"]) == (kind == "packed")


def rows_of(paths: list[Path]) -> list[arrow_files.ArrowRows]:
    return arrow_rows(paths, "image", "label")


def images_of(path: Path, told: dict[str, list]) -> list[dict]:
    data = path.read_bytes()
    columns = zip(*(told[name] for name in ("path", "size", "offset", "held")), strict=True)
    return [
        {
            "bytes": data[place : place + size] if place is not None and size is not None else held,
            "path": name,
        }
        for name, size, place, held in columns
    ]


def test_a_file_that_is_replaced_while_it_is_read_is_read_as_it_was(tmp_path, monkeypatch):
    path, other = write_arrow(tmp_path / "a.arrow", photos(3)), write_arrow(tmp_path / "b.arrow", photos(5))
    inode, own = path.stat().st_ino, arrow_files.open_regular_file

    def replaced_after(name):
        opened = own(name)
        os.replace(other, path)
        os.link(path, other)
        return opened

    monkeypatch.setattr(arrow_files, "open_regular_file", replaced_after)
    (found,) = rows_of([path])
    assert (found.table.num_rows, found.status.st_ino) == (3, inode)


def test_a_file_that_is_cut_while_it_is_read_is_refused_by_name(tmp_path, monkeypatch):
    """Where it is mapped already, this ends the process that maps it."""
    whole = write_arrow(tmp_path / "whole.arrow", photos(20_000, 200))
    path, data, own = tmp_path / "a.arrow", whole.read_bytes(), arrow_files.child_process
    answers = []

    @contextmanager
    def cut(*arguments, **options):
        with own(*arguments, **options) as child:
            answers.append(child.stdout.peek(1))  # the file is mapped, and its rows are being read
            os.truncate(path, 5000)
            yield child

    monkeypatch.setattr(arrow_files, "child_process", cut)
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"^cannot read .*/a\.arrow: (its structure crashes the Arrow|[^\n]+)[^\n]+$"
    ):
        rows_of([path])
    assert answers


def test_a_file_that_is_written_to_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path, own = write_arrow(tmp_path / "a.arrow", photos(3)), arrow_files.child_process

    def written_to(*arguments, **options):
        os.utime(path, ns=(0, 0))
        return own(*arguments, **options)

    monkeypatch.setattr(arrow_files, "child_process", written_to)
    with pytest.raises(
        DataError, match=r"a\.arrow: it was changed while it was read\. Run the command again"
    ):
        rows_of([path])


# Damage -----------------------------------------------------------------------------------------------------


def flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def read_everything(paths: list[Path]) -> int:
    """Read files one by one; returns how many were refused. A crash would end the process that this runs in."""
    refused = 0
    for path in paths:
        try:
            if path.suffix == ".arrow":
                for found in rows_of([path]):
                    found.table.to_pydict()
            else:
                for batch in parquet_batches(path, ["image", "label"]):
                    batch.to_pydict()
        except (DataError, OSError):
            refused += 1
    return refused


def flips(folder: Path, kind: str, count: int) -> list[Path]:
    whole = {"arrow": write_arrow, "parquet": write_parquet}[kind](
        folder / f"whole.{kind}", photos(40)
    ).read_bytes()
    chance, paths = random.Random(1), []
    for number in range(count):
        paths.append(folder / f"{number}.{kind}")
        paths[-1].write_bytes(flipped(whole, chance))
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_flipped_bits_are_refused_or_read_and_crash_nothing(tmp_path, kind):
    assert read_everything(flips(tmp_path, kind, FLIPS)) > FLIPS // 10


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "import os; os.abort()",
            r"a\.arrow: its structure crashes the Arrow library \(signal 6\)\. The file is dama",
        ),
        ("import os; os.kill(os.getpid(), 9)", r"takes Arrow too long, or more memory than this machine has"),
        ("raise SystemExit(5)", "what reads it failed with status 5"),
        ("print('x' * 8)", "what reads it failed with status 0"),
        (r"import os; os.write(1, bytes(8) + b'no')", r"cannot read .*a\.arrow: no$"),
    ],
)
def test_a_child_process_that_fails(tmp_path, monkeypatch, code, says):
    path = write_arrow(tmp_path / "a.arrow", photos(3))
    child = tmp_path / "child.py"
    child.write_text(code)
    monkeypatch.setattr(arrow_files, "_CHILD", child)
    with pytest.raises(DataError, match=says):
        rows_of([path])


def test_the_file_that_is_damaged_is_named(tmp_path):
    paths = [write_arrow(tmp_path / f"{name}.arrow", photos(20)) for name in "abc"]
    paths[1].write_bytes(paths[1].read_bytes()[:-1000])
    with pytest.raises(
        DataError, match=r"cannot read .*/b\.arrow: .*The file is damaged or was made to do harm"
    ):
        rows_of(paths)


# Far more than the file is ----------------------------------------------------------------------------------


def bombs(folder: Path) -> dict[str, tuple[Path, str]]:
    """Small files, each with what is said of it."""
    text = "x" * 2_000_000
    named = {
        "image": pa.array([{"bytes": text.encode(), "path": "a"}] * 100, IMAGE),
        "label": ["cat", "dog"] * 50,
    }
    whole = pa.table(named)
    much = r"its [\d,]+ bytes decode to more than [\d,]+, or [\d,]+ rows\. The file is damaged or was made"
    nothing = {"image": pa.nulls(300_000, IMAGE), "label": pa.nulls(300_000, pa.string())}
    lists = {"image": pa.nulls(1, IMAGE), "label": pa.array([[None] * 1000], pa.list_(pa.null()))}
    return {
        "zeros": (
            write_parquet(folder / "b.parquet", whole, compression="zstd", use_dictionary=False),
            much,
        ),
        "rows of nothing": (write_parquet(folder / "c.parquet", pa.table(nothing)), much),
        "a list of nothing": (
            write_parquet(folder / "d.parquet", pa.table(lists)),
            r"list<.*> *; expected text",
        ),
        "packed Arrow": (
            write_arrow(folder / "e.arrow", whole, "zstd"),
            rf"{much}|takes more than [\d,]+ bytes",
        ),
    }


def test_small_files_that_are_large_inside_are_refused(tmp_path):
    for path, says in bombs(tmp_path).values():
        assert path.stat().st_size < 100_000
        with pytest.raises(DataError, match=says):
            require_sound_parquet(path) if path.suffix == ".parquet" else rows_of([path])


PEAK = """
import resource, sys
from pathlib import Path
from featcache.datasets.formats.arrow_files import require_sound_parquet
try: require_sound_parquet(Path(sys.argv[1]))
except ValueError as error: print(error)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peaks are read from Linux's /proc")
def test_a_value_of_a_dictionary_for_ever_takes_little_memory(tmp_path):
    """A gigabyte and a half from 700 bytes: neither this process nor its child takes it."""
    table = pa.table(
        {"label": pa.DictionaryArray.from_arrays(pa.array([0] * 1500, pa.int32()), ["x" * 1_000_000])}
    )
    path = write_parquet(tmp_path / "a.parquet", table)
    assert path.stat().st_size < 100_000
    command = [sys.executable, "-c", PEAK, path]
    said, *peaks = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "decode to more than" in said
    assert [
        int(peak) for peak in peaks if int(peak) > 500_000
    ] == []  # kilobytes, of the child and of its parent


def test_a_page_that_says_it_is_huge_takes_no_memory(tmp_path):
    """The header of a page says how large it is when it is unpacked, and nothing else says so."""
    path = write_parquet(
        tmp_path / "a.parquet", pa.table({"label": ["cat"] * 9}), use_dictionary=False, compression="zstd"
    )
    data = path.read_bytes()
    page = data.index(b"PAR1") + 4
    assert data[page : page + 3] == b"\x15\x00\x15"  # a data page; its size follows, 7 bits in each byte
    size_bytes = 1 if data[page + 3] < 128 else 2
    huge = b"\xfc\xff\xff\xff\x0f"  # 2**31 - 2
    footer = int.from_bytes(data[-8:-4], "little") + 8
    path.write_bytes(data[: page + 3] + huge + data[page + 3 + size_bytes : -footer] + data[-footer:])
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet: "):
        require_sound_parquet(path)


def test_neither_jax_nor_files_are_needed_by_the_child():
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='child');"
        "print(sorted({'jax', 'featcache', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-I", "-c", code, arrow_child.__file__]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
