"""Tables of images: what is read of every format, and each refusal with its line and column."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest
from helpers.photo_folders import photo_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.datasets import open_dataset
from featcache.datasets.dataset import UNSPLIT
from featcache.datasets.formats.table import TableSpec
from featcache.datasets.formats.text_lines import LONGEST
from featcache.errors import (
    DataError,
    FeatcacheError,
    FeatcacheWarning,
    MissingExtraError,
    MissingFileError,
    UsageError,
)

PLAIN = "path,label\na.jpg,cat\nb.jpg,dog\n"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def table(root: Path, text: str | bytes, name: str = "photos.csv", *, files=("a.jpg", "b.jpg")) -> str:
    """Write a table beside its images and return its spec."""
    touch(root, *files)
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return f"csv:{root / name}"


def rows(dataset) -> list[tuple[str, str, str]]:
    return [(record.id, record.split, dataset.classes[record.label]) for record in dataset.records]


UNDIVIDED = [("a.jpg", UNSPLIT, "cat"), ("b.jpg", UNSPLIT, "dog")]


# What is read -----------------------------------------------------------------------------------------------


def test_path_and_label_are_enough(tmp_path):
    spec = table(tmp_path, PLAIN)
    found = open_dataset(spec)
    assert rows(found) == UNDIVIDED
    assert (found.spec, found.name, found.classes, found.splits) == (
        spec,
        "photos-csv",
        ("cat", "dog"),
        ("",),
    )
    status = (tmp_path / "a.jpg").stat()
    first = found.records[0]
    assert (first.size, first.mtime_ns, first.read()) == (status.st_size, status.st_mtime_ns, b"a.jpg")


def test_split_and_group_are_used_where_they_are(tmp_path):
    text = "group,split,label,path\np1,Training,cat,a.jpg\n,valid,dog,b.jpg\np1,TEST,cat,c.jpg\n"
    found = open_dataset(table(tmp_path, text, files=("a.jpg", "b.jpg", "c.jpg")))
    assert rows(found) == [("a.jpg", "train", "cat"), ("b.jpg", "val", "dog"), ("c.jpg", "test", "cat")]
    assert [record.group for record in found.records] == ["p1", "", "p1"]


@pytest.mark.parametrize("name", ["set", "Subset", "data set", "phase"])
def test_a_column_of_splits_under_another_name_is_not_passed_over_in_silence(tmp_path, name):
    spec = table(tmp_path, f"path,{name},label\na.jpg,Train,cat\nb.jpg,test,dog\n")
    with pytest.warns(FeatcacheWarning) as told:
        data = open_dataset(spec)
    assert [str(one.message) for one in told] == [
        f"{spec}: column {name!r} holds splits (Train, test) and is not used: the test images are drawn anew; "
        f"split={name} takes it"
    ]
    assert {record.split for record in data.records} == {UNSPLIT}
    assert [record.split for record in open_dataset(f"{spec}?split={name}").records] == ["train", "test"]
    open_dataset(f"{spec}?split=")  # asked for: in silence


@pytest.mark.parametrize("cells", [("1", "2"), ("train", "train"), ("train", "other"), ("", "test")])
def test_a_column_called_set_that_holds_no_splits_is_let_alone(tmp_path, cells):
    open_dataset(table(tmp_path, f"path,set,label\na.jpg,{cells[0]},cat\nb.jpg,{cells[1]},dog\n"))


def test_options_name_columns_and_the_folder(tmp_path):
    text = "file,species,fold,patient,split\nx/a.jpg,cat,train,7,odd\nb.jpg,dog,test,8,odd\n"
    spec = table(tmp_path, text, files=("images/x/a.jpg", "images/b.jpg"))
    found = open_dataset(f"{spec}?path=file&label=species&split=fold&group=patient&root=images")
    assert rows(found) == [("x/a.jpg", "train", "cat"), ("b.jpg", "test", "dog")]
    assert [record.group for record in found.records] == ["7", "8"]
    assert found.records[0].read() == b"images/x/a.jpg"


def test_an_empty_option_leaves_a_column_out(tmp_path):
    spec = table(tmp_path, "path,label,split,group\na.jpg,cat,0,g\nb.jpg,dog,1,g\n")
    found = open_dataset(f"{spec}?split=&group=")
    assert rows(found) == UNDIVIDED
    assert {record.group for record in found.records} == {""}


def test_names_of_columns_and_files_may_hold_what_the_grammar_uses(tmp_path):
    spec = table(tmp_path, "a&b?,x=y\na.jpg,cat\nb.jpg,dog\n", "really?.csv")
    assert rows(open_dataset(f"{spec}?path=a%26b%3F&label=x=y")) == UNDIVIDED
    plain = table(tmp_path, PLAIN, "really?.csv")
    assert rows(open_dataset(f"{plain}?")) == UNDIVIDED
    with pytest.raises(
        UsageError, match=r"no option '\.csv'; .* name holds '\?' is written with another '\?'"
    ):
        open_dataset(plain)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN,
        PLAIN.rstrip("\n"),
        PLAIN.replace("\n", "\n\n"),
        " path , label \na.jpg, cat\nb.jpg,dog \n",
        '"path","label"\n"a.jpg","cat"\n"b.jpg","dog"\n',
    ],
    ids=["crlf", "byte order mark", "no last line end", "blank lines", "spaces", "quotes"],
)
def test_ways_to_write_the_same_table(tmp_path, text):
    assert rows(open_dataset(table(tmp_path, text))) == UNDIVIDED


@pytest.mark.parametrize(
    ("text", "name", "query"),
    [
        (PLAIN.replace(",", "\t"), "photos.tsv", ""),
        (PLAIN.replace(",", ";"), "photos.csv", "?delimiter=;"),
        (PLAIN.replace(",", "\t"), "photos.CSV", "?delimiter=tab"),
        ('{"path": "a.jpg", "label": "cat"}\n\n{"label": "dog", "path": "b.jpg"}', "photos.jsonl", ""),
        ('{"path": "a.jpg", "label": "cat", "x": [1]}\n{"label": "dog", "path": "b.jpg"}', "p.ndjson", ""),
    ],
)
def test_formats(tmp_path, text, name, query):
    assert rows(open_dataset(table(tmp_path, text, name) + query)) == UNDIVIDED


def write_parquet(root: Path, columns: dict, name: str = "photos.parquet") -> str:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    touch(root, "a.jpg", "b.jpg")
    pq.write_table(pa.table(columns), root / name)
    return f"csv:{root / name}"


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    columns = {
        "vector": [[1.0], [2.0]],
        "path": ["a.jpg", "b.jpg"],
        "label": pa.array(["cat", "dog"]).dictionary_encode(),
        "split": ["train", "test"],
        "group": pa.array([7, None]),
    }
    found = open_dataset(write_parquet(tmp_path, columns))
    assert rows(found) == [("a.jpg", "train", "cat"), ("b.jpg", "test", "dog")]
    assert [record.group for record in found.records] == ["7", ""]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    spec = table(tmp_path, b"PAR1", "photos.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"needs pyarrow.*featcache\[parquet\].*as CSV"):
        open_dataset(spec)


# Plain names round trip through JSON lines; a NUL or half of a surrogate pair is in no file's name.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=20)
LABELS = st.text(min_size=1, max_size=9).map(lambda name: "class " + name).filter(lambda n: n == n.strip())


@settings(max_examples=40, deadline=None)
@given(names=st.lists(NAMES, min_size=2, max_size=8, unique=True), data=st.data())
def test_odd_names_come_back_as_written(tmp_path_factory, names, data):
    """Against Python's own writers: quotes, commas, line ends and any alphabet, in CSV, TSV and JSON lines."""
    root = tmp_path_factory.mktemp("odd")
    (root / "there.jpg").touch()  # most of the names are of no file, which is no matter for the scan
    clean = LABELS.filter(lambda n: "\0" not in n and n.encode("utf-8", "ignore").decode() == n)
    labels = data.draw(st.lists(clean, min_size=len(names), max_size=len(names)))
    written = [*zip([f"x/{name}" for name in names], labels, strict=True), ("there.jpg", "one"), ("z", "two")]
    for name, delimiter in (("t.csv", ","), ("t.tsv", "\t")):
        with open(root / name, "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, delimiter=delimiter).writerows([("path", "label"), *written])
    lines = [json.dumps({"path": name, "label": label}) for name, label in written]
    (root / "t.jsonl").write_text("\n".join(lines), "utf-8")
    for name in ("t.csv", "t.tsv", "t.jsonl"):
        found = open_dataset(f"csv:{root / name}")
        assert [(record.id, found.classes[record.label]) for record in found.records] == written


def test_values_are_data_and_no_code(tmp_path):
    formula = '=HYPERLINK("x")'
    text = 'path,label\na.jpg,"=HYPERLINK(""x"")"\nb.jpg,__import__(\'os\')\n$(HOME).jpg,${HOME}\n'
    found = open_dataset(table(tmp_path, text))
    assert [found.classes[r.label] for r in found.records] == [formula, "__import__('os')", "${HOME}"]


# Classes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "2", "1"], ("1", "2", "10")),
        (["-1", "1", "-10"], ("-10", "-1", "1")),
        (["007", "1", "30"], ("1", "007", "30")),
        (["class10", "class2", "Bird", "ant"], ("ant", "Bird", "class2", "class10")),
        (["10", "2", "other"], ("2", "10", "other")),
        (["1.5", "2", "other"], ("1.5", "2", "other")),
    ],
)
def test_whole_numbers_are_ordered_by_value_and_text_as_folders_are(tmp_path, labels, classes):
    text = "path,label\na.jpg," + "\nb.jpg,".join([labels[0], labels[1]])
    text += "".join(f"\nx{i}.jpg,{label}" for i, label in enumerate(labels[2:]))
    assert open_dataset(table(tmp_path, text)).classes == classes


