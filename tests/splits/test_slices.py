"""Slices are those of TFDS: the same rows, the same refusals; and what is said where they are refused."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featcache.errors import UnknownNameError, UsageError
from featcache.splits.slices import SPLITS as ALIASES
from featcache.splits.slices import Slice, parse_slices, rows_in

SPLITS = ("train", "val", "test")


def layout(sizes, *, shuffled=False):
    """The split of each row: one split after the other, or mixed."""
    split_of = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(len(split_of)).permutation(split_of) if shuffled else split_of


def rows(text, sizes=(10, 4, 6)):
    return rows_in(text, SPLITS, layout(sizes), origin="x.h5").tolist()


# What there is in TFDS --------------------------------------------------------------------------------------


def tfds_rows(text, sizes, split_of):
    """The rows that TFDS reads, as a list that may hold one twice; ``None`` where it refuses."""
    from tensorflow_datasets.core import splits as tfds

    # Every split in one shard; there is no file, and none is read.
    infos = {
        name: tfds.SplitInfo(name=name, shard_lengths=[size] if size else [], num_bytes=0)
        for name, size in zip(SPLITS, sizes, strict=True)
    }
    try:
        found = tfds.AbstractSplit.from_spec(text).to_absolute(infos)
    except (ValueError, NotImplementedError):
        return None
    taken = []
    for part in found:
        own = np.flatnonzero(split_of == SPLITS.index(part.splitname))
        taken += own[part.from_ or 0 : len(own) if part.to is None else part.to].tolist()
    return taken


BOUND = st.one_of(
    st.just(""),
    st.integers(-130, 130).map(str),
    st.tuples(st.integers(-101, 101), st.sampled_from(["%", ".5%", "_0%", "shard"])).map(
        lambda pair: f"{pair[0]}{pair[1]}"
    ),
    st.floats(-100, 100, allow_nan=False).map(lambda value: f"{value:.3f}%"),
    st.sampled_from(["1_0", "_1", "1.5", ".", "-", "--1", "x", "1%%", "1 ", "٣", "-0", "-0.1%", "1e1%"]),
)
NAME = st.sampled_from(
    ["train", "train", "val", "test", "trian", "", "a b", "all+val", "dev", "Testing", " train"]
)
TERM = st.one_of(
    NAME,
    st.just("all"),
    st.tuples(st.sampled_from(["train", "val ", "test", "other", "validation"]), BOUND, BOUND).map(
        lambda t: "{}[{}:{}]".format(*t)
    ),
    st.tuples(st.sampled_from(["train", "val"]), BOUND).map(lambda t: "{}[{}]".format(*t)),
    st.tuples(BOUND, BOUND, BOUND).map(lambda t: "test[{}:{}:{}]".format(*t)),
)
TEXT = st.lists(TERM, min_size=1, max_size=3).flatmap(
    lambda terms: st.sampled_from(["+", " + ", "+ ", "++"]).map(lambda plus: plus.join(terms))
)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(TEXT, st.text("traine[]:%+-_. 0159sha\n", max_size=14)),
    st.tuples(*[st.integers(0, 120)] * 3),
    st.booleans(),
)
@example("train[:50%]+test[10:20]", (7, 0, 20), False)
@example("train[12.5%:-12.5%]", (4, 0, 0), True)
@example("train[10%:20]", (50, 0, 0), False)  # one unit serves both bounds
@example("train[-0.1%:]", (10, 0, 0), False)  # rounds to 0, hence all rows
@example("train[5:3]", (10, 0, 0), False)
@example("train\n", (3, 0, 0), False)
@example("train [:50 %]+ validation[: 2]", (9, 5, 0), False)
@example("train[:٣]", (5, 0, 0), False)
@example("test[-33%:87shard]", (0, 0, 1), False)  # TFDS takes the first unit, whatever the second
def test_the_same_rows_and_the_same_refusals_as_in_tfds(text, sizes, shuffled):
    split_of = layout(sizes, shuffled=shuffled)
    want = tfds_rows(text, sizes, split_of)
    try:
        got = rows_in(text, SPLITS, split_of, origin="x").tolist()
    except UsageError:
        got = None
    if (
        "shard" in text or "٣" in text
    ):  # which TFDS knows; rows of a cache have no shards, and digits are ASCII
        assert got is None
        return
    if want is None and got is not None:
        # Ours alone: spaces, and other words for splits. Without them TFDS reads the same, or we should not.
        plain = re.sub(r"\w+", lambda word: ALIASES.get(word[0].casefold(), word[0]), text).replace(" ", "")
        assert plain != text
        want = tfds_rows(plain, sizes, split_of)
    if want is None or (not want and "[" in text):  # what is empty is refused
        assert got is None
        return
    assert got is not None
    assert len(got) == len(set(got))
    if "all" in re.split(r"\s*\+\s*", text):
        assert set(got) == set(want)  # TFDS puts one split after the other, here rows stay where they are
    else:
        assert got == list(dict.fromkeys(want))


@given(st.text("all[]:%-_.09shrd", max_size=12), st.integers(0, 60))
def test_a_slice_of_all_rows_is_what_it_would_be_of_one_split_with_these_rows(inner, count):
    """TFDS knows no slice of ``all`` and no slice alone: a split with all the rows says what they must be."""
    split_of = np.random.default_rng(count).integers(0, 3, count)
    want = tfds_rows(f"train[{inner}]", (count, 0, 0), np.zeros(count, int))
    for text in (f"all[{inner}]", f"[{inner}]"):
        try:
            got = rows_in(text, SPLITS, split_of, origin="x").tolist()
        except UsageError:
            got = None
        assert got == (want or None)  # what is empty is refused


@given(
    st.one_of(st.integers(-100, 100), st.floats(-100, 100).map(lambda value: float(f"{value:.4f}"))),
    st.integers(0, 5000),
)
def test_what_is_before_a_bound_and_what_is_after_it_are_all_rows_once(bound, count):
    before, after = f"train[:{bound:.4f}%]", f"train[{bound:.4f}%:]"
    parts = [part.numbers(count) for text in (before, after) for part in parse_slices(text, ("train",))]
    assert [row for part in parts for row in part] == list(range(count))
    # Of both together none is empty unless all are.
    if count:
        found = rows_in(f"{before}+{after}", ("train",), np.zeros(count, int), origin="x")
        assert found.tolist() == list(range(count))


# What is asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("train", range(10)),
        ("train[:80%]", range(8)),
        ("train[80%:]", [8, 9]),
        ("train[2:4]", [2, 3]),
        ("train[-3:]", [7, 8, 9]),
        ("train[:-3]", range(7)),
        ("train[:1_0]", range(10)),
        ("test+train[:2]", [*range(14, 20), 0, 1]),
        ("train[:50%]+test[1:3]", [*range(5), 15, 16]),
        ("test+test[:2]", range(14, 20)),
        ("all", range(20)),
        ("all[:10%]", [0, 1]),
        ("[10:12]", [10, 11]),
        ("[-2:] + val[:1]", [18, 19, 10]),
        ("train[:5%]+val", range(10, 14)),  # half a row, rounded to the even one
        ("train[:15%]", [0, 1]),
        (" train[:50%]", range(5)),
        ("train [:50%]", range(5)),
        ("train[: 50%]", range(5)),
        (" train [ : 50 % ] + [ -2 : ] ", [*range(5), 18, 19]),
        ("validation[:50%]", [10, 11]),
        ("dev+Testing[:1]", [*range(10, 14), 14]),
    ],
)
def test_rows_come_in_the_order_asked_for(text, want):
    assert rows(text) == list(want)


def test_a_split_that_the_grammar_cannot_spell_is_taken_by_its_name():
    assert parse_slices("day 1+2", ["train", "day 1+2"]) == (Slice("day 1+2"),)
    assert parse_slices("all", ["all", "test"]) == (Slice("all"),)


def test_a_split_of_that_very_name_comes_before_what_its_name_means():
    assert parse_slices("dev[:2]+valid", ["val", "dev"]) == (Slice("dev", None, 2), Slice("val"))


def test_what_nothing_is_cut_from_may_be_empty():
    assert rows("val+test", (3, 0, 0)) == []
    assert rows("all", (0, 0, 0)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "",
            r"x\.h5 has no rows '': '' is no split and no slice of one; expected a split such as train",
        ),
        ("train[:]", r"\[:\] is no slice; expected a split"),
        ("train[]", r"'train\[\]' is no split and no slice of one; expected"),
        ("train[5]", r"\[5\] has not two bounds with one colon"),
        ("train[1:2:3]", r"has not two bounds with one colon"),
        ("train[:2shard]", r"the rows of a dataset here have no shards; count rows, or per cent"),
        ("train[1.5:]", r"1\.5 is no whole number of rows"),
        ("train[.%:]", r"\. is no number"),
        ("train[:٣]", r"\[:٣\] is no slice"),
        ("train[1 0:]", r"is no split and no slice of one"),
        ("train[20%:10%]", r"x\.h5 has no rows 'train\[20%:10%\]': the slice is empty; give a larger one"),
        ("train[:5%]+test[:0]", r"the slice is empty"),
        ("train[:101%]", r"101% is not in -100%\.\.100%"),
        (
            "train[:11]",
            r"x\.h5 has no rows 'train\[:11\]': of train, which has 10 rows, asked for are 0 to 11; count up to 10, or",
        ),
        ("[-21:]", r"of all, which has 20 rows, asked for are -21 to 20"),
    ],
)
def test_what_is_said_of_a_text_that_cannot_be_read(text, told):
    with pytest.raises(UsageError, match=told):
        rows(text)


@pytest.mark.parametrize("text", ["trian", "trian[:10%]", "test+trian[3:]"])
def test_near_names_of_a_split_that_is_not_there(text):
    with pytest.raises(UnknownNameError, match=r"x\.h5 has no split 'trian'; did you mean 'train'"):
        rows(text)


@pytest.mark.parametrize("text", ["val", "validation[:2]", "train+dev"])
def test_a_usual_split_that_is_not_there_is_no_slip_of_another_name(text):
    with pytest.raises(UnknownNameError, match=r"x\.h5 has no split '\w+'; known: train, test, all$"):
        rows_in(text, ("train", "test"), np.array([0, 1]), origin="x.h5")
