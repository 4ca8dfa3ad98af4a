"""Lists of photos to leave out: whatever people make of them, they are read as meant or refused in words."""

import csv
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.datasets.exclude_list import read_exclude, write_exclude
from featcache.errors import DataError, FeatcacheWarning, MissingFileError, UsageError

IDS = (
    "roses/1.jpg",
    "roses/2.jpg",
    "tulips/a, b.jpg",
    "tulips/#3.jpg",
    "#4.jpg",
    " blank.jpg",
    "día/5.jpg",
    "id.jpg",
)


def read(tmp_path: Path, text: str | bytes, ids=IDS) -> tuple[str, ...]:
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_exclude(path, ids, origin="x.h5")


@pytest.mark.parametrize(
    "text",
    [
        "roses/1.jpg\nroses/2.jpg\n",
        "roses/1.jpg\nroses/2.jpg",
        "id,reason\nroses/1.jpg,dark\nroses/2.jpg,\n",
        "ID , why\nroses/1.jpg,dark\nroses/2.jpg,dark, and blurred\n",
        '# a comment, "with a quote\n\nroses/1.jpg\n  # another\nroses/2.jpg,the same\n\n',
        '\ufeffid,reason\r\nroses/1.jpg,"in two\r\nlines"\r\nroses/2.jpg,x\r\n',
        'id;reason\nroses/1.jpg;dark\nroses/2.jpg;"a; b"\n',
        "roses/1.jpg\tdark\nroses/2.jpg\tdark\n",
        ' roses/1.jpg ,x\n"roses/2.jpg" \n'.replace('" \n', '"\n'),
        "path\nroses/1.jpg\nroses/2.jpg\n",
        'roses/1.jpg,"line one\n# no comment, since it is in quotes"\nroses/2.jpg\n',
    ],
)
def test_what_people_write_is_read(tmp_path, text):
    assert read(tmp_path, text) == ("roses/1.jpg", "roses/2.jpg")


def test_names_with_commas_marks_and_blanks(tmp_path):
    assert read(tmp_path, 'tulips/a, b.jpg\n"#4.jpg",x\ntulips/#3.jpg,x\n" blank.jpg"\n') == (
        "tulips/a, b.jpg", "#4.jpg", "tulips/#3.jpg", " blank.jpg",
    )  # fmt: skip
    assert read(tmp_path, '"tulips/a, b.jpg",two tulips\n') == ("tulips/a, b.jpg",)
    assert read(tmp_path, "id\n", ids=("id",)) == ("id",), "a header is none where a photo has its name"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("roses/1.JPG\nroses/2.jpg\n", r"1 of its 2 ids are of no photo in x\.h5: 'roses/1\.JPG' \(did you mean 'roses"
         r"/1\.jpg'\?\); the other 1 fit\. Ids are written as .*, such as '.*'; correct these lines, or delete them$"),
        ("photos\\roses\\1.jpg\n", r"'photos\\\\roses\\\\1\.jpg' \(did you mean 'roses/1\.jpg'\?\); the other 0 fit"),
        ("roses/1.JPG,a rose; or a tulip\n", r": 'roses/1\.JPG' \(did you mean 'roses/1\.jpg'\?\)"),
        ("roses/1.JPG;a rose, or a tulip\n", r": 'roses/1\.JPG' \(did you mean 'roses/1\.jpg'\?\)"),
        ("1.png\n", r"did you mean 'roses/1\.jpg'"),
        ("rosse/22.jpg\n", r"'rosse/22\.jpg' \(did you mean 'roses/2\.jpg'\?\)"),
        ("a\nb\nc\nd\ne\n", r"5 of its 5 ids .*: 'a', 'b', 'c' and 2 more; the other 0 fit"),
        ("", r"list\.csv is empty; expected the id of a photo in each line; leave nothing out with none"),
        ('{"lists": []}\n', r"line 1 is JSON; expected an id in each line, as featcache audit"),
        ("roses/1.jpg\n\"roses/2.jpg", r"line 2 is not comma-separated text: unexpected end of data"),
        ("roses/1.jpg\rroses/2.jpg\r", r"line 1 is not comma-separated text: a CR inside a line"),
        ("roses/1.jpg\n".encode("utf-16"), r"line 1 is not UTF-8 .*it begins as UTF-16 does"),
        (b"d\xeda/5.jpg\n", r"line 1 is not UTF-8 \(byte 0xed"),
    ],
)  # fmt: skip
def test_what_fits_no_photo_is_refused_with_what_is_near(tmp_path, text, told):
    with pytest.raises(DataError, match=told):
        read(tmp_path, text)