def test_whole_numbers_of_json_and_truth_values(tmp_path):
    lines = '{"path": "a.jpg", "label": 10}\n{"path": "b.jpg", "label": 9}'
    assert open_dataset(table(tmp_path, lines, "n.jsonl")).classes == ("9", "10")
    lines = '{"path": "a.jpg", "label": true}\n{"path": "b.jpg", "label": false}'
    assert open_dataset(table(tmp_path, lines, "b.jsonl")).classes == ("false", "true")


def test_the_same_photos_as_a_folder_have_the_same_classes_and_bytes(tmp_path):
    photo_folder(tmp_path / "f", {"cat2": 2, "cat10": 1, "Dog": 1})
    folder = open_dataset(str(tmp_path / "f"))
    lines = [f"f/{record.id},{folder.classes[record.label]}" for record in folder.records]
    found = open_dataset(table(tmp_path, "path,label\n" + "\n".join(lines)))
    assert found.classes == folder.classes
    assert [(r.label, r.size, r.mtime_ns, r.read()) for r in found.records] == [
        (r.label, r.size, r.mtime_ns, r.read()) for r in folder.records
    ]


# Files ------------------------------------------------------------------------------------------------------


def test_missing_files_stay_in_and_fail_when_they_are_read(tmp_path):
    found = open_dataset(table(tmp_path, PLAIN + "gone.jpg,cat\n" + "x" * 400 + ",cat\n"))
    assert len(found.records) == 4
    for record in found.records[2:]:
        assert (record.size, record.mtime_ns) == (0, 0)
        with pytest.raises(OSError, match=r"No such file|too long"):
            record.read()


