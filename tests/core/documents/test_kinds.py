"""Formats, and what is said of values that do not fit them."""

from pathlib import Path

import pytest

from featcache.core.documents.document_format import DocumentFormat
from featcache.core.documents.kinds import (
    ANYTHING,
    PATH,
    SHA256,
    Flag,
    Items,
    Maybe,
    Misfit,
    Number,
    Record,
    Table,
    Text,
    Whole,
    Word,
    shown,
)
from featcache.errors import IntegrityError, WeightsError

CONTENT = Record(
    {"count": Whole(0, 100), "rows": Items(Record({"name": Text(1, 5)}), least=1)},
    {"note": Maybe(Text()), "scores": Table(Number(0, 1)), "way": Word("none", Record({"seed": Whole()}))},
)
GOOD = {
    "count": 3,
    "rows": [{"name": "a", "more": [1]}],
    "note": None,
    "scores": {"x": 1},
    "way": "none",
    "other": {},
}


@pytest.mark.parametrize("change", [{}, {"note": "n"}, {"scores": {}}, {"way": {"seed": -5}}, {"count": 100}])
def test_what_fits(change):
    CONTENT.check(GOOD | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "3"}, "count is '3', expected a whole number of 0 to 100"),
        ({"count": True}, "count is true, expected a whole number of 0 to 100"),
        ({"count": 3.0}, "count is 3.0, expected a whole number of 0 to 100"),
        ({"count": 101}, "count is 101, expected a whole number of 0 to 100"),
        ({"rows": []}, "rows is a list of 0, expected a list of 1 to 1,048,576 values"),
        (
            {"rows": [{"name": "a"}, {"name": "longer"}]},
            "rows[1].name is 'longer', expected a text of 1 to 5 characters",
        ),
        ({"rows": [{}]}, "rows[0].name is missing, expected a text of 1 to 5 characters"),
        ({"rows": [7]}, "rows[0] is 7, expected an object"),
        ({"note": 5}, "note is 5, expected a text of 0 to 10,000 characters, or null"),
        ({"scores": {"a\0b": 2}}, "scores.a\\x00b is 2, expected a number of at least 0, at most 1"),
        ({"way": "all"}, "way is 'all', expected 'none' or an object"),
        ({"way": {"seed": 0.5}}, "way.seed is 0.5, expected a whole number of 64 bits"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(Misfit) as caught:
        CONTENT.check(GOOD | change)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Flag(), 1, "it is 1, expected true or false"),
        (
            SHA256,
            "AB" * 32,
            "it is 'ABABABABABABABABABABABABABABABABABABABA…', expected 64 hexadecimal digits",
        ),
        (
            SHA256,
            "ab" * 32 + "\n",
            "it is 'abababababababababababababababababababa…', expected 64 hexadecimal digits",
        ),
        (PATH, "", "it is '', expected the path of a file"),
        (PATH, "a\ud800", "it is 'a\\ud800', expected the path of a file"),
        (Text(choices=("a", "b")), "c", "it is 'c', expected one of a, b"),
        (Number(), None, "it is null, expected a number"),
        (Number(2), 1.5, "it is 1.5, expected a number of at least 2"),
        (Items(Text(), distinct=True), ["b", "a", "b"], "it holds 'b' twice, expected each name once"),
        (Items(Whole(), 2, 2), {}, "it is an object, expected a list of 2 values"),
        (Table(names=Text(1, 2)), {"abc": 1}, "it has the key 'abc', expected a text of 1 to 2 characters"),
        (Record({}), [[]], "it is a list of 1, expected an object"),
    ],
)
def test_each_kind_says_what_it_expects(kind, value, expected):
    with pytest.raises(Misfit) as caught:
        kind.check(value)
    assert str(caught.value) == expected


def test_anything_fits_anything_and_a_path_may_be_no_utf_8():
    for value in (None, [], {"a": 1}, "x"):
        ANYTHING.check(value)
    PATH.check("caf\udce9.h5")


def test_values_are_shown_short_and_printable():
    assert shown("\x1b]0;title\x07") == "'\\x1b]0;title\\x07'"
    assert shown(10**19) == "10000000000000000000"
    assert len(shown("é" * 10_000)) < 60


FORMAT = DocumentFormat(CONTENT, what="a list of rows", remedy="write it again", name="rows", version=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "f.json is damaged: not a list of rows: Expecting property name enclosed in double quotes"),
        (
            b"[]",
            "f.json is damaged: not a list of rows: it is a list of 0, expected an object; write it again",
        ),
        (b"{}", "f.json is damaged: not a list of rows; write it again"),
        (
            b'{"format": "rows", "format_version": 3}',
            "f.json has format version 3, this featcache reads 2: upgrade",
        ),
        (
            b'{"format": "rows", "format_version": "2"}',
            "f.json is damaged: not a list of rows; write it again",
        ),
        (b'{"format": "rows", "format_version": 2}', "f.json is damaged: count is missing, expected a whole"),
    ],
)
def test_a_document_is_of_its_format(text, message):
    with pytest.raises(IntegrityError) as caught:
        FORMAT.read(text, Path("f.json"))
    assert str(caught.value).startswith(message)


def test_a_document_may_be_of_another_version_and_have_errors_of_another_class():
    assert FORMAT.is_of(b'{"format": "rows", "format_version": 9}')
    assert not FORMAT.is_of(b'{"format": "columns"}')
    assert not FORMAT.is_of(b"\xff")
    plain = DocumentFormat(Record({"a": Whole()}), what="a number", remedy="go", error=WeightsError)
    assert plain.read(b'{"a": 1}', "f") == {"a": 1}
    with pytest.raises(
        WeightsError, match=r"^f is damaged: a is null, expected a whole number of 64 bits; go$"
    ):
        plain.read(b'{"a": null}', "f")
