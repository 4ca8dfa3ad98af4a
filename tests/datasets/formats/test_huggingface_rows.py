"""Rows of the Hugging Face library's tables stay in their folder, and no conversion outlives its file."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.datasets import file_state
from featcache.datasets.formats import huggingface, huggingface_rows
from featcache.datasets.formats.huggingface import open_hf
from featcache.errors import DataError, ImageError, StorageError

datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def rows(images: list[dict]) -> pa.Table:
    return pa.table(
        {"image": pa.array(images, IMAGE), "label": [f"class {row % 2}" for row in range(len(images))]}
    )


def held(count: int, seed: int = 0) -> pa.Table:
    chance = random.Random(seed)
    return rows([{"bytes": chance.randbytes(50), "path": None} for _ in range(count)])


def arrow(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def test_rows_that_name_files_outside_of_the_folder_open_none(tmp_path, monkeypatch):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"hunter2")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"inside")
    (folder / "link.png").symlink_to(secret)
    (folder / "out").symlink_to(tmp_path)
    names = ["a.png", "/etc/passwd", "../secret.png", str(secret), "link.png", "out/secret.png", "/dev/null"]
    arrow(folder / "train.arrow", rows([{"bytes": None, "path": name} for name in names]))
    found = open_hf(str(folder))
    assert [(record.size, bool(record.mtime_ns)) for record in found.records] == [(6, True)] + [
        (0, False)
    ] * 6
    assert found.records[0].read() == b"inside"
    opened: list[object] = []
    monkeypatch.setattr(os, "open", lambda *given: opened.append(given))
    for record in found.records[1:]:
        with pytest.raises(
            ImageError,
            match=rf"outside the dataset: the row names a file outside of {folder}, which is not read",
        ):
            record.read()
    assert opened == []


@pytest.mark.parametrize("name", ["../other/data.arrow", "/etc/passwd", "link.arrow", "", 3, None])
def test_files_and_splits_that_are_elsewhere_are_not_read(tmp_path, name):
    arrow(tmp_path / "other/data.arrow", held(4))
    (tmp_path / "data/train").mkdir(parents=True)
    os.symlink(tmp_path / "other/data.arrow", tmp_path / "data/train/link.arrow")
    state, several = tmp_path / "data/train/state.json", tmp_path / "data/dataset_dict.json"
    state.write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(
        DataError, match=r"state\.json names what is outside of|state\.json: it names no files"
    ):
        open_hf(str(tmp_path / "data/train"))
    several.write_text(json.dumps({"splits": ["train", "../other" if name else name]}))
    with pytest.raises(DataError, match=r"dataset_dict\.json names what is outside of|it names no files"):
        open_hf(str(tmp_path / "data"))


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json"])
def test_json_that_is_none_or_deep_or_elsewhere_is_refused(tmp_path, name):
    (tmp_path / "secret").write_text("{}")
    file = tmp_path / "data" / name
    file.parent.mkdir()
    for text in ("[" * 100_000, "[]", "{}", '{"splits": 3, "_data_files": 3}', "{"):
        file.write_text(text)
        with pytest.raises(DataError, match=rf"cannot read .*{name}: .*Save it again"):
            open_hf(str(file.parent))
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(
        DataError, match=rf"cannot read .*{name}: it is outside of .*, or a link that leads out"
    ):
        open_hf(str(file.parent))


def test_class_names_of_a_file_elsewhere_are_not_read(tmp_path):
    """What the library writes beside a column may name a file of class names."""
    (tmp_path / "secret").write_text("root:x\ndaemon:x\n")
    label = {"_type": "ClassLabel", "names": ["cat", "dog"], "names_file": str(tmp_path / "secret")}
    about = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    table = (
        held(4)
        .set_column(1, "label", pa.array([0, 1, 0, 1]))
        .replace_schema_metadata({"huggingface": json.dumps(about)})
    )
    assert open_hf(str(arrow(tmp_path / "a.arrow", table))).classes == ("cat", "dog")


def test_labels_and_images_of_other_types_are_refused(tmp_path):
    values = pa.nulls(4, pa.list_(pa.null()))
    path = arrow(tmp_path / "a.arrow", held(4).set_column(1, "label", values))
    with pytest.raises(DataError, match=r"the column of labels is of the type|cannot read the dataset in"):
        open_hf(str(path))
    path = arrow(tmp_path / "b.arrow", held(4).append_column("other", values))
    with pytest.raises(DataError, match=r"the column of images is of the type|cannot read the dataset in"):
        open_hf(f"{path}?image=other")


CUT = """
import os, sys
from featcache.datasets.formats.huggingface import open_hf
from featcache.datasets.dataset import why_unread
records = open_hf(sys.argv[1]).records
os.truncate(sys.argv[1], 100)
for record in records:
    try: record.read()
    except OSError as error: print(why_unread(error))
