"""Tables that name the images beside them: pointed out with a spec that works as it is pasted, or passed over."""

import re
import shlex
import warnings
from pathlib import Path

import pytest
from helpers import published_layouts

from featcache.core.argument_types import named_as_options
from featcache.datasets import open_dataset
from featcache.errors import DataError, FeatcacheWarning


def folder(root: Path, images: list[str], **tables: str) -> Path:
    """Empty pictures, and tables by their names, in which ``__`` is a dot."""
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, text in tables.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def said(root: Path, **options) -> list[str]:
    with warnings.catch_warnings(record=True) as told, named_as_options():
        warnings.simplefilter("always")
        open_dataset(root, **options)
    return [str(each.message) for each in told]


def pasted(spec: str) -> dict[str, str]:
    """What the spec in a message opens: the class of each image, by its file's name without suffix."""
    (word,) = shlex.split(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = open_dataset(word)
    return {Path(record.id).stem: data.classes[record.label] for record in data.records}


PARTS = [f"part_{1 + n // 4}/IMG_{n}.jpg" for n in range(8)]
ROWS = [f"IMG_{n}" for n in range(8)]
KINDS = {name: ("nv", "mel")[n % 2] for n, name in enumerate(ROWS)}

NAMED = {
    "ids without suffix": (
        {"meta__csv": "l_id,image_id,dx,age\n" + "".join(f"L{n[4:]},{n},{k},7{n[4:]}\n" for n, k in KINDS.items())},
        "meta.csv?path=image_id&label=dx&root=part_1,part_2&suffix=.jpg' (or label= another of its columns: age)",
    ),
    "file names": (
        {"meta__csv": "file,kind\n" + "".join(f"{n}.jpg,{k}\n" for n, k in KINDS.items())},
        "meta.csv?path=file&label=kind&root=part_1,part_2'",
    ),
    "paths": (
        {"meta__csv": "path,label\n" + "".join(f"{p},{KINDS[Path(p).stem]}\n" for p in PARTS)},
        "meta.csv",
    ),
    "a tab in between": (
        {"meta__tsv": "image\tspecies\n" + "".join(f"{n}.jpg\t{k}\n" for n, k in KINDS.items())},
        "meta.tsv?path=image&label=species&root=part_1,part_2'",
    ),
    "semicolons": (
        {"meta__csv": "name;species\n" + "".join(f"{n};{k}\n" for n, k in KINDS.items())},
        "meta.csv?path=name&label=species&root=part_1,part_2&suffix=.jpg&delimiter=;'",
    ),
    "JSON lines": (
        {"meta__jsonl": "".join(f'{{"file_name": "{n}.jpg", "text": "{k}"}}\n' for n, k in KINDS.items())},
        "meta.jsonl?path=file_name&label=text&root=part_1,part_2'",
    ),
    "behind a table that names no images": (
        {
            "a__csv": "path,label\nx.jpg,1\n",
            "meta__csv": "file,kind\n" + "".join(f"{n}.jpg,{k}\n" for n, k in KINDS.items()),
        },
        "meta.csv?path=file&label=kind&root=part_1,part_2'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_a_table_with_other_labels_than_the_folders_is_said(tmp_path, name):
    tables, words = NAMED[name]
    root = folder(tmp_path / "p", PARTS, **tables)
    (told,) = said(root)
    table = re.split(r"[?' ]", words)[0]
    quote = "'" if "?" in words else ""
    assert told == (
        f"{root}: the classes are those of the folders, and {table} beside them, which names the images, is not read; "
        f"if it holds the labels, say {quote}csv:{root}/{words} (to choose the folders: --classes-at 1)"
    )
    assert said(root, classes_at=1) == []
    (spec,) = re.findall(r"labels, say ('[^']*'|\S+)", told)
    assert pasted(spec) == KINDS


@pytest.mark.parametrize(
    "text",
    [
        "photo,note\nmonday,sunny\ntuesday,rain\n",
        "image,kind\n" + "".join(f"{Path(p).name},{p.split('/')[0]}\n" for p in PARTS),
        "image,number\n" + "".join(f"{Path(p).name},{p[5]}\n" for p in PARTS),
        "image\n" + "".join(f"{Path(p).name}\n" for p in PARTS),
        "rating,comment\n1,good\n2,bad\n",
        "image,image\nIMG_1.jpg,x\n",
        "",
        "\ufffe\0\0,\n",
        'image,kind\n"IMG_1.jpg,x\n',
    ],
    ids=[
        "notes",
        "same labels",
        "same by number",
        "names alone",
        "numbers",
        "twice",
        "empty",
        "bytes",
        "quote",
    ],
)
def test_nothing_is_said_of_other_tables(tmp_path, text):
    root = folder(tmp_path / "p", PARTS, notes__csv=text, README__md="# Notes")
    assert said(root) == []


FLAT = {
    "an archive unpacked into its own name": (
        ["breeds/breeds/train/a.jpg", "breeds/breeds/train/b.jpg"],
        {"breeds/breeds/labels__csv": "id,breed\na,pug\nb,husky\n"},
        "csv:P/breeds/breeds/labels.csv?path=id&label=breed&root=train&suffix=.jpg",
        {"a": "pug", "b": "husky"},
    ),
    "a blank in the path": (
        ["my images/a.jpg", "my images/b.jpg"],
        {"my labels__csv": "file,breed\na.jpg,pug\nb.jpg,husky\n"},
        "csv:P/my labels.csv?path=file&label=breed&root=my images",
        {"a": "pug", "b": "husky"},
    ),
    "a form that the shell would cut": (
        ["a/a.jpg", "a/b.jpg"],
        {"R&D__csv": "file;x&y\na.jpg;pug\nb.jpg;husky\n"},
        "csv:P/R&D.csv?path=file&label=x%26y&root=a&delimiter=;",
        {"a": "pug", "b": "husky"},
    ),
    "train and test of the same names": (
        [f"{split}/{n}.png" for split in ("train", "test") for n in range(1, 5)],
        {"trainLabels__csv": "id,label\n1,frog\n2,cat\n3,frog\n4,cat\n"},
        "csv:P/trainLabels.csv?path=id&root=train&suffix=.png",
        {"1": "frog", "2": "cat", "3": "frog", "4": "cat"},
    ),
    "images in the folder itself": (
        ["a.jpg", "b.jpg"],
        {"labels__csv": "file,breed\na.jpg,pug\nb.jpg,husky\n"},
        "csv:P/labels.csv?path=file&label=breed",
        {"a": "pug", "b": "husky"},
    ),
    "other sets named like splits": (
        ["training_set/a.jpg", "training_set/b.jpg", "test_set/c.jpg"],
        {"labels__csv": "file,breed\na.jpg,pug\nb.jpg,husky\n"},
        "csv:P/labels.csv?path=file&label=breed&root=training_set",
        {"a": "pug", "b": "husky"},
    ),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_table_of_images_without_class_folders_is_named_as_it_is_read(tmp_path, name):
    images, tables, spec, classes = FLAT[name]
    root = folder(tmp_path / "p", images, **tables)
    with pytest.raises(DataError) as told:
        open_dataset(root)
    (meant,) = re.findall(r"Did you mean (.*)\?$", str(told.value))
    assert shlex.split(meant) == [spec.replace("P/", f"{root}/")]
    assert pasted(meant) == classes


def test_lists_below_a_name_with_a_blank_are_named_in_quotes(tmp_path):
    root = folder(tmp_path / "my birds", ["images/a.jpg", "images/b.jpg"], train__txt="a.jpg 0\nb.jpg 1\n")
    with pytest.raises(DataError) as told:
        open_dataset(root)
    (meant,) = re.findall(r"Did you mean (.*)\?$", str(told.value))
    assert pasted(meant) == {"a": "0", "b": "1"}


@pytest.mark.parametrize(
    ("layout", "count"),
    [
        ("dog_breeds", 4),
        ("plant_pathology_2020", 8),
        ("plant_pathology_2021", 6),
        ("isic_2019", 6),
        ("cub_200", 4),
        ("oxford_pets", 8),
        ("food_101", 2),
    ],
)
def test_published_labels_are_named_and_what_is_named_opens(tmp_path, layout, count):
    getattr(published_layouts, layout)(tmp_path)
    (root,) = tmp_path.iterdir()
    with pytest.raises(DataError) as told:
        open_dataset(root)
    (meant,) = re.findall(r"Did you mean ('[^']*'|\S+?)(?: \(or label=.*\))?\?$", str(told.value))
    assert len(pasted(meant)) == count


def test_a_table_in_the_only_folder_is_seen(tmp_path):
    root = folder(tmp_path / "p", [f"archive/{name}" for name in PARTS])
    rows = "".join(f"{n}.jpg,{k}\n" for n, k in KINDS.items())
    (root / "archive" / "meta.csv").write_text(f"file,kind\n{rows}")
    wrapper, told = sorted(said(root), key=lambda text: "meta.csv" in text)
    assert "the dataset is taken from archive/" in wrapper
    assert told.endswith("(to choose the folders: --classes-at 2)")
    (spec,) = re.findall(r"labels, say ('[^']*')", told)
    assert pasted(spec) == KINDS


def test_the_published_skin_lesions_are_not_two_parts_in_silence(tmp_path):
    published_layouts.ham10000(tmp_path)
    with pytest.warns(FeatcacheWarning, match=r"HAM10000_metadata\.csv beside them") as told:
        open_dataset(tmp_path / "ham10000")
    (spec,) = re.findall(r"say ('[^']*')", str(told[0].message))
    assert {*pasted(spec).values()} == {"bkl", "nv"}
