"""Datasets that the Hugging Face library wrote itself are read as they lie on disk, without a network."""

import errno
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo
from helpers.refusing_disk import refuse_writes
from PIL import Image as Pictures

from featcache.datasets import open_dataset
from featcache.datasets.dataset import UNSPLIT
from featcache.datasets.formats import huggingface as hf
from featcache.datasets.formats.huggingface import open_hf
from featcache.errors import (
    DataError,
    FeatcacheWarning,
    ImageError,
    MissingFileError,
    StorageError,
    UsageError,
)

datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")

NAMES = ["cat", "dog", "owl"]
COUNTS = {"train": 6, "validation": 3, "test": 3}


@pytest.fixture(autouse=True)
def _no_bars():
    datasets.disable_progress_bars()


def picture(split: str, index: int) -> bytes:
    """A photo's file; after its end some zeros, which a reader that decodes and encodes would lose."""
    file = io.BytesIO()
    Pictures.fromarray(photo(f"{NAMES[index % 3]}/{split}{index}")).save(file, "PNG")
    return file.getvalue() + bytes(3)


def rows(split: str, count: int) -> list[dict]:
    return [
        {"image": {"bytes": picture(split, i), "path": f"{split}-{i}.png"}, "label": i % 3}
        for i in range(count)
    ]


def features(**others):
    return datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES), **others})


