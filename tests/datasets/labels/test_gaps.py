"""What a table is told that has rows without a label, columns of 0 and 1, or rows without an image."""

import re
import shlex

import pytest

from featcache.core.argument_types import named_as_options
from featcache.datasets import open_dataset
from featcache.errors import DataError, FeatcacheWarning, UsageError


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(*lines: str, missing: int = 0, name: str = "t.csv") -> str:
        for number in range(len(lines) - 1 - missing):
            (tmp_path / f"{number}.jpg").write_bytes(bytes([number]))
        rows = [lines[0], *(f"{number}.jpg,{own}" for number, own in enumerate(lines[1:]))]
        (tmp_path / name).write_text("\n".join(rows) + "\n")
        return f"csv:{name}"

    return write


def pasted(message: str) -> str:
    """Return the spec that a message ends with, or names last, as a shell reads it."""
    return next(word for word in reversed(shlex.split(message.replace("; ", " "))) if word.startswith("csv:"))


NUMBERS = [f"{n % 2}.0" for n in range(12)]
SKIPPED = {
    "empty": (("path,label", "x", "", "y"), "line 3, column label: no label; expected one in every row", 1),
    "blank": (("path,label", "x", " ", "y", ""), "line 3, column label: no label", 2),
    "gap among numbers": (("path,label", *NUMBERS, "nan"), "'nan' is no number, and 12 of 12 others are", 1),
    "gap of few": (
        ("path,label", "0.0", "1.0", "NaN"),
        "'NaN' is no number, and all 2 others but such are",
        1,
    ),
    "no column of a row": (
        ("path,a,b", "1,0", "0,1", ",1"),
        "column a: no number; expected one in every row",
        1,
    ),
    "of measurements": (("path,label", "0.5", "1.5", "<NA>"), "'<NA>' is no number", 1),
    "of a task": (("path,label", "0", "1", ""), "column label: no number; expected one in every row", 1),
}
OPTIONS = {"no column of a row": "?label=a,b", "of a task": "?task=numbers"}


@pytest.mark.parametrize("situation", SKIPPED)
def test_rows_without_a_label_are_left_out_where_that_is_asked_for(table, situation, recwarn):
    lines, says, count = SKIPPED[situation]
    spec = table(*lines) + OPTIONS.get(situation, "")
    with pytest.raises(DataError, match=re.escape(says)) as refused:
        open_dataset(spec)
    rows = (
        "1 of {} rows has no label: to leave it out"
        if count == 1
        else "2 of {} rows have no label: to leave them out"
    )
    assert f"; {rows.format(len(lines) - 1)}, say 'csv:t.csv?" in str(refused.value)
    data = open_dataset(pasted(str(refused.value)))
    assert len(data.records) == len(lines) - 1 - count
    assert dict(data.skipped) == {f"row{'s' if count > 1 else ''} without a label": count}
    assert "nan" not in map(str.casefold, data.classes)


def test_the_option_leaves_a_table_without_gaps_as_it_is(table):
    spec = table("path,label", "x", "y")
    plain, skipping = open_dataset(spec), open_dataset(f"{spec}?no_label=skip")
    assert [(own.id, own.label) for own in plain.records] == [(own.id, own.label) for own in skipping.records]
    assert dict(skipping.skipped) == {}


def test_a_table_without_any_label_is_refused_and_so_is_another_value(table):
    spec = table("path,label", "", "")
    with pytest.raises(
        DataError, match=r"no_label=skip leaves no row, as each of 2 has a cell without a label"
    ):
        open_dataset(f"{spec}?no_label=skip")
    with pytest.raises(UsageError, match=r"no_label=no: expected no_label=skip, which leaves out rows"):
        open_dataset(f"{spec}?no_label=no")


ONE_EACH = {
    "one-hot": (("path,healthy,rust,scab", "1,0,0", "0,1,0", "0,0,1"), "", "healthy, rust, scab", "classes"),
    "several": (("path,sea,sky", "1,1", "0,1"), "", "sea, sky", "answers"),
    "words": (("path,sea,sky", "true,True", "False,true"), "", "sea, sky", "answers"),
    "floats": (("path,a,b", "1.0,0.0", "0.0,1.0"), "", "a, b", "classes"),
    "another path": (("photo_id,a,b", "1,0", "0,1"), "?path=photo_id", "a, b", "classes"),
    "others beside": (("path,age,a,b,note", "1,1,0,x", "30,0,1,y"), "", "a, b", "classes"),
    "a split": (("path,split,a,b", "train,1,0", "test,0,1"), "", "a, b", "classes"),
    "a blank in a name": (("path,black bear,fox", "1,0", "0,1"), "", "black bear, fox", "classes"),
}


