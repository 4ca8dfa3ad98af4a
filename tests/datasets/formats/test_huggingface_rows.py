"""Rows of the Hugging Face library's tables stay in their folder, and no conversion outlives its file."""

import errno
import json
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.datasets.formats import huggingface_rows
from featcache.datasets.formats.huggingface import open_hf
from featcache.errors import DataError, StorageError

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
            OSError, match=rf"names a file outside of {folder}, which is not read; save the dataset"
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
    pq.write_table(held(4), tmp_path / "pets.parquet")
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").write_text("a file where a folder is expected")
    advice = "set FEATCACHE_HOME to another folder"
    with pytest.raises(
        StorageError, match=f"{tmp_path}/home is a file, expected a folder or nothing; {advice}"
    ):
        open_hf(str(tmp_path / "pets.parquet"))
    (tmp_path / "home").unlink()

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    where = rf"cannot convert Parquet in {tmp_path}/home/hf/\S+\.arrow: No space left.*, or {advice}"
    with pytest.raises(StorageError, match=where):
        open_hf(str(tmp_path / "pets.parquet"))