def dataset_of(found: list[dict], **others):
    return datasets.Dataset.from_list(found, features=features(**others))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A `DatasetDict`; tests only read it."""
    folder = tmp_path_factory.mktemp("hf") / "pets"
    parts = {split: dataset_of(rows(split, count)) for split, count in COUNTS.items()}
    datasets.DatasetDict(parts).save_to_disk(folder)
    return folder


def facts(found) -> list[tuple[str, str, str, bytes]]:
    return [(r.id, r.split, found.classes[r.label], r.read()) for r in found.records]


# What is read -------------------------------------------------------------------------------------------------


def test_bytes_labels_splits_and_ids_are_those_that_were_saved(saved):
    found = open_dataset(f"hf:{saved}")
    assert (found.name, found.classes, found.splits) == ("pets", tuple(NAMES), ("train", "val", "test"))
    assert facts(found) == [
        (f"{s}/{i}/{s}-{i}.png", {"validation": "val"}.get(s, s), NAMES[i % 3], picture(s, i))
        for s, count in COUNTS.items()
        for i in range(count)
    ]
    for record in found.records:
        assert record.size == len(record.read())
        assert record.mtime_ns > 0


def test_the_bytes_are_those_of_the_library_s_own_reader(saved):
    own = datasets.load_from_disk(saved)["train"].cast_column("image", datasets.Image(decode=False))
    found = open_hf(f"{saved}?split=train")
    assert [(r.read(), r.label) for r in found.records] == [
        (row["image"]["bytes"], row["label"]) for row in own
    ]


def test_classes_that_people_take_for_one_are_named(tmp_path):
    found = [{"image": {"bytes": picture("train", i), "path": None}, "label": i} for i in range(2)]
    named = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["owl", "owl "])}
    )
    datasets.Dataset.from_list(found, features=named).save_to_disk(tmp_path / "owls")
    with pytest.warns(
        FeatcacheWarning, match=r"owls: classes 'owl' and 'owl ' differ only in case, blanks or"
    ):
        open_dataset(f"hf:{tmp_path / 'owls'}")


def test_a_dataset_saved_alone_has_no_splits(tmp_path):
    dataset_of(rows("train", 6)).save_to_disk(tmp_path / "pets")
    found = open_hf(str(tmp_path / "pets"))
    assert found.splits == (UNSPLIT,)
    assert [record.id for record in found.records][:2] == ["0/train-0.png", "1/train-1.png"]


def parquet(folder: Path, split: str, shards: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    whole = dataset_of(rows(split, COUNTS[split]))
    for number in range(shards):
        part = whole.shard(shards, number, contiguous=True)
        part.to_parquet(str(folder / f"{split}-{number:05}-of-{shards:05}.parquet"))


def test_parquet_as_it_lies_on_the_hub_gives_the_same_rows(saved, tmp_path):
    for split, shards in {"train": 2, "validation": 1, "test": 1}.items():
        parquet(tmp_path / "pets/data", split, shards)
    found = open_hf(str(tmp_path / "pets"))
    assert sorted(facts(found)) == sorted(facts(open_hf(str(saved))))
    alone = open_hf(str(tmp_path / "pets/data/test-00000-of-00001.parquet"))
    assert [fact[3] for fact in facts(alone)] == [picture("test", i) for i in range(3)]
    assert alone.splits == (UNSPLIT,)


def test_a_parquet_file_that_changed_is_converted_again(tmp_path):
    for content in ("train", "test"):
        parquet(tmp_path, content)
        os.replace(tmp_path / f"{content}-00000-of-00001.parquet", tmp_path / "pets.parquet")
        assert open_hf(str(tmp_path / "pets.parquet")).records[0].read() == picture(content, 0)


def test_arrow_files_and_images_that_lie_outside_them(tmp_path):
    """What the library keeps of an image folder: paths, some of which lead nowhere or to the network."""
    (tmp_path / "elsewhere").mkdir()
    inside, outside = tmp_path / "inside.png", tmp_path / "elsewhere/outside.png"
    inside.write_bytes(picture("train", 0))
    outside.write_bytes(picture("train", 1))
    names = ["inside.png", str(outside), "gone.png", "https://127.0.0.1:1/cat.png", "nul\0.png", None]
    table = datasets.Dataset.from_list(
        [{"image": name and {"bytes": None, "path": name}, "label": i % 3} for i, name in enumerate(names)],
        features(),
    )
    with datasets.arrow_writer.ArrowWriter(
        path=str(tmp_path / "train.arrow"), features=table.features
    ) as writer:
        writer.write_table(table.data.table)
    found = open_hf(str(tmp_path / "train.arrow"))
    assert [record.id for record in found.records][:2] == ["0/inside.png", "1/outside.png"]
    assert [record.read() for record in found.records[:2]] == [picture("train", 0), picture("train", 1)]
    assert found.records[0].size == inside.stat().st_size
    assert found.records[0].mtime_ns == inside.stat().st_mtime_ns
    with pytest.raises(
        ImageError, match="outside the dataset: the row names an address, and nothing is fetched"
    ):
        found.records.pop(3).read()
    for record in found.records[2:]:
        with pytest.raises(FileNotFoundError):
            record.read()
    assert found.skipped == {"row without an image": 1}


def test_texts_and_numbers_are_labels_too_and_rows_without_one_are_counted(tmp_path):
    image = datasets.Image()
    for name, kind, values, classes in (
        ("texts", "string", ["owl", "cat", None, ""], ("cat", "owl")),
        ("numbers", "int64", [10, 9, -1, None], ("9", "10")),
    ):
        table = datasets.Dataset.from_dict(
            {"image": [{"bytes": picture("train", i), "path": None} for i in range(4)], "species": values},
            features=datasets.Features({"image": image, "species": datasets.Value(kind)}),
        )
        table.save_to_disk(tmp_path / name)
        found = open_hf(f"{tmp_path / name}?label=species")
        assert (found.classes, [r.id for r in found.records]) == (classes, ["0", "1"])
        assert [r.label for r in found.records] == [1, 0]
        assert found.skipped == {"row without a label": 2}


def test_columns_without_a_declaration_are_named(tmp_path):
    import pyarrow
    from pyarrow import parquet as files

    plain = {"photo": [picture("train", i) for i in range(3)], "label": ["cat", "dog", "cat"]}
    files.write_table(pyarrow.table(plain), tmp_path / "plain.parquet")
    with pytest.raises(
        DataError, match=r"no column for the image, but photo, label; name one with \?image=COLUMN"
    ):
        open_hf(str(tmp_path / "plain.parquet"))
    found = open_hf(f"{tmp_path / 'plain.parquet'}?image=photo")
    assert [(r.read(), found.classes[r.label]) for r in found.records] == list(
        zip(*plain.values(), strict=True)
    )


WITHOUT_NETWORK = """
import hashlib, socket, sys
def refuse(*_): raise AssertionError("the network was touched")
socket.socket.connect = socket.getaddrinfo = refuse
from featcache.datasets import open_dataset
assert "datasets" not in sys.modules  # a second and a half that only this source needs
for spec in sys.argv[1:]:
    print(*(hashlib.sha256(record.read()).hexdigest() for record in open_dataset(spec).records))
