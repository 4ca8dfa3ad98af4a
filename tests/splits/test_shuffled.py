"""Slices of shuffled rows: even over classes, complementary, by content, recorded and found again."""

import hashlib
import json

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from hypothesis import given
from hypothesis import strategies as st

from featcache import Classifier, sweep, train_head
from featcache.errors import DataError
from featcache.finetuning.data import PhotoRows
from featcache.splits.selection import SplitSpec, select_rows
from featcache.splits.shuffled import SliceOrder
from featcache.splits.slices import rows_in

SORTED = {"train": "train[:80%]", "val": "train[80%:]"}
SHUFFLED = SORTED | {"shuffle_slices": True}


def keys_of(numbers):
    return [hashlib.sha256(b"%d" % number).digest() for number in numbers]


def sorted_cache(path, counts, *, tests=0, images=None):
    """Rows sorted by class, as in a folder, and test rows after them."""
    features, labels = blobs(3 * max(*counts, 1) + tests)
    rows = [row for label, count in enumerate(counts) for row in np.flatnonzero(labels == label)[:count]]
    rows += list(range(len(labels) - tests, len(labels)))
    splits = ["train"] * sum(counts) + ["test"] * tests
    return feature_cache(path, features[rows], labels[rows], splits, images=images)


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 3), st.sampled_from(["", "", "a", "b"])), min_size=3
    ),
    st.integers(0, 100),
    st.integers(0, 5),
    st.randoms(),
)
def test_two_halves_are_the_whole_and_divide_nothing(rows, share, seed, random):
    keys, labels, groups = keys_of([r[0] for r in rows]), np.array([r[1] for r in rows]), [r[2] for r in rows]
    order = SliceOrder.drawn(keys, labels, groups, seed=seed)
    splits, split_of = ("train",), np.zeros(len(rows), int)

    def cut(text, order):
        try:
            return set(rows_in(text, splits, split_of, origin="x", order=order).tolist())
        except Exception as error:  # an empty slice is refused
            assert "the slice is empty" in str(error)  # noqa: PT017
            return set()

    first, second = cut(f"train[:{share}%]", order), cut(f"train[{share}%:]", order)
    assert not first & second
    assert first | second == set(range(len(rows)))
    for mark in [*keys, *(group for group in groups if group)]:
        own = {row for row in range(len(rows)) if mark in (keys[row], groups[row])}
        assert own <= first or own <= second
    moved = list(range(len(rows)))
    random.shuffle(moved)
    again = SliceOrder.drawn([keys[n] for n in moved], labels[moved], [groups[n] for n in moved], seed=seed)
    assert {moved[n] for n in cut(f"train[:{share}%]", again)} == first
    assert cut("train", order) == set(range(len(rows))), "what is not cut is not touched"


def test_every_class_gives_its_share_to_every_slice():
    labels = np.repeat([0, 1, 2, 3], [100, 50, 20, 5])
    order = SliceOrder.drawn(keys_of(range(175)), labels, None, seed=0)
    for tenth in range(10):
        text = f"all[{tenth * 10}%:{tenth * 10 + 10}%]"
        got = np.bincount(labels[rows_in(text, (), np.full(175, -1), origin="x", order=order)], minlength=4)
        assert (np.abs(got - np.array([10, 5, 2, 0.5])) <= 1).all(), text
    other = SliceOrder.drawn(keys_of(range(175)), labels, None, seed=1)
    halves = [
        set(rows_in("all[:50%]", (), np.full(175, -1), origin="x", order=o).tolist()) for o in (order, other)
    ]
    assert 30 < len(halves[0] & halves[1]) < 60, "two independent halves of 175 share about 44"


