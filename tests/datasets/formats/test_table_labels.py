"""Labels of tables that are no classes: yes-or-no answers, and numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.datasets import open_dataset
from featcache.errors import DataError, UsageError
from featcache.extraction.planning.row_table import SplitRule, build_rows
from featcache.splits.stratified import strata


def table(root, text: str, name: str = "photos.csv") -> str:
    for image in ("a.jpg", "b.jpg", "c.jpg"):
        (root / image).write_bytes(image.encode())
    (root / name).write_text(text)
    return f"csv:{root / name}"


def learnt(dataset) -> list:
    """Return what a dataset says of its images, which have no class."""
    assert {record.label for record in dataset.records} == {-1}
    return [record.target for record in dataset.records]


TABLE = "path,smiling,hat,age,both\na.jpg,1,0,31,1\nb.jpg,true,False,4.5,true\nc.jpg,0,1,-2e1,1\n"


@pytest.mark.parametrize(
    ("query", "task", "names", "targets"),
    [
        ("label=smiling,hat&task=answers", "answers", ("smiling", "hat"), [(1, 0), (1, 0), (0, 1)]),
        ("label= smiling , both", "answers", ("smiling", "both"), [(1, 1), (1, 1), (0, 1)]),
        ("label=both,smiling", "answers", ("both", "smiling"), [(1, 1), (1, 1), (1, 0)]),
        ("label=age", "numbers", ("age",), [(31,), (4.5,), (-20,)]),
        ("label=age,hat", "numbers", ("age", "hat"), [(31, 0), (4.5, 0), (-20, 1)]),
        ("label=smiling&task=answers", "answers", ("smiling",), [(1,), (1,), (0,)]),
        ("label=smiling,hat&task=numbers", "numbers", ("smiling", "hat"), [(1, 0), (1, 0), (0, 1)]),
    ],
)
def test_columns_of_numbers(tmp_path, query, task, names, targets):
    found = open_dataset(f"{table(tmp_path, TABLE)}?{query}")
    assert (found.task, found.classes) == (task, names)
    assert learnt(found) == targets


def test_one_column_of_classes_stays_one_of_classes(tmp_path):
    found = open_dataset(table(tmp_path, "path,label\na.jpg,1\nb.jpg,0\n"))
    assert (found.task, found.classes, [r.label for r in found.records]) == ("classes", ("0", "1"), [1, 0])
    found = open_dataset(f"{table(tmp_path, TABLE)}?label=age&task=classes")
    assert found.task == "classes"
    assert {record.target for record in found.records} == {None}


def test_whole_numbers_are_numbers_where_somebody_says_so(tmp_path):
    spec = table(tmp_path, "path,label\na.jpg,3\nb.jpg,12\n")
    assert open_dataset(spec).classes == ("3", "12")
    assert learnt(open_dataset(f"{spec}?task=numbers")) == [(3,), (12,)]


@pytest.mark.parametrize("cell", ["NA", "nan", "inf", '"3,5"', "12 kg"])
def test_a_slip_in_a_column_of_numbers_is_named_and_makes_no_classes(tmp_path, cell):
    lines = [f"{i}.jpg,{i + 0.5}" for i in range(20)]
    lines[3] = f"3.jpg,{cell}"
    spec = f"{many(tmp_path, 'path,age', lines)}?label=age"
    says = rf"line 5, column age: {cell.strip(chr(34))!r} is no number, and 19 of 19 others are; .*say \?task=classes"
    with pytest.raises(DataError, match=says):
        open_dataset(spec)
    assert len(open_dataset(f"{spec}&task=classes").classes) == 20


@pytest.mark.parametrize(
    ("numbers", "words"),
    [(9, 1), (17, 2), (0, 12)],  # ten rows; 89 % numbers; none
)
def test_fewer_numbers_are_names_of_classes(tmp_path, numbers, words):
    lines = [f"{i}.jpg,{i + 0.5}" for i in range(numbers)] + [f"{numbers + i}.jpg,v{i}" for i in range(words)]
    assert open_dataset(many(tmp_path, "path,label", lines)).task == "classes"


def test_whole_numbers_with_a_word_among_them_are_classes(tmp_path):
    spec = many(tmp_path, "path,label", [f"{i}.jpg,{i}" for i in range(19)] + ["19.jpg,other"])
    assert open_dataset(spec).classes[-1] == "other"


def test_nine_in_ten_of_more_than_ten_are_enough(tmp_path):
    lines = [f"{i}.jpg,{i + 0.5}" for i in range(18)] + ["18.jpg,?", "19.jpg,-"]
    with pytest.raises(DataError, match=r"line 20, column label: '\?' is no number, and 18 of 19 others are"):
        open_dataset(many(tmp_path, "path,label", lines))


def test_lists_of_names_are_answers(tmp_path):
    text = (
        '{"path": "a.jpg", "label": ["sea", "sky"]}\n{"path": "b.jpg", "label": []}\n'
        '{"path": "c.jpg", "label": ["tree10", "sky", "tree9"]}\n'
    )
    found = open_dataset(table(tmp_path, text, "photos.jsonl"))
    assert (found.task, found.classes) == ("answers", ("sea", "sky", "tree9", "tree10"))
    assert learnt(found) == [(1, 1, 0, 0), (0, 0, 0, 0), (0, 1, 1, 1)]


def test_lists_in_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    spec = table(tmp_path, "", "photos.csv")
    columns = {"path": ["a.jpg", "b.jpg"], "label": [["x"], ["x", "y"]], "age": [1, 2.5]}
    pq.write_table(pa.table(columns), tmp_path / "photos.parquet")
    spec = spec.replace(".csv", ".parquet")
    assert learnt(open_dataset(spec)) == [(1, 0), (1, 1)]
    assert learnt(open_dataset(f"{spec}?label=age")) == [(1,), (2.5,)]


@pytest.mark.parametrize(
    ("text", "query", "error", "says"),
    [
        (
            TABLE,
            "smiling,age&task=answers",
            DataError,
            r"line 2, column age: 31 is no answer; expected 0 or 1",
        ),
        (
            TABLE,
            "smiling,path",
            DataError,
            r"line 2, column path: 'a.jpg' is no number; expected one in every row",
        ),
        (
            TABLE,
            "smiling,both&task=classes",
            UsageError,
            r"task=classes takes one column of labels, or one for each class with exactly one 1 in every row; "
            r".*photos\.csv, line 2 has 2; several labels for an image, or none, are task=answers",
        ),
        (TABLE, "smiling,hut", DataError, r"line 1: no column 'hut' for the label; did you mean 'hat'"),
        (
            "path,x,y\na.jpg,1,\nb.jpg,0,1\n",
            "x,y",
            DataError,
            r"line 2, column y: no number; expected one in every row",
        ),
        ("path,x\na.jpg,1\nb.jpg,nan\n", "x&task=numbers", DataError, r"line 3, column x: no number"),
        (
            "path,x\na.jpg,1\nb.jpg,inf\n",
            "x&task=numbers",
            DataError,
            r"line 3, column x: 'inf' is no number",
        ),
        ("path,x\na.jpg,1\nb.jpg,1e39\n", "x", DataError, r"line 3, column x: 1e39 is too large"),
        ("path,x\na.jpg,1.5\nb.jpg,1e999\n", "x", DataError, r"line 3, column x: 1e999 is too large"),
        ("path,x,y\na.jpg,1,0\nb.jpg,1,0\n", "x,y", DataError, r"all images have the same answers \(x, y\)"),
        (
            "path,x\na.jpg,1.5\na.jpg,2\n",
            "x",
            DataError,
            r"'a.jpg' has label '1.5' in .*line 2 and '2' in .*line 3",
        ),
    ],
)
def test_what_is_no_label_is_named_with_its_place(tmp_path, text, query, error, says):
    with pytest.raises(error, match=says):
        open_dataset(f"{table(tmp_path, text)}?label={query}")


def test_lists_that_are_asked_for_as_classes(tmp_path):
    spec = table(tmp_path, '{"path": "a.jpg", "label": ["x"]}\n', "photos.jsonl")
    with pytest.raises(UsageError, match=r"lists of names are multilabel \(task=answers\), not task=classes"):
        open_dataset(f"{spec}?task=classes")


# Splits -----------------------------------------------------------------------------------------------------


def hashes(count: int) -> list[bytes]:
    return [bytes([i % 256, i // 256]) * 16 for i in range(count)]


def many(root, header: str, lines: list[str]) -> str:
    (root / "many.csv").write_text("\n".join([header, *lines]) + "\n")
    (root / "0.jpg").write_bytes(b"x")
    return f"csv:{root / 'many.csv'}"


def test_a_drawn_split_holds_every_answer_in_its_share(tmp_path):
    # 300 images, one answer in a tenth of them, another in half; a fifth is drawn.
    spec = many(tmp_path, "path,rare,half", [f"{i}.jpg,{int(i % 10 == 0)},{i % 2}" for i in range(300)])
    data = open_dataset(f"{spec}?label=rare,half")
    table, splits, rule = build_rows(data, hashes(300), SplitRule())
    assert table.targets is not None
    assert (splits, rule and rule["rule"]) == (("train", "test"), "stratified by content")
    assert set(table.labels) == {-1}
    # The strata are (1, 0), (0, 0) and (0, 1): 30, 120 and 150 images, each divided exactly.
    assert table.targets[table.splits == 1].sum(axis=0).tolist() == [6, 30]


def test_a_drawn_split_holds_all_ranges_of_a_number(tmp_path):
    spec = many(tmp_path, "path,age", [f"{i}.jpg,{i + 0.5}" for i in range(100)])
    table, _, _ = build_rows(open_dataset(f"{spec}?label=age"), hashes(100), SplitRule())
    assert table.targets is not None
    tested = table.targets[table.splits == 1, 0]
    assert np.histogram(tested, [0, 20, 40, 60, 80, 100])[0].tolist() == [4, 4, 4, 4, 4]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]), min_size=1, max_size=60))
def test_equal_numbers_are_of_one_stratum(values):
    found = strata("numbers", np.array(values)[:, None])
    assert len({(v, s) for v, s in zip(values, found.tolist(), strict=True)}) == len(set(values))
    assert all(
        a <= b
        for (u, a) in zip(values, found, strict=True)
        for (v, b) in zip(values, found, strict=True)
        if u < v
    )


def test_answers_that_few_images_share_are_one_stratum():
    targets = np.array([[0, 0]] * 6 + [[0, 1]] * 4 + [[1, 1]] * 2)
    assert strata("answers", targets).tolist() == [0] * 6 + [-1] * 6


def test_groups_and_targets_go_together(tmp_path):
    lines = [f"{i}.jpg,{i / 7},{i // 4}" for i in range(80)]
    data = open_dataset(f"{many(tmp_path, 'path,age,group', lines)}?label=age")
    table, _, rule = build_rows(data, hashes(80), SplitRule())
    assert rule is not None
    assert rule["rule"] == "stratified by group"
    tested = [int(g) for g, s in zip(table.groups or (), table.splits, strict=True) if s]
    assert tested
    assert all(tested.count(g) == 4 for g in tested)
