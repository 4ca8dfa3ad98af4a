"""One table in each split folder, as the Hugging Face library's image folders have them: read as one dataset."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from helpers.photo_folders import save_photo

from featcache import open_dataset
from featcache.errors import DataError, FeatcacheWarning, MissingFileError

Rows = Sequence[tuple[str, object]]
ROWS: Mapping[str, Rows] = {
    "train": [("0.png", "cat"), ("1.png", "dog"), ("2.png", "cat")],
    "validation": [("0.png", "dog")],
    "test": [("0.png", "cat"), ("1.png", "dog")],
}
IDS = ["test/0.png", "test/1.png", "train/0.png", "train/1.png", "train/2.png", "validation/0.png"]
SPLITS = ["test", "test", "train", "train", "train", "val"]
LABELS = [0, 1, 0, 1, 0, 1]


def jsonl(rows: Rows) -> str:
    return "".join(json.dumps({"file_name": name, "label": label}) + "\n" for name, label in rows)


def separated(rows: Rows) -> str:
    return "file_name,label\n" + "".join(f"{name},{label}\n" for name, label in rows)


def folders(root: Path, name: str = "metadata.jsonl", rows: Mapping[str, Rows] = ROWS) -> Path:
    """Write images and a table into each split folder."""
    for split, own in rows.items():
        for image, _ in own:
            save_photo(root / split / image)
        (root / split).mkdir(parents=True, exist_ok=True)
        (root / split / name).write_text((jsonl if name.endswith("jsonl") else separated)(own))
    return root


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
@pytest.mark.parametrize("form", ["{}", "csv:{}/*/NAME"])
def test_the_tables_of_the_splits_are_joined(tmp_path, name, form):
    spec = form.format(folders(tmp_path, name)).replace("NAME", name)
    with pytest.warns(FeatcacheWarning) as told:
        found = open_dataset(spec)
    assert [record.id for record in found.records] == IDS
    assert [record.split for record in found.records] == SPLITS
    assert ([record.label for record in found.records], found.classes) == (LABELS, ("cat", "dog"))
    assert all(record.read() == (tmp_path / record.id).read_bytes() for record in found.records)
    assert found.spec == f"csv:{tmp_path}/*/{name}"
    said = [str(each.message) for each in told]
    assert said[0].startswith(f"csv:{tmp_path}/*/{name}: takes the column 'file_name' for the path")
    assert said[1:] == (
        []
        if "*" in spec
        else [
            f"{tmp_path}: labels are those of {name} in its splits, as 'csv:{tmp_path}/*/{name}' reads them"
        ]
    )


SITUATIONS = {
    "folders in other spellings": (["training_set", "test_set"], ["test", "train"], {}),
    "a folder that is no split": (
        ["train", "test", "old"],
        ["test", "train"],
        {"folder beside the splits (old/)": 1},
    ),
    "a hidden folder": (["train", "test", ".cache"], ["test", "train"], {}),
    "no folder is a split": (["left", "right"], ["", ""], {}),
}


@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
@pytest.mark.parametrize("situation", SITUATIONS)
def test_folders_are_splits_where_their_names_say_so(tmp_path, situation):
    names, splits, skipped = SITUATIONS[situation]
    folders(tmp_path, "labels.csv", {name: [("a.png", "cat"), ("b.png", "dog")] for name in names})
    found = open_dataset(f"csv:{tmp_path}/*/labels.csv")
    assert [record.split for record in found.records] == [split for split in splits for _ in "ab"]
    assert found.skipped == skipped


@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
def test_columns_and_options_hold_for_all_tables(tmp_path):
    folders(tmp_path, "t.csv", {"train": [], "test": []})
    for split, table in (
        ("train", "name,kind,who\na,0.0,x\nb,1.0,y\n"),
        ("test", "who,name,kind\nz,a,\nz,b,1.0\n"),
    ):
        (tmp_path / split / "t.csv").write_text(table)
        for name in "ab":
            save_photo(tmp_path / split / f"{name}.png")
    found = open_dataset(f"csv:{tmp_path}/*/t.csv?path=name&label=kind&group=who&suffix=.png&no_label=skip")
    assert [(record.id, record.split, record.group, record.label) for record in found.records] == [
        ("test/b", "test", "z", 1),
        ("train/a", "train", "x", 0),
        ("train/b", "train", "y", 1),
    ]
    with pytest.raises(DataError, match=rf"^{re.escape(str(tmp_path))}/test/t\.csv, line 2, column kind: "):
        open_dataset(f"csv:{tmp_path}/*/t.csv?path=name&label=kind&suffix=.png")


@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
def test_a_column_that_one_table_lacks_is_a_gap_there(tmp_path):
    folders(tmp_path, rows={**ROWS, "test": []})
    save_photo(tmp_path / "test/0.png")
    (tmp_path / "test/metadata.jsonl").write_text('{"file_name": "0.png"}\n')
    with pytest.raises(DataError, match=r"test/metadata\.jsonl, line 1, column label.*no_label=skip"):
        open_dataset(str(tmp_path))
    found = open_dataset(f"csv:{tmp_path}/*/metadata.jsonl?no_label=skip")
    assert {record.split for record in found.records} == {"train", "val"}


@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
def test_a_column_of_splits_decides_before_the_folders(tmp_path):
    for folder in ("train", "test"):
        save_photo(tmp_path / folder / "a.png")
        (tmp_path / folder / "t.csv").write_text(f"path,label,split\na.png,{folder},val\n")
    assert {record.split for record in open_dataset(f"csv:{tmp_path}/*/t.csv").records} == {"val"}
    folded = open_dataset(f"csv:{tmp_path}/*/t.csv?split=")
    assert [record.split for record in folded.records] == ["test", "train"]


def test_what_cannot_be_read_is_told(tmp_path):
    (tmp_path / "train").mkdir()
    such = f"one for each split, such as {tmp_path}/train/labels.csv"
    with pytest.raises(MissingFileError) as told:
        open_dataset(f"csv:{tmp_path}/*/labels.csv")
    assert (
        str(told.value)
        == f"no table {tmp_path}/*/labels.csv; expected labels.csv in the folders of {tmp_path}, {such}"
    )
    save_photo(tmp_path / "train/a.png")
    save_photo(tmp_path / "test/a.png")
    for split in ("train", "test"):
        (tmp_path / split / "metadata.csv").write_text("file_name,text\na.png,a cat on a mat\n")
    with (
        pytest.warns(FeatcacheWarning, match="'text' for the label"),
        pytest.raises(DataError, match="holds one class"),
    ):
        open_dataset(str(tmp_path))


def test_other_tables_of_splits_are_named(tmp_path):
    folders(tmp_path, "labels.csv")
    with pytest.raises(DataError, match=rf"Did you mean '{re.escape(f'csv:{tmp_path}/*/labels.csv')}'\?$"):
        open_dataset(str(tmp_path))
    folders(tmp_path / "unpacked" / "photos")
    with pytest.raises(
        DataError, match=rf"'{re.escape(f'csv:{tmp_path}/unpacked/photos/*/metadata.jsonl')}'\?$"
    ):
        open_dataset(str(tmp_path / "unpacked"))


def test_class_folders_are_read_before_tables(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            save_photo(tmp_path / split / name / "0.png")
        (tmp_path / split / "metadata.csv").write_text("file_name,label\ncat/0.png,dog\ndog/0.png,cat\n")
    assert open_dataset(str(tmp_path)).spec == str(tmp_path)


@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
def test_a_folder_that_is_called_so_is_opened(tmp_path):
    folders(tmp_path, "t.csv", {"*": [("a.png", "cat"), ("b.png", "dog")], "train": [("c.png", "cat")]})
    assert [record.id for record in open_dataset(f"csv:{tmp_path}/*/t.csv").records] == ["a.png", "b.png"]


@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
def test_absolute_paths_and_map_are_as_in_one_table(tmp_path):
    folders(tmp_path)
    for split in ROWS:
        table = tmp_path / split / "metadata.jsonl"
        table.write_text(table.read_text().replace('"0.png"', f'"/content/{split}/0.png"'))
    found = open_dataset(f"csv:{tmp_path}/*/metadata.jsonl?map=/content:{tmp_path}")
    assert [record.split for record in found.records] == SPLITS
    assert all(record.size for record in found.records)
