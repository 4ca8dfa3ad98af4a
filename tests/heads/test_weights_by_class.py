"""Weights by class: what is read, how it is kept, and what is refused with which words."""

import pytest

from featcache.errors import UsageError
from featcache.heads.settings import Settings
from featcache.heads.weights_by_class import named_weights, read_weights, weightings, weights_of

FLOWERS = ("daisy", "roses", "tulips")
NUMBERS = ("1", "2", "3")


@pytest.mark.parametrize(
    ("given", "classes", "kept", "weights"),
    [
        ({"roses": 5.0, "daisy": 1}, FLOWERS, "daisy=1,roses=5", [1, 5, 1]),
        ("roses=5, daisy=1", FLOWERS, "daisy=1,roses=5", [1, 5, 1]),
        ({0: 2, 2: 0.1}, FLOWERS, "daisy=2,tulips=0.1", [2, 1, 0.1]),
        ("0=2,2=1e-1", FLOWERS, "daisy=2,tulips=0.1", [2, 1, 0.1]),
        ({"roses": 1 / 3}, FLOWERS, "roses=0.3333333333333333", [1, 1 / 3, 1]),
        ({"roses": 0}, FLOWERS, "roses=0", [1, 0, 1]),
        ({"3": 4}, NUMBERS, "3=4", [1, 1, 4]),
        ({1: 4}, ("0", "1"), "1=4", [1, 4]),
        ({"salt, pepper": 2, 'a="b"': 3, " c": 4}, ("salt, pepper", 'a="b"', " c"), None, [2, 3, 4]),
        ({"none": 2}, ("none", "some"), "none=2", [2, 1]),
        ({"rosé": 2, "x;y": 3}, ("rosé", "x;y"), 'rosé=2,"x;y"=3', [2, 3]),
    ],
)
def test_weights_are_kept_by_name_and_read_back(given, classes, kept, weights):
    text = named_weights(given, classes)
    assert kept is None or text == kept
    assert named_weights(text, classes) == text
    assert weights_of(text, classes) == weights
    assert Settings(class_weights=text).class_weights == text


def test_no_weights_are_none_and_words_stay():
    assert [named_weights(given, FLOWERS) for given in ({}, None, "balanced")] == ["none", "none", "balanced"]


@pytest.mark.parametrize(
    ("given", "classes", "says"),
    [
        ({"rose": 5}, FLOWERS, r"class_weights: no class 'rose'; did you mean 'roses'\?"),
        ({7: 5}, FLOWERS, "no class number 7; there are 3, numbered from 0"),
        ({-1: 5}, FLOWERS, "no class number -1"),
        (
            {1: 5},
            NUMBERS,
            r"1 may mean the class '1', or class number 1, which is '2'; .*\{'1': …\} or \{'2': …\}",
        ),
        ({3: 5}, NUMBERS, r"3 may mean the class '3', or class number 3, which there is not; .*\{'3': …\}$"),
        ({0: 5}, NUMBERS, r"no class is called 0, and class number 0 is '1'; .*\{'1': …\}"),
        ("0=5", NUMBERS, "no class '0'; known: 1, 2, 3"),
        ({"daisy": 2, 0: 3}, FLOWERS, "class 'daisy' is weighted twice, once by its number"),
        ("daisy=2,daisy=3", FLOWERS, "'daisy' is weighted twice"),
        ({True: 5}, FLOWERS, "the key True is neither a class's name nor its number"),
        ({"daisy": -1}, FLOWERS, "the weight -1 of 'daisy': expected 0, or a number of 1e-09 to 1e"),
        ({"daisy": float("nan")}, FLOWERS, "the weight nan of 'daisy'"),
        ({"daisy": float("inf")}, FLOWERS, "the weight inf of 'daisy'"),
        ({"daisy": None}, FLOWERS, "the weight None of 'daisy'"),
        ("daisy=many", FLOWERS, "the weight 'many' of 'daisy'"),
        (dict.fromkeys(FLOWERS, 0), FLOWERS, "every class weighs 0, so there is nothing to learn"),
        ("daisy=1,roses", FLOWERS, "expected weights by class, such as roses=5,daisy=1"),
        ("daisy=1=2", FLOWERS, "expected weights by class"),
        ('"daisy=1', FLOWERS, "expected weights by class"),
        ("=3", FLOWERS, "expected weights by class"),
        ([1, 5], FLOWERS, r"class_weights \[1, 5\]: expected none, balanced, or a weight for each class"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, classes, says):
    with pytest.raises(UsageError, match=says):
        named_weights(given, classes)


def test_settings_refuse_text_that_is_no_weights():
    with pytest.raises(
        UsageError, match=r"no class_weights 'balance'; did you mean 'balanced'\?; or give weights by"
    ):
        Settings(class_weights="balance")
    with pytest.raises(UsageError, match="the weight 'x' of 'a'"):
        Settings(class_weights="a=x")


def test_an_axis_may_hold_several_weightings():
    assert weightings("none,a=2,b=3;a=4,balanced") == ["none", "a=2,b=3", "a=4", "balanced"]
    assert weightings('"x,y"=2,b=3') == ['"x,y"=2,b=3']
    assert read_weights("a=1;".rstrip(";")) == {"a": 1.0}