@pytest.mark.parametrize("situation", ONE_EACH)
def test_columns_of_0_and_1_are_offered_as_labels(table, situation, recwarn):
    lines, options, columns, task = ONE_EACH[situation]
    spec = table(*lines) + options
    says = f"; columns {columns} hold 0 or 1 in every row; if these are the labels, say 'csv:t.csv?"
    with pytest.raises(DataError, match=re.escape(says)) as refused:
        open_dataset(spec)
    data = open_dataset(pasted(str(refused.value).partition("; for features")[0]))
    assert (", ".join(data.classes), data.task) == (columns, task)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("path,a,b", "1,x", "0,y"), "; name another one with 'csv:t.csv?label=COLUMN'; for"),
        (("path,x,y", "2,0", "0,1"), "; name another one with 'csv:t.csv?label=COLUMN'; for"),
        (("path,split,group", "train,1", "test,0"), "; no column is left for it; for features"),
    ],
)
def test_other_columns_are_not(table, lines, says):
    with pytest.raises(DataError, match=re.escape(says)):
        open_dataset(table(*lines))


def test_what_is_offered_keeps_the_options_that_were_given(table):
    spec = table("photo_id,a", "1", "0") + "?path=photo_id&label=b"
    with named_as_options(), pytest.raises(DataError) as refused:
        open_dataset(spec)
    assert "'csv:t.csv?path=photo_id&label=COLUMN'" in str(refused.value)
    assert str(refused.value).endswith("featcache extract 'csv:t.csv?path=photo_id&label=b' --unlabelled")
    assert len(open_dataset(spec, unlabelled=True).records) == 2


@pytest.mark.parametrize(("sign", "written"), [(";", ";"), ("|", "|"), ("\t", "tab")])
def test_another_delimiter_is_named_as_a_shell_takes_it(tmp_path, table, sign, written):
    table("path,label", "x", "y")
    text = (tmp_path / "t.csv").read_text().replace(",", sign)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match="separated otherwise than by ','") as refused:
        open_dataset("csv:t.csv")
    spec = shlex.split(str(refused.value).rpartition("say ")[2])
    assert spec == [f"csv:t.csv?delimiter={written}"]
    assert len(open_dataset(*spec).records) == 2


@pytest.mark.parametrize(("encoding", "name"), [("utf-16", "UTF-16"), ("cp1252", "WINDOWS-1252")])
def test_text_in_another_encoding_is_told_how_it_is_saved(tmp_path, table, encoding, name):
    table("path,label", "größe", "y", name="my table.csv")
    text = (tmp_path / "my table.csv").read_text()
    (tmp_path / "my table.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError) as refused:
        open_dataset("csv:my table.csv")
    assert str(refused.value).endswith(f"iconv -f {name} -t UTF-8 'my table.csv' > 'my table-utf8.csv'")


def test_images_that_are_missing_are_said_where_nothing_resembles_them(table):
    spec = table("path,label", "x", "y", "x", "y", missing=2)
    with pytest.warns(FeatcacheWarning, match="images are missing") as warned:
        open_dataset(spec)
    assert [str(one.message) for one in warned] == [
        "csv:t.csv: 2 of 4 images are missing, such as '2.jpg' (t.csv, line 4); "
        "they get no features until they are there"
    ]


def test_the_folders_above_a_table_are_not_said_with_every_line(tmp_path, table):
    table("path,label", "x", "y", missing=1)
    whole = tmp_path / "t.csv"
    with pytest.warns(FeatcacheWarning, match=r"such as '1\.jpg' \(t\.csv, line 3\)") as warned:
        open_dataset(f"csv:{whole}")
    assert str(warned[0].message).count(str(tmp_path)) == 1
    (tmp_path / "0.jpg").unlink()
    with pytest.raises(DataError, match=r"exists; t\.csv, line 2 names '0\.jpg', looked for as") as refused:
        open_dataset(f"csv:{whole}")
    assert str(refused.value).count(str(tmp_path)) <= 3