def test_files_of_the_year_1970_exist(tmp_path):
    spec = table(tmp_path, PLAIN)
    for name in ("a.jpg", "b.jpg"):  # as reproducible archives unpack them
        os.utime(tmp_path / name, (0, 0))
    assert len(open_dataset(spec).records) == 2


def test_absolute_paths_and_paths_above(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/b.jpg")
    text = f"path,label\n{tmp_path}/images/a.jpg,cat\n../images/b.jpg,dog\n"
    (tmp_path / "tables").mkdir()
    spec = table(tmp_path / "tables", text, files=())
    with pytest.warns(
        UserWarning, match=rf"2 of 2 images are outside of {tmp_path}/tables, such as .*a\.jpg"
    ) as told:
        found = open_dataset(spec)
    assert len(told) == 1, "it is said once"
    assert [record.read() for record in found.records] == [b"images/a.jpg", b"images/b.jpg"]
    assert [record.id for record in found.records] == [f"{tmp_path}/images/a.jpg", "../images/b.jpg"]


def test_a_folder_that_is_named_holds_what_is_below_it(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/b.jpg")
    text = f"path,label\n{tmp_path}/images/a.jpg,cat\nb.jpg,dog\n"
    (tmp_path / "tables").mkdir()
    found = open_dataset(
        table(tmp_path / "tables", text, files=()) + "?root=../images"
    )  # a warning is an error here
    assert len(found.records) == 2


def test_a_path_again_is_another_row_with_an_id_of_its_own(tmp_path):
    text = PLAIN + "a.jpg,cat\na.jpg#2,dog\n./a.jpg,cat\na.jpg,cat\n"
    ids = [record.id for record in open_dataset(table(tmp_path, text)).records]
    assert ids == ["a.jpg", "b.jpg", "a.jpg#3", "a.jpg#2", "./a.jpg", "a.jpg#4"]


# Refusals of specs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("lable=x", r"dataset 'csv:.*/photos\.csv\?lable=x': no option 'lable'; did you mean 'label'\\?"),
        ("path", "option path has no value; expected path=VALUE"),
        ("root=", "option root has no value"),
        ("path=a&path=b", "option path is given twice"),
        ("label=cat&label=dog", "option label is given twice; .* several columns of labels have a comma"),
        ("label=label, label", r"dataset 'csv:.*photos\.csv\?label=label, label': a column is named twice"),
        (
            "task=multilabel",
            r"dataset 'csv:.*/photos\.csv\?task=multilabel': no task .*; did you mean 'answers'\?",
        ),
        ("task=Regression", r"no task 'Regression'; did you mean 'numbers'\?"),
        ("task=ranking", "no task 'ranking'; known: classes, answers, numbers"),
        ("delimiter=;;", "delimiter ';;'; expected one character, or tab"),
    ],
)
def test_options_that_cannot_work(tmp_path, query, says):
    with pytest.raises(UsageError, match=says):
        open_dataset(f"{table(tmp_path, PLAIN)}?{query}")


