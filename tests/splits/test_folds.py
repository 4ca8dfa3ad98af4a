"""Folds, groups and shots are drawn by content: stable under renaming, even over classes, never torn apart."""

import hashlib

import numpy as np
import pytest

from featcache.errors import DataError, UsageError
from featcache.splits.few_shot import draw_shots
from featcache.splits.folds import grouped_folds, ranks, stratified_folds
from featcache.splits.groups import read_groups

LABELS = np.array([0] * 50 + [1] * 23 + [2] * 7)
KEYS = [hashlib.sha256(b"%d" % n).digest() for n in range(len(LABELS))]


def test_every_class_is_spread_evenly():
    folds = stratified_folds(KEYS, LABELS, folds=5, seed=0)
    for label in range(3):
        counts = np.bincount(folds[label == LABELS], minlength=5)
        assert counts.max() - counts.min() <= 1
    sizes = np.bincount(folds, minlength=5)
    assert sizes.max() - sizes.min() <= 1  # small classes do not all fill the first fold


def test_folds_follow_the_content_and_not_the_order():
    folds = stratified_folds(KEYS, LABELS, folds=4, seed=1)
    order = np.random.default_rng(0).permutation(len(KEYS))
    shuffled = stratified_folds([KEYS[n] for n in order], LABELS[order], folds=4, seed=1)
    np.testing.assert_array_equal(shuffled, folds[order])
    assert (stratified_folds(KEYS, LABELS, folds=4, seed=2) != folds).any()


def test_duplicates_come_into_one_fold():
    keys = [*KEYS, *KEYS[:20]]
    labels = np.concatenate([LABELS, LABELS[:20]])
    folds = stratified_folds(keys, labels, folds=5, seed=0)
    np.testing.assert_array_equal(folds[len(KEYS) :], folds[:20])


def test_more_folds_than_rows_are_refused():
    with pytest.raises(DataError, match="5 folds of 3 different training images; ask for at most 3 folds"):
        stratified_folds(KEYS[:3], LABELS[:3], folds=5, seed=0)
    with pytest.raises(DataError, match="4 folds of 2 groups; ask for at most 2 folds"):
        grouped_folds(["a", "b"] * 10, np.arange(20) % 2, folds=4, seed=0)


def test_a_group_is_never_on_both_sides():
    groups = [f"patient{n % 13}" for n in range(len(LABELS))]
    folds = grouped_folds(groups, LABELS, folds=3, seed=0)
    assert set(folds) == {0, 1, 2}
    for group in set(groups):
        assert len({fold for fold, own in zip(folds, groups, strict=True) if own == group}) == 1


def test_classes_smaller_than_the_number_of_folds_are_shared_out_by_group():
    groups = ["a", "b", "c", "a", "d", "e", "f", "c", "a", "c", "a", "g"]
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 2, 0, 1, 2, 1])  # four of each: scikit-learn refuses five folds
    folds = grouped_folds(groups, labels, folds=5, seed=0)
    assert set(folds) == set(range(5))
    for group in set(groups):
        assert len({fold for fold, own in zip(folds, groups, strict=True) if own == group}) == 1


def test_groups_are_read_from_ids():
    ids = ["cat/p01_a.jpg", "cat/p01_b.jpg", "dog/p02_a.jpg"]
    assert read_groups(ids, r"p(\d+)_") == ["01", "01", "02"]
    assert read_groups(ids, r"p\d+") == ["p01", "p01", "p02"]
    with pytest.raises(UsageError, match=r"finds nothing in 1 of 3 ids, such as 'dog/p02_a\.jpg'"):
        read_groups(ids, "p01")
    with pytest.raises(UsageError, match="is no regular expression: "):
        read_groups(ids, "(")


def test_shots_are_so_many_of_each_class_and_nested():
    few, more = (draw_shots(KEYS, LABELS, shots=shots, seed=3) for shots in (2, 5))
    assert np.bincount(LABELS[few]).tolist() == [2, 2, 2]
    assert not (few & ~more).any()
    every = draw_shots(KEYS, LABELS, shots=1000, seed=3)
    assert every.all()
    assert (draw_shots(KEYS, LABELS, shots=2, seed=4) != few).any()


def test_ranks_are_places():
    assert sorted(ranks(KEYS, seed=0)) == list(range(len(KEYS)))
