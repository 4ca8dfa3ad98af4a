"""The table that is filled in by hand: it grows, what was filled in stays, what is another table is refused."""

import os

import pytest

from featcache.errors import StorageError, UsageError
from featcache.labelling.label_table import AskedPhoto, add_to_table, labelled_in, require_table


def asked(*paths: str) -> list[AskedPhoto]:
    return [AskedPhoto(str(path), "daisy", "not sure") for path in paths]


def test_photos_below_the_tables_folder_are_written_relative_to_it(tmp_path):
    table = tmp_path / "labels.csv"
    assert add_to_table(table, asked(tmp_path / "a" / "1.jpg", "/elsewhere/2.jpg", "in/a.tar")) == 3
    assert table.read_text() == (
        "path,label,guess,why\n"
        "a/1.jpg,,daisy,not sure\n"
        "/elsewhere/2.jpg,,daisy,not sure\n"
        "in/a.tar,,daisy,not sure\n"
    )


def test_it_grows_and_labels_stay(tmp_path):
    table = tmp_path / "labels.csv"
    add_to_table(table, asked(tmp_path / "1.jpg", tmp_path / "2.jpg"))
    filled = table.read_text().replace("1.jpg,,", "1.jpg,rose,").removesuffix("\n")
    table.write_text(filled)
    assert labelled_in(table) == [str(tmp_path / "1.jpg")]
    assert add_to_table(table, asked(tmp_path / "2.jpg", tmp_path / "3.jpg")) == 1
    assert table.read_text() == filled + "\n3.jpg,,daisy,not sure\n"


def test_columns_of_the_users_own_are_kept(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_bytes("\ufeffwho,label,path\r\nme,rose,1.jpg\r\n".encode())
    assert labelled_in(table) == [str(tmp_path / "1.jpg")]
    assert add_to_table(table, asked(tmp_path / "3.jpg")) == 1
    assert table.read_bytes().endswith(b"me,rose,1.jpg\r\n,,3.jpg\n")


def test_the_folder_may_be_named_relatively(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert add_to_table("labels.csv", asked(tmp_path / "1.jpg")) == 1
    assert (tmp_path / "labels.csv").read_text().splitlines()[1].startswith("1.jpg,")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("id,class\n1.jpg,rose\n", r"its columns are 'id', 'class'"),
        ("path;label\n1.jpg;rose\n", r"its columns are 'path;label'"),
        ("", r"is empty"),
        ("path,label\n1.jpg\n", r"line 2: 1 values where the header names 2"),
    ],
)
def test_another_table_is_refused_and_stays(tmp_path, content, why):
    table = tmp_path / "labels.csv"
    table.write_text(content)
    for call in (
        lambda: require_table(table),
        lambda: labelled_in(table),
        lambda: add_to_table(table, asked("x")),
    ):
        with pytest.raises(
            UsageError, match=rf"labels.csv is there and is no table with .*{why}.*name another file"
        ):
            call()
    assert table.read_text() == content


def test_what_is_no_table_by_its_name_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"labels.txt: expected a file that ends in .csv"):
        add_to_table(tmp_path / "labels.txt", [])
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(UsageError, match=r"a.csv is a folder, expected a file or nothing"):
        add_to_table(tmp_path / "a.csv", [])


@pytest.mark.skipif(
    not hasattr(os, "geteuid"), reason="folders that cannot be written to are made otherwise there"
)
def test_a_folder_that_is_missing_is_told(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write .*no/a.csv: No such file or directory"):
        add_to_table(tmp_path / "no" / "a.csv", [])