def test_other_things_than_a_list(tmp_path, monkeypatch):
    with pytest.raises(
        MissingFileError, match=r"no file .*gone\.csv: expected a list of the photos to leave out"
    ):
        read_exclude(tmp_path / "gone.csv", IDS, origin="x.h5")
    with pytest.raises(
        MissingFileError, match=r"ids themselves are given as a list: exclude=\['roses/1\.jpg'\]"
    ):
        read_exclude("roses/1.jpg", IDS, origin="x.h5")
    with pytest.raises(DataError, match=r"is a folder, expected a list|a folder"):
        read_exclude(tmp_path, IDS, origin="x.h5")
    with pytest.raises(UsageError, match=r"exclude holds 3; expected ids of photos, which are texts"):
        read_exclude([3], IDS, origin="x.h5")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=r"exclude: 1 of its 1 ids are of no photo in x\.h5: 'no'"):
        read_exclude(["no"], IDS, origin="x.h5")
    monkeypatch.chdir(tmp_path)
    assert read_exclude("none", IDS, origin="x.h5") == read_exclude(None, IDS, origin="") == ()
    Path("none").write_text("roses/1.jpg\n")
    assert read_exclude("none", IDS, origin="x.h5") == ()
    assert read_exclude("./none", IDS, origin="x.h5") == ("roses/1.jpg",)


@pytest.mark.parametrize("text", ["id,reason\n", "# nothing was found\nid,reason\n", "\n\n"])
def test_a_list_of_nothing_is_said(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    with pytest.warns(FeatcacheWarning, match=r"list\.csv names no photo, so that none is left out"):
        assert read_exclude(tmp_path / "list.csv", IDS, origin="x.h5") == ()


def test_a_photo_named_twice_is_left_out_once_and_that_is_said(tmp_path):
    (tmp_path / "list.csv").write_text("roses/2.jpg,a\nroses/1.jpg\nroses/2.jpg,b\n")
    with pytest.warns(FeatcacheWarning, match=r"list\.csv names 'roses/2\.jpg' more than once"):
        found = read_exclude(tmp_path / "list.csv", IDS, origin="x.h5")
    assert found == ("roses/2.jpg", "roses/1.jpg")


def test_what_is_written_is_a_table_for_people(tmp_path):
    entries = [
        ("roses/1.jpg", "dark"),
        ("#4.jpg", 'a "tulip"'),
        ("roses/1.jpg", "a copy"),
        ("roses/1.jpg", "dark"),
    ]
    assert write_exclude(tmp_path / "list.csv", entries, about="What an audit of x.h5 found") == 2
    lines = (tmp_path / "list.csv").read_text().splitlines()
    assert lines[0] == "# What an audit of x.h5 found"
    assert lines[1].startswith("# Delete the lines of photos to keep. --exclude FILE of train-head")
    rows = list(csv.reader(lines[2:]))
    assert rows == [["id", "reason"], ["roses/1.jpg", "dark; a copy"], ["#4.jpg", 'a "tulip"']]


NAMES = st.text(st.characters(exclude_categories=[]), min_size=1, max_size=8).filter(
    lambda name: name.strip()
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(NAMES, st.text(st.characters(exclude_categories=[]), max_size=8)), min_size=1, max_size=5,
                unique_by=lambda entry: entry[0]))  # fmt: skip
def test_every_list_that_is_written_is_read_again(tmp_path, entries):
    names = [name for name, _ in entries]
    write_exclude(tmp_path / "list.csv", entries, about="any\nlines")
    found = read_exclude(tmp_path / "list.csv", [*names, "other.jpg"], origin="x.h5")
    assert found == tuple(names)


def test_the_header_that_is_written_is_one_where_a_photo_is_called_id(tmp_path):
    path = tmp_path / "list.csv"
    assert write_exclude(path, [("a.jpg", "dark")]) == 1
    assert read_exclude(path, ("a.jpg", "id"), origin="x.h5") == ("a.jpg",)
    write_exclude(path, [("id", "dark")])
    assert read_exclude(path, ("a.jpg", "id"), origin="x.h5") == ("id",)