assert not {"torch", "tensorflow", "jax"} & {*sys.modules}
"""


def test_no_network_is_needed_and_the_library_is_imported_when_used(saved, tmp_path):
    parquet(tmp_path, "test")
    command = [sys.executable, "-c", WITHOUT_NETWORK, f"hf:{saved}?split=test", f"hf:{tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")  # no bar either, off a terminal
    expected = " ".join(hashlib.sha256(picture("test", i)).hexdigest() for i in range(3))
    assert done.stdout.splitlines() == [expected, expected]


# Refused ------------------------------------------------------------------------------------------------------


def test_without_the_library_the_extra_is_named(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"install it with: pip install 'featcache\[hub\]'"):
        open_hf(str(saved))


def test_a_name_of_the_hub_is_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        MissingFileError, match=r"nothing at cifar10; .*Nothing is downloaded here: .*save_to_disk"
    ):
        open_dataset("hf:cifar10")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("?splt=train", "option splt=train; did you mean 'split'"),
        ("?split=", "option split=; did you mean 'split'"),
        ("?split=trian", "no split 'trian'; did you mean 'train'"),
        ("?label=lable", "no column 'lable'; did you mean 'label'"),
        ("?image=picture", "no column 'picture'; known: image, label"),
    ],
)
def test_options_that_cannot_work(saved, options, text):
    with pytest.raises(UsageError, match=text):
        open_hf(f"{saved}{options}")


def test_a_choice_of_columns_is_not_guessed(tmp_path):
    found = [row | {"thumbnail": row["image"], "colour": 0} for row in rows("train", 3)]
    more = {"thumbnail": datasets.Image(), "colour": datasets.ClassLabel(names=["red", "blue"])}
    dataset_of(found, **more).save_to_disk(tmp_path)
    with pytest.raises(
        UsageError, match=r"2 columns for the image: image, thumbnail; choose one with \?image=image"
    ):
        open_hf(str(tmp_path))
    with pytest.raises(
        UsageError, match=r"2 columns for the label: label, colour; choose one with \?label=label"
    ):
        open_hf(f"{tmp_path}?image=image")
    assert open_hf(f"{tmp_path}?image=image&label=label").classes == tuple(NAMES)


def test_fractions_one_class_and_no_labels_are_refused(tmp_path):
    image = {"image": [{"bytes": picture("train", i), "path": None} for i in range(2)]}
    cases = {
        "fractions": ([0.5, 1.5], r"row 0: a label of type float; expected a class"),
        "one": (["cat", "cat"], r"one class \(cat\); a classifier needs at least two"),
        "none": ([None, ""], r"holds no labelled images: 2 row without a label"),
    }
    for name, (labels, text) in cases.items():
        table = datasets.Dataset.from_dict(image | {"label": labels}).cast_column("image", datasets.Image())
        table.save_to_disk(tmp_path / name)
        with pytest.raises(DataError, match=text):
            open_hf(str(tmp_path / name))


def test_splits_that_name_classes_differently_are_refused(tmp_path):
    other = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES[::-1])})
    parts = {
        "train": dataset_of(rows("train", 3)),
        "test": datasets.Dataset.from_list(rows("test", 3), features=other),
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path)
    with pytest.raises(DataError, match=r"the splits train, test name the classes of 'label' differently"):
        open_hf(str(tmp_path))
    assert open_hf(f"{tmp_path}?split=test").classes == tuple(NAMES[::-1])


def test_damage_is_an_error_that_names_the_dataset(saved, tmp_path):
    import shutil

    shutil.copytree(saved, tmp_path / "cut")
    file = next((tmp_path / "cut/train").glob("*.arrow"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cannot read .*cut/train/data-\S+\.arrow: .*save it again"):
        open_hf(str(tmp_path / "cut"))
    (tmp_path / "noise.parquet").write_bytes(np.random.default_rng(0).bytes(500))
    with pytest.raises(DataError, match=r"cannot read the dataset in .*noise\.parquet: "):
        open_hf(str(tmp_path / "noise.parquet"))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match="holds no dataset of the Hugging Face library; expected hf:PATH"):
        open_hf(str(tmp_path))
    (tmp_path / "a.parquet").touch()
    (tmp_path / "a.arrow").touch()
    with pytest.raises(UsageError, match=r"holds \.parquet and \.arrow files"):
        open_hf(str(tmp_path))
    with pytest.raises(UsageError, match="no path; expected hf:PATH"):
        hf.HfSpec.parse("?split=train")


# Disks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def parquet_file(saved, tmp_path, monkeypatch) -> Path:
    path = tmp_path / "train.parquet"
    datasets.load_from_disk(saved)["train"].to_parquet(path)
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    return path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_conversion_that_the_disk_refuses_names_the_disk(parquet_file, monkeypatch, number):
    refuse_writes(monkeypatch, parquet_file.parent / "home", number)
    said = (
        rf"cannot convert Parquet in .*home/hf/\w+\.arrow: .*\[errno {number}, .*, "
        "or set FEATCACHE_HOME to another folder$"
    )
    with pytest.raises(StorageError, match=said):
        open_hf(str(parquet_file))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read_is_not_to_be_saved_again(parquet_file, monkeypatch, number):
    def refuse(*arguments, **others):
        raise OSError(number, os.strerror(number), str(parquet_file))

    monkeypatch.setattr("featcache.datasets.formats.huggingface_rows.open_regular_file", refuse)
    with pytest.raises(
        DataError, match=rf"cannot read .*train\.parquet: .*\[errno {number}, \w+\]; (your|the disk)"
    ):
        open_hf(str(parquet_file))
