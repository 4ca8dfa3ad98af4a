"""Splits that stay put."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.errors import DataError
from featcache.splits.stratified import draw_grouped, draw_stratified


def keys(count, start=0):
    return [hashlib.sha256(b"%d" % i).digest() for i in range(start, start + count)]


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)
FRACTIONS = st.floats(0, 0.95)


@given(LABELS, FRACTIONS, st.integers(0, 9))
def test_every_class_gives_its_share(labels, fraction, seed):
    chosen = draw_stratified(keys(len(labels)), np.array(labels), fraction=fraction, seed=seed)
    for label in set(labels):
        count = labels.count(label)
        taken = int(chosen[np.array(labels) == label].sum())
        if fraction == 0:
            assert taken == 0
        elif count == 1:
            assert taken == round(fraction)
        else:
            assert abs(taken - count * fraction) <= 0.5 or taken in (1, count - 1)
            assert 1 <= taken <= count - 1


def test_exact_counts():
    labels = np.repeat([0, 1, 2], [100, 10, 2])
    chosen = draw_stratified(keys(112), labels, fraction=0.2, seed=0)
    assert [int(chosen[labels == label].sum()) for label in range(3)] == [20, 2, 1]


@given(LABELS, FRACTIONS, st.randoms())
def test_the_choice_is_by_content_not_by_position(labels, fraction, random):
    names = keys(len(labels))
    order = list(range(len(labels)))
    random.shuffle(order)
    chosen = draw_stratified(names, np.array(labels), fraction=fraction, seed=3)
    again = draw_stratified([names[i] for i in order], np.array(labels)[order], fraction=fraction, seed=3)
    assert again.tolist() == chosen[order].tolist()


@given(st.integers(2, 40), st.integers(1, 10), FRACTIONS)
def test_adding_images_moves_no_more_others_than_it_must(count, more, fraction):
    names = keys(count + more)
    labels = np.zeros(count + more, int)
    before = draw_stratified(names[:count], labels[:count], fraction=fraction, seed=0)
    after = draw_stratified(names, labels, fraction=fraction, seed=0)[:count]
    # Each new image pushes at most one old one over the border, and a larger class moves the border itself.
    assert int((before != after).sum()) <= more


def test_another_seed_is_another_choice():
    labels = np.zeros(100, int)
    choices = [draw_stratified(keys(100), labels, fraction=0.5, seed=seed) for seed in range(5)]
    assert len({choice.tobytes() for choice in choices}) == 5
    # Two independent halves of 100 agree on about 50.
    assert all(30 < int((choices[0] == other).sum()) < 70 for other in choices[1:])


def test_the_choice_is_this_and_no_other():
    """A change here would silently mix the training and test images of everybody's older caches."""
    chosen = draw_stratified(keys(10), np.zeros(10, int), fraction=0.3, seed=0)
    ranks = sorted(range(10), key=lambda i: hashlib.sha256(b"0:" + keys(10)[i]).digest())
    assert np.flatnonzero(chosen).tolist() == sorted(ranks[:3])


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
def test_duplicates_stay_together(fraction):
    names = keys(51) * 2
    chosen = draw_stratified(names, np.zeros(102, int), fraction=fraction, seed=0)
    assert chosen[:51].tolist() == chosen[51:].tolist()
    assert abs(chosen.sum() - 102 * fraction) <= 1


# Groups -----------------------------------------------------------------------------------------------------

GROUPED = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "b", "c", "d", "e"])), min_size=2, max_size=60
)


@given(GROUPED, st.floats(0.05, 0.9), st.integers(0, 9), st.randoms())
def test_a_group_is_on_one_side_and_no_class_is_without_training_rows(rows, fraction, seed, random):
    labels, groups = np.array([label for label, _ in rows]), [group for _, group in rows]
    names = keys(len(rows))
    try:
        chosen = draw_grouped(names, labels, groups, fraction=fraction, seed=seed)
    except DataError:
        # Refused only where no single group (or row without one) could be spared by all of its classes.
        own = [group or str(row) for row, group in enumerate(groups)]
        for group in set(own):
            inside = np.array([name == group for name in own])
            assert any((inside | (labels != label)).all() for label in set(labels[inside].tolist()))
        return
    for group in set(groups) - {""}:
        assert len({bool(chosen[row]) for row, own in enumerate(groups) if own == group}) == 1
    assert chosen.any()
    assert all((~chosen[labels == label]).any() for label in set(labels.tolist()))
    order = list(range(len(rows)))
    random.shuffle(order)
    again = draw_grouped(
        [names[i] for i in order], labels[order], [groups[i] for i in order], fraction=fraction, seed=seed
    )
    assert again.tolist() == chosen[order].tolist()


@given(st.integers(2, 30), st.integers(2, 30), FRACTIONS, st.integers(0, 9))
def test_rows_without_groups_are_drawn_as_ever(first, second, fraction, seed):
    labels = np.repeat([0, 1], [first, second])
    names = keys(first + second)
    ever = draw_stratified(names, labels, fraction=fraction, seed=seed)
    grouped = draw_grouped(names, labels, [""] * len(labels), fraction=fraction, seed=seed)
    # The same but for one row of a class whose share lies halfway between two numbers of rows.
    assert all(int((ever != grouped)[labels == label].sum()) <= 1 for label in (0, 1))


def test_groups_of_five_give_every_class_about_its_share():
    labels = np.repeat([0, 1], [300, 100])
    groups = [f"patient {row // 5}" for row in range(400)]
    shares = [draw_grouped(keys(400), labels, groups, fraction=0.2, seed=seed) for seed in range(5)]
    # Shares of 60 and 20 rows can be met exactly by 12 and 4 groups of five.
    assert [(int(c[:300].sum()), int(c[300:].sum())) for c in shares] == [(60, 20)] * 5
    assert len({c.tobytes() for c in shares}) == 5


def test_another_image_in_a_group_moves_no_other_group_far():
    labels = np.zeros(100, int)
    groups = [f"p{row // 10}" for row in range(100)]
    before = draw_grouped(keys(100), labels, groups, fraction=0.3, seed=0)
    after = draw_grouped(keys(101), np.zeros(101, int), [*groups, "p0"], fraction=0.3, seed=0)
    assert before.tolist() == after[:100].tolist()


def test_large_groups_still_give_a_class_test_rows():
    labels = np.repeat([0, 1], [10, 40])
    groups = ["big 1"] * 5 + ["big 2"] * 5 + [""] * 40
    chosen = draw_grouped(keys(50), labels, groups, fraction=0.1, seed=0)
    # A share of 1 of 10 is nearer to 0 than to 5, but no test row at all would say nothing about the class.
    assert (int(chosen[:10].sum()), int(chosen[10:].sum())) == (5, 4)


def test_rows_without_a_group_but_of_equal_content_stay_together():
    names = keys(20) * 2
    chosen = draw_grouped(names, np.zeros(40, int), [""] * 40, fraction=0.5, seed=0)
    assert chosen[:20].tolist() == chosen[20:].tolist()


def test_no_share_at_all():
    assert not draw_grouped(keys(4), np.zeros(4, int), list("aabb"), fraction=0, seed=0).any()


def test_groups_that_are_the_classes_are_refused():
    with pytest.raises(
        DataError, match=r"2 groups: none can be put aside .* holds all images of some class; give"
    ):
        draw_grouped(keys(4), np.array([0, 0, 1, 1]), list("aabb"), fraction=0.5, seed=0)