def test_a_delimiter_for_a_format_without_one(tmp_path):
    spec = table(tmp_path, '{"path": 1}', "p.jsonl")
    with pytest.raises(UsageError, match=r"a delimiter was given, which \.jsonl files do not have"):
        open_dataset(f"{spec}?delimiter=;")


def test_the_grammar_is_pure(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    spec = TableSpec.parse("~/p.csv?path=a&root=b%25&delimiter=tab&split=")
    assert spec == TableSpec(Path("/home/me/p.csv"), {"path": "a", "split": ""}, "b%", "\t")


def test_files_that_are_no_tables(tmp_path):
    touch(tmp_path, "photos.xlsx")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "fifo.csv")
    for name, kind, says in (
        ("nowhere.csv", MissingFileError, r"no file .*nowhere\.csv; expected a table \(\.csv, "),
        ("photos.xlsx", UsageError, r"photos\.xlsx is no table by its suffix '\.xlsx'; known: \.csv, \.tsv"),
        ("folder.csv", DataError, r"folder\.csv is a folder; expected a table"),
        ("fifo.csv", DataError, r"fifo\.csv is a FIFO; expected a table"),
    ):
        with pytest.raises(kind, match=says):
            open_dataset(f"csv:{tmp_path / name}")


def test_a_root_that_is_not_there(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"no folder .*/imges, which root=imges names; it is relative to"
    ):
        open_dataset(f"{table(tmp_path, PLAIN)}?root=imges")


# Refusals of content ----------------------------------------------------------------------------------------

