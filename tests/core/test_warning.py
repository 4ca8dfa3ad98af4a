"""Warnings point at the line of whoever called featcache, and are issued once."""

import warnings

import pytest

from featcache.core.warning import warn, warn_all
from featcache.datasets import open_dataset
from featcache.errors import FeatcacheWarning


def test_a_warning_points_at_the_callers_line():
    with pytest.warns(FeatcacheWarning, match=r"^look$") as told:
        warn("look")
    assert told[0].filename == __file__


def test_a_warning_from_deep_inside_points_at_the_callers_line(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "p.csv").write_text("path,label\n../a.jpg,a\n../b.jpg,b\n")
    with pytest.warns(FeatcacheWarning, match="2 of 2 images are outside of") as told:
        open_dataset(f"csv:{tmp_path}/lists/p.csv")
    assert told[0].filename == __file__


def test_the_same_words_are_said_once():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_all(["one", "two", "one"])
    assert [str(each.message) for each in told] == ["one", "two"]
    assert {each.filename for each in told} == {__file__}


def test_filters_of_both_builtins_catch_it():
    assert set(FeatcacheWarning.__bases__) == {UserWarning, RuntimeWarning}
