"""Splits that stay put."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.splits import draw_stratified


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
def test_duplicates_stay_together_but_for_one_pair_on_the_border(fraction):
    names = keys(50) * 2
    chosen = draw_stratified(names, np.zeros(100, int), fraction=fraction, seed=0)
    assert int((chosen[:50] != chosen[50:]).sum()) <= 1