"""


def test_a_file_that_is_cut_after_it_was_opened_ends_no_process(tmp_path):
    path = arrow(tmp_path / "a.arrow", held(2000))
    done = subprocess.run([sys.executable, "-c", CUT, path], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == 2000
    assert all(
        re.fullmatch(rf"unreadable file: {path} ends within the image at byte \d+: .*", x) for x in said
    )


@pytest.mark.parametrize("count", [40, 60])
def test_a_file_that_is_replaced_after_it_was_opened_gives_no_other_rows(tmp_path, count):
    """Its rows are at other places, and an image would get another one's label; size and time may be the same."""
    path, other = arrow(tmp_path / "a.arrow", held(40)), arrow(tmp_path / "b.arrow", held(count, seed=1))
    for file in (path, other):
        os.utime(file, ns=(10**18, 10**18))
    record = open_hf(str(path)).records[0]
    assert (path.stat().st_size == other.stat().st_size) == (count == 40)
    os.replace(other, path)
    with pytest.raises(OSError, match=r"a\.arrow was changed after it was indexed"):
        record.read()


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_a_file_replaced_between_its_columns_and_its_rows_is_refused(tmp_path, monkeypatch, suffix):
    write = arrow if suffix == "arrow" else lambda path, table: pq.write_table(table, path) or path
    path, other = write(tmp_path / f"a.{suffix}", held(4)), write(tmp_path / f"b.{suffix}", held(5))
    own = huggingface.read_rows

    def replaced(*arguments):
        os.replace(other, path)
        return own(*arguments)

    monkeypatch.setattr(huggingface, "read_rows", replaced)
    with pytest.raises(
        DataError, match=rf"cannot read {path}: it was changed while it was read\. Run the command"
    ):
        open_hf(str(path))


def test_the_state_of_a_file_is_that_of_what_was_read(tmp_path, monkeypatch):
    """Replaced once it is open: what is remembered of the rows is never remembered of the other file."""
    monkeypatch.setattr(file_state, "_TICK_NS", 0)
    path, other = arrow(tmp_path / "a.arrow", held(4)), arrow(tmp_path / "b.arrow", held(4, seed=1))
    right, own = file_state.file_state(path.stat()), huggingface_rows.arrow_rows

    def replaced_after(*arguments):
        found = own(*arguments)
        os.replace(other, path)
        return found

    monkeypatch.setattr(huggingface_rows, "arrow_rows", replaced_after)
    found = open_hf(str(path))
    assert {record.state for record in found.records} == {right}
    assert file_state.file_state(path.stat()) != right


def test_a_shard_that_is_a_broken_link_is_not_left_out(tmp_path):
    arrow(tmp_path / "train-0.arrow", held(4))
    (tmp_path / "train-1.arrow").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"a link to nowhere, which is missing: .*train-1\.arrow"):
        open_hf(str(tmp_path))


def test_where_a_folder_leads_is_asked_once(tmp_path, monkeypatch):
    names = [f"{number}.png" for number in range(50)]
    arrow(tmp_path / "train.arrow", rows([{"bytes": None, "path": name} for name in names]))
    asked, own = [], os.path.realpath
    monkeypatch.setattr(
        os.path, "realpath", lambda path, **others: asked.append(str(path)) or own(path, **others)
    )
    open_hf(str(tmp_path))
    assert asked.count(str(tmp_path)) <= 3


# Conversions of Parquet -------------------------------------------------------------------------------------


def test_a_file_replaced_with_its_time_kept_is_converted_again(tmp_path, monkeypatch):
    path = tmp_path / "pets.parquet"
    pq.write_table(held(4, seed=1), path, compression="none")
    before, status = open_hf(str(path)).records[0].read(), path.stat()
    data = path.read_bytes()
    pq.write_table(held(4, seed=2), tmp_path / "other.parquet", compression="none")
    other = (tmp_path / "other.parquet").read_bytes()
    assert len(other) == len(data)
    with path.open("r+b") as stream:  # the same file, its size and its time
        stream.write(other)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert open_hf(str(path)).records[0].read() != before
    # On a file system that keeps no state of an inode, what the footer says is still another matter.
    monkeypatch.setattr(huggingface_rows, "state_digest", lambda *_: bytes(16))
    first = open_hf(str(path)).records[0].read()
    with path.open("r+b") as stream:
        stream.write(data)
    assert open_hf(str(path)).records[0].read() == before != first


def test_a_conversion_is_made_once_and_again_where_it_was_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    path = tmp_path / "pets.parquet"
    pq.write_table(held(40), path)
    open_hf(str(path))
    (converted,) = (tmp_path / "home/hf").iterdir()
    written = converted.stat().st_mtime_ns
    assert len(open_hf(str(path)).records) == 40
    assert converted.stat().st_mtime_ns == written
    whole = converted.read_bytes()
    os.truncate(converted, len(whole) - 100)
    assert open_hf(str(path)).records[39].read() == held(40)["image"][39].as_py()["bytes"]
    assert converted.read_bytes() == whole


def test_a_conversion_that_cannot_be_written_says_where(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file where a folder is expected")
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    pq.write_table(held(4), tmp_path / "pets.parquet")
    with pytest.raises(
        StorageError, match=rf"{tmp_path}/home is a file, expected a folder or nothing; set FEATCACHE_HOME"
    ):
        open_hf(str(tmp_path / "pets.parquet"))
