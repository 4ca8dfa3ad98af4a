"""Numbers in words, tables for notebooks, and columns by epoch."""

import sys

import numpy as np
import pytest

from featcache.classifier.history import History
from featcache.core.display import html_table, percent, percents, some
from featcache.errors import MissingExtraError


def test_shares_are_printed_in_one_form():
    assert (percent(0.9117), percent(1), percents(0.8861, 0.934)) == ("91.2 %", "100.0 %", "88.6–93.4 %")


def test_long_lists_are_cut():
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdefg")) == "a, b, c, d, e, … (7)"
    assert some(["x" * 100]) == "x" * 39 + "…"


def test_what_stands_in_a_table_is_escaped():
    text = html_table("<a>", [("<script>", 1)], ("&",), note="<b>")
    assert "<script>" not in text
    for escaped in ("&lt;script&gt;", "<caption>&lt;a&gt;</caption>", "<p>&lt;b&gt;</p>", ">&amp;</th>"):
        assert escaped in text


def test_a_table_is_short_its_numbers_stand_on_the_right_and_nothing_turns_its_writing():
    rows = [(f"a\u202e{'b' * 1000}", number) for number in range(1000)]
    text = html_table("x", rows, ("name", "count"), "told", right=("count",))
    assert len(text) < 30 * 600
    assert text.count("<tr>") == 31
    assert "<p>the first 30 of 1000</p><p>told</p>" in text
    assert text.count('<td style="text-align:right">') == 30
    assert "\u202e" not in text
    assert r"a\u202eb" in text
    assert "color" not in text, "the notebook's theme decides"


def test_a_history_is_arrays_and_a_frame():
    history = History({"val_loss": [1.5, None, 0.5], "val_score": [0.1, 0.2, 0.3]})
    np.testing.assert_array_equal(history["val_loss"], [1.5, np.nan, 0.5])
    assert repr(history) == "History(3 epochs of val_loss, val_score)"
    frame = history.to_frame()
    assert (list(frame.index), frame.index.name, list(frame)) == (
        [1, 2, 3],
        "epoch",
        ["val_loss", "val_score"],
    )
    assert repr(History({})) == "History(0 epochs of nothing)"


def test_a_frame_needs_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="needs pandas, which is not installed; pip install pandas"):
        History({}).to_frame()
