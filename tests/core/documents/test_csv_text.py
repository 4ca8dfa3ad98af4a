"""Rows of tables are read back by Python's own reader, whatever names are."""

import csv
import io

import pytest

from featcache.core.documents.csv_text import csv_row


def read(content: bytes) -> list[str]:
    (row,) = csv.reader(io.StringIO(content.decode(), newline=""))
    return row


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a,b.jpg", "a,b.jpg"),
        ('say "cheese"', 'say "cheese"'),
        ("two\nlines", "two\nlines"),
        ("an\rold line", "an\rold line"),
        ("caf\udce9", r"caf\udce9"),  # a name that is no text
        (0.123456789, "0.123457"),
        (1.0, "1"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        (12, "12"),
    ],
)
def test_a_value_is_read_back(value, text):
    assert read(csv_row(["x", value, "y"])) == ["x", text, "y"]


def test_a_row_is_a_line():
    assert csv_row(["a", 1]) == b"a,1\n"