BAD = {
    "empty": ("", r"photos\.csv is empty; expected a header line such as path,label"),
    "blank": ("\n\n", r"photos\.csv is empty"),
    "header only": ("path,label\n", "has a header and no rows"),
    "missing column": (
        "path,lable,x\na.jpg,cat,1\n",
        r"photos\.csv, line 1: no column 'label' for the label; did you mean 'lable'\?; name another one with "
        r"'csv:.*photos\.csv\?label=COLUMN'",
    ),
    "other delimiter": (
        "path;label\na.jpg;cat\n",
        r"no column 'path' .*separated otherwise than by ','.*delimiter=;",
    ),
    "column twice": (
        "path,label,label\na.jpg,cat,cat\n",
        "line 1: 2 columns are called 'label'; rename all but one",
    ),
    "empty label": (
        PLAIN + "c.jpg, \n",
        r"photos\.csv, line 4, column label: no label; expected one in every row",
    ),
    "empty path": (PLAIN + ",cat\n", "line 4, column path: no path"),
    "empty split": ("path,label,split\na.jpg,cat,train\nb.jpg,dog,\n", "line 3, column split: no split"),
    "unknown split": (
        "path,label,split\na.jpg,cat,trian\n",
        r"line 2, column split: 'trian' is no split; did you mean 'train'.*leave it out with \?split=",
    ),
    "few values": (
        PLAIN + "\nc.jpg\n",
        "line 5: 1 values where the header names 2; .* ',' has to be in double quotes",
    ),
    "many values": (PLAIN + "c,d.jpg,cat\n", "line 4: 3 values where the header names 2"),
    "open quote": (
        PLAIN + '"c.jpg,cat\nd.jpg,cat\n',
        "line 4 is not comma-separated text: unexpected end of data",
    ),
    "text after a quote": (
        PLAIN + '"c"x.jpg,cat\n',
        "line 4 is not comma-separated text: ',' expected after '\"'",
    ),
    "huge value": (
        PLAIN + "c" * 200_000 + ",cat\n",
        r"line 4 is not .*: field larger than field limit \(131072\)",
    ),
    "huge line": ("p" * (LONGEST + 1), r"line 1 is longer than 1,048,576 bytes; is it a text file\?"),
    "old line ends": (
        PLAIN.replace("\n", "\r"),
        "line 1 is not comma-separated text: a CR inside a line; expected lines that end in LF or CRLF",
    ),
    "NUL": ("path,label\na.jpg,cat\nb\0.jpg,dog\n", r"line 3, column path: 'b\\x00\.jpg' holds a NUL byte"),
    "Latin-1": (
        PLAIN.encode() + b"caf\xe9.jpg,cat\n",
        r"photos\.csv, line 4 is not UTF-8 \(byte 0xe9 at position 4\); save it as UTF-8",
    ),
    "UTF-16": (PLAIN.encode("utf-16"), r"line 1 is not UTF-8 \(byte 0xf[ef] at position 1\)"),
    "one class": (
        "path,label\na.jpg,cat\nb.jpg,cat\n",
        r"holds one class \(cat\); a classifier needs at least two",
    ),
    "one number": (
        "path,label\na.jpg,0.5\nb.jpg,0.5\n",
        r"photos\.csv: all images have the same numbers \(label\); there is nothing to learn",
    ),
    "two spellings": (
        "path,label\na.jpg,7\nb.jpg,07\n",
        r"photos\.csv: labels '07' and '7' stand for the same number",
    ),
    "labels": (
        PLAIN + "./a.jpg,dog\n",
        r"'\./a\.jpg' has label 'cat' in .*photos\.csv, line 2 and 'dog' in .*photos\.csv, line 4; keep the row",
    ),
    "splits": (
        "path,label,split\na.jpg,cat,train\na.jpg,cat,test\n",
        "'a.jpg' has split 'train' in .*line 2 and 'test' in .*line 3",
    ),
    "groups": (
        "path,label,group\na.jpg,cat,x\na.jpg,cat,\n",
        "'a.jpg' has group 'x' in .*line 2 and '' in .*line 3",
    ),
    "no files": (
        "path,label\nc.jpg,cat\nd.jpg,dog\n",
        r"not one of 2 images exists; .*line 2 names 'c\.jpg', looked for as /.*/c\.jpg; paths are relative .*\?root=",
    ),
    "spaces behind paths": (
        "path,label\nc.jpg ,cat\nd.jpg ,dog\n",
        r"line 2 names 'c\.jpg ', looked for as .* \('/.*/c\.jpg ' ends in a space\); paths are",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_its_place(tmp_path, case):
    text, says = BAD[case]
    with pytest.raises(DataError, match=says):
        open_dataset(table(tmp_path, text))


def test_the_line_of_an_error_counts_line_ends_inside_quotes(tmp_path):
    text = 'path,label\n"a\nb.jpg",cat\n\n"c\n\nd.jpg",\n'
    with pytest.raises(DataError, match=r"photos\.csv, line 5, column label: no label"):
        open_dataset(table(tmp_path, text))


JSON = '{"path": "a.jpg", "label": "cat"}\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"p\.jsonl is empty; expected lines such as"),
        (JSON + "{'path': 1}", r"p\.jsonl, line 2 is not JSON: Expecting property name"),
        (JSON + "[1]", "line 2 is no object; expected"),
        (JSON + "[" * 100_000, "line 2 is not JSON"),
        (JSON + '{"path": "b.jpg", "label": ' + "9" * 5000 + "}", "line 2 is not JSON: Exceeds the limit"),
        (JSON + '\n{"path": "b.jpg"}', "line 3, column label: no label"),
        (JSON + '{"path": "b.jpg", "label": null}', "line 2, column label: no label"),
        (JSON + '{"path": "b.jpg", "label": NaN}', "line 2, column label: no label"),
        (
            JSON + '{"path": {"bytes": 1}, "label": 1}',
            "line 2, column path: a value of type dict; expected text",
        ),
        (
            JSON + '{"path": "b.jpg", "label": ["a", "b"]}',
            r"line 1, column label: 'cat' is no list, and others in this column are",
        ),
        (JSON + '{"path": "\\ud800.jpg", "label": "a"}', "line 2, column path: .* half of a surrogate pair"),
        (
            '{"photo": "a.jpg", "label": 1}',
            r"no column 'path' for the path; known: photo, label; name another one",
        ),
    ],
)
def test_json_lines_that_cannot_be_used(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        open_dataset(table(tmp_path, text, "p.jsonl"))


def test_parquet_that_cannot_be_used(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(
        DataError, match=r"photos\.parquet is no Parquet file that can be read: .*magic bytes"
    ):
        open_dataset(table(tmp_path, "path,label\n", "photos.parquet"))
    for columns, says in (
        (
            {"path": ["a.jpg", "b.jpg"], "label": ["cat", None]},
            r"photos\.parquet, row 2, column label: no label",
        ),
        (
            {"path": ["a.jpg", "b.jpg"], "label": [[0, 1], [1, 0]]},
            "row 1, column label: 0 in a list is no name; expected lists of names, or a column for each answer",
        ),
        (
            {"path": ["a.jpg"], "lable": ["cat"], "x": [1]},
            "no column 'label' for the label; did you mean 'lable'",
        ),
    ):
        with pytest.raises(DataError, match=says):
            open_dataset(write_parquet(tmp_path, columns))


def test_damaged_parquet_pages_are_no_traceback(tmp_path):
    spec = write_parquet(tmp_path, {"path": ["a.jpg", "b.jpg"] * 500, "label": ["cat", "dog"] * 500})
    file = tmp_path / "photos.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + b"\xff" * 40 + whole[44:])
    with pytest.raises(DataError, match=r"cannot read .*photos\.parquet: .*\. The file is damaged"):
        open_dataset(spec)


PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b"path", b"label", b"split", b",", b"\n", b'"', b"a.jpg", b"cat\n", b'{"path":', b"}", b"\t", b"0"]
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(PIECES, max_size=14).map(b"".join), st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
)
def test_any_bytes_are_a_dataset_or_an_error_of_ours(tmp_path_factory, content, name):
    root = tmp_path_factory.getbasetemp()
    (root / name).write_bytes((b"path,label\na.jpg,cat\n" if len(content) % 2 else b"") + content)
    try:
        refusal = None if open_dataset(f"csv:{root / name}").records else "nothing"
    except FeatcacheError as error:
        refusal = str(error)
    assert refusal is None or name in refusal  # every message says which file


