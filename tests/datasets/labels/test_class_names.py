"""Names of classes in a file of their own, and labels that are places in it."""

import json

import pytest

from featcache.datasets import open_dataset
from featcache.errors import DataError, MissingFileError, UsageError


def spec(
    root, *cells: str, names: str = "cat\ndog\nowl\n", file: str = "classes.txt", query: str = ""
) -> str:
    lines = []
    for number, cell in enumerate(cells):
        (root / f"{number}.jpg").write_bytes(str(number).encode())
        lines.append(f"{number}.jpg,{cell}")
    (root / "t.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    (root / file).write_text(names, encoding="utf-8")
    return f"csv:{root / 't.csv'}?names={file}{query}"


def learnt(data) -> list:
    if data.task == "classes":
        return [data.classes[record.label] for record in data.records]
    return [
        {name for name, held in zip(data.classes, record.target, strict=True) if held}
        for record in data.records
    ]


@pytest.mark.parametrize(
    ("cells", "names", "file", "labels"),
    [
        (("0", "2", "0"), "cat\ndog\nowl\n", "classes.txt", ["cat", "owl", "cat"]),
        (("1", "3", "1"), "cat\ndog\nowl\n", "classes.txt", ["cat", "owl", "cat"]),  # from 1 to 3
        (("1", "2"), "cat\ndog\nowl\n", "classes.txt", ["dog", "owl"]),
        (("0.0", "2.0"), "cat\n\n dog \nowl", "names.list", ["cat", "owl"]),
        (("owl", "cat"), "cat\ndog\nowl\n", "classes.txt", ["owl", "cat"]),
        (("0", "1"), '["cat", "dog"]', "names.json", ["cat", "dog"]),
        (
            ("21", "3"),
            '{"21": "fire lily", "3": "canterbury bells"}',
            "cat_to_name.json",
            ["fire lily", "canterbury bells"],
        ),
        (("0", "1"), '{"dog": 1, "cat": 0}', "class_indices.json", ["cat", "dog"]),
        (
            ("1", "2"),
            "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
            "classes.txt",
            ["001.Black_footed_Albatross", "002.Laysan_Albatross"],
        ),
        (("7", "9"), "7: sea lion\n9: cat\n", "classes.txt", ["sea lion", "cat"]),
        (("1", "0"), "\ufeffcat\ndog\n", "classes.txt", ["dog", "cat"]),
    ],
)
def test_numbers_are_named(tmp_path, cells, names, file, labels):
    data = open_dataset(spec(tmp_path, *cells, names=names, file=file))
    assert (data.task, learnt(data)) == ("classes", labels)


def test_classes_are_in_the_order_of_the_file_and_those_without_images_are_counted(tmp_path):
    data = open_dataset(spec(tmp_path, "2", "0", names="zebra\ncat\nape\n"))
    assert (data.classes, data.skipped) == (("zebra", "ape"), {"class without images (cat)": 1})


@pytest.mark.parametrize(
    ("cells", "query", "labels"),
    [
        (('"[0, 2]"', "[1]", "[]"), "", [{"cat", "owl"}, {"dog"}, set()]),
        (("0 2", "1"), "&sep=space", [{"cat", "owl"}, {"dog"}]),
        (("cat|owl", "dog"), "&sep=|", [{"cat", "owl"}, {"dog"}]),
    ],
)
def test_several_numbers_are_answers(tmp_path, cells, query, labels):
    data = open_dataset(spec(tmp_path, *cells, query=query))
    assert (data.task, learnt(data)) == ("answers", labels)


@pytest.mark.parametrize(
    ("cells", "names", "file", "says"),
    [
        (
            ("0", "3"),
            "cat\ndog\nowl\n",
            "c.txt",
            r"t\.csv, line 3, column label: no class 3 in .*c\.txt, which names 3: "
            "expected 0 to 2, or 1 to 3 everywhere",
        ),
        (("0", "-1"), "cat\ndog\n", "c.txt", r"line 3, column label: no class -1 in"),
        (
            ("0", "dgo"),
            "cat\ndog\n",
            "c.txt",
            r"'dgo' is neither a number nor a name in .*c\.txt; did you mean 'dog'",
        ),
        (("3", "4"), '{"3": "a", "21": "b"}', "c.json", r"no class 4 in .*, which numbers 2, from 3 to 21"),
        (("0", "1"), "cat\ncat\n", "c.txt", r"names the class 'cat' twice; expected every class once"),
        (("0", "1"), "\n", "c.txt", r"names no class; expected a name on each line, or in JSON"),
        (("0", "1"), '{"a": [0]}', "c.json", r"holds something else; expected a name on each line"),
        (("0", "1"), '{"a": 0, "b": 0}', "c.json", r"gives two classes one number"),
        (
            ("0", "1"),
            "[" * 40 + "]" * 40,
            "c.json",
            r"is no JSON that can be read: it is nested more than 32 levels",
        ),
        (("0", "1"), '["a", NaN]', "c.json", r"is no JSON that can be read: NaN is no number"),
        (
            ("0", "1"),
            json.dumps(["a", "b" * 10_001]),
            "c.json",
            r"has 10,001 characters; expected at most 10,000",
        ),
    ],
)
def test_what_cannot_be_named_is_refused(tmp_path, cells, names, file, says):
    with pytest.raises(DataError, match=says):
        open_dataset(spec(tmp_path, *cells, names=names, file=file))


def test_a_file_that_is_missing_or_of_no_use(tmp_path):
    found = spec(tmp_path, "0", "1")
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(MissingFileError, match=r"no file .*classes\.txt; expected a name on each line"):
        open_dataset(found)
    with pytest.raises(
        UsageError, match=r"names= is for one column of classes or answers, not for label as a number"
    ):
        open_dataset(spec(tmp_path, "0", "1", query="&task=numbers"))