def test_slices_that_lose_every_class_are_refused_with_the_command_that_does_it_right(tmp_path):
    cache = sorted_cache(tmp_path / "x.h5", [40, 40, 20])
    with pytest.raises(
        DataError,
        match=r"x\.h5: the 20 val rows \(train\[80%:\]\) are all of classes that no training row has \(cat; training: "
        r"ant, bee\), so that their score would mean nothing; .*: --train 'train\[:80%\]' --val 'train\[80%:\]' "
        r"--shuffle-slices$",
    ):
        train_head(cache, output=tmp_path / "head", **SORTED)
    assert not (tmp_path / "head").exists()
    with pytest.raises(DataError, match="the 20 val rows"):
        sweep(cache, output=tmp_path / "out", head="ridge", **SORTED)
    with pytest.raises(
        DataError, match=r"the 20 test rows \(train\[80%:\]\) are all of classes that no training row"
    ):
        sweep(cache, output=tmp_path / "out", head="ridge", train="train[:80%]", test="train[80%:]", folds=3)
    # What it says does work, here and in a sweep.
    rows = select_rows(cache, SplitSpec(**SHUFFLED))
    assert np.bincount(cache.labels[rows.val]).tolist() == [8, 8, 4]
    assert rows.held_out == "rows train[80%:], shuffled, seed 0"
    head = train_head(cache, output=None, head="ridge", **SHUFFLED)
    assert head.metrics["val"]["accuracy"] > 0.8
    assert not {"unseen-classes", "unjudged-classes"} & {found["code"] for found in head.training["warnings"]}


def test_validation_rows_of_one_class_are_refused(tmp_path):
    cache = sorted_cache(
        tmp_path / "x.h5", [40, 40, 30]
    )  # 88 train rows: some of the last class are among them
    with pytest.raises(
        DataError, match=r"the 22 val rows .* are all of one class \(cat; training: ant, bee, cat\)"
    ):
        train_head(cache, output=None, **SORTED)
    # A few rows may be of one class by chance, and test rows of one class may be meant.
    train_head(
        cache, output=None, head="ridge", train="train[:80%]", val="train[97%:]", test="train[80%:97%]"
    )


def test_splits_of_other_classes_are_refused_too(tmp_path):
    features, labels = blobs(90)
    splits = ["test" if label == 2 else "train" for label in labels]
    cache = feature_cache(tmp_path / "x.h5", features, labels, splits)
    with pytest.raises(
        DataError,
        match=r"the 30 test rows \(test\) are all of classes .*: --train 'all\[:60%\]' --val 'all\[60%:80%\]' --test "
        r"'all\[80%:\]' --shuffle-slices; or leave these rows out: --test none$",
    ):
        train_head(cache, output=None)
    anew = {"train": "all[:60%]", "val": "all[60%:80%]", "test": "all[80%:]", "shuffle_slices": True}
    assert train_head(cache, output=None, head="ridge", **anew).metrics["test"]["count"] == 18
    assert "test" not in train_head(cache, output=None, head="ridge", test="none").metrics


def test_the_same_rows_are_found_again(tmp_path):
    cache = sorted_cache(tmp_path / "x.h5", [40, 40, 20])
    parts = {"train": "train[:60%]", "val": "train[60%:80%]", "test": "train[80%:]", "shuffle_slices": True}
    rows = select_rows(cache, SplitSpec(**parts, seed=3))
    head = train_head(cache, output=tmp_path / "head", head="ridge", seed=3, **parts)
    assert json.loads((tmp_path / "head" / "classifier.json").read_text())["training"]["selection"][
        "shuffle_slices"
    ]
    loaded = Classifier.load(tmp_path / "head")
    again = loaded.evaluate()
    assert (again.count, again.accuracy) == (len(rows.test), head.metrics["test"]["accuracy"])
    assert again.seen == 0, "no row of these trained it, which is not so of the last rows of the file"
    assert loaded.evaluate(split="train[:60%]").seen == len(rows.train)
    # Fine-tuning on photos, whose rows are not a cache's.
    photos = PhotoRows(
        "photos", cache.splits, np.zeros(100, int), cache.ids, cache.labels, cache.sha256, None,
        np.ones(100, bool), cache.classes,
    )  # fmt: skip
    told = SplitSpec.from_training(loaded.training, val_fraction=0.2, seed=0)
    assert select_rows(photos, told).val.tolist() == rows.val.tolist()
    swept = sweep(cache, output=tmp_path / "out", head="ridge", l2="1", seed=3, **parts)
    assert Classifier.load(swept.classifier).metrics["val"]["count"] == len(rows.val)
    line = json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])
    assert line["protocol"]["shuffle_slices"]
    # Heads of other rows have other names: none of these is taken for one of those.
    other = sweep(
        cache, output=tmp_path / "out", head="ridge", l2="1", seed=3, **parts | {"train": "train[:50%]"}
    )
    assert other.fitted == 1