# From a table to a cache ------------------------------------------------------------------------------------


def test_a_table_of_photos_already_extracted_computes_nothing(tmp_path, network):
    """The same photos as a folder, as a table and as lists: same hashes and features, missing ones quarantined."""
    from featcache import extract

    photo_folder(tmp_path / "f" / "images", {"cat": 4, "dog": 4})
    ids = [record.id for record in open_dataset(str(tmp_path / "f" / "images")).records]
    first = extract(tmp_path / "f" / "images", backbone=network, output=tmp_path / "folder.h5")
    lines = [f"{name},{name[:3]},{name[4]}" for name in ids]
    text = "path,label,group\n" + "\n".join([*lines, "cat/gone.png,cat,9"])
    spec = table(tmp_path / "f" / "images", text, files=())
    second = extract(spec, backbone=network, output=tmp_path / "table.h5", reuse=[first.path])
    assert (second.computed, second.reused) == (0, 8)
    assert list(second.quarantined) == ["cat/gone.png"]
    assert second.cache.identity["dataset"]["rule"]["rule"] == "stratified by group"
    again = extract(spec, backbone=network, output=tmp_path / "table.h5")
    assert (again.computed, again.images) == (0, 9)
    (tmp_path / "f" / "train.txt").write_text("\n".join(ids[::2]))
    (tmp_path / "f" / "test.txt").write_text("\n".join(ids[1::2]))
    third = extract(
        f"lists:{tmp_path / 'f'}", backbone=network, output=tmp_path / "lists.h5", reuse=[first.path]
    )
    assert (third.computed, third.reused) == (0, 8)
    assert second.cache.sha256[:8].tolist() == first.cache.sha256.tolist()
    assert sorted(third.cache.sha256.tolist()) == sorted(first.cache.sha256.tolist())
    assert second.cache.to_numpy("pool")[:8].tolist() == first.cache.to_numpy("pool").tolist()
