"""Copies of an image, and groups that hold them, come to one side of every drawing."""

import hashlib

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from hypothesis import given
from hypothesis import strategies as st

from featcache.errors import DataError
from featcache.splits.copies import conflicting_copies, grouped_copies, join_copies
from featcache.splits.folds import grouped_folds, stratified_folds
from featcache.splits.stratified import draw_grouped, draw_stratified

ROWS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 3), st.sampled_from(["", "", "a", "b", "c"])),
    min_size=4,
    max_size=50,
)
FRACTIONS = st.floats(0.05, 0.9)


def keys_of(numbers):
    return [hashlib.sha256(b"%d" % number).digest() for number in numbers]


def parts_that_hang_together(keys, groups):
    """An oracle: rows are linked by an equal key or an equal group, whatever lies between them."""
    part = list(range(len(keys)))
    for _ in keys:
        for i in range(len(keys)):
            for j in range(i):
                if keys[i] == keys[j] or (groups[i] and groups[i] == groups[j]):
                    part[i] = part[j] = min(part[i], part[j])
    return part


def require_whole(parts, sides):
    for part in set(parts):
        assert len({side for own, side in zip(parts, sides, strict=True) if own == part}) == 1


@given(ROWS, FRACTIONS, st.integers(0, 9), st.randoms())
def test_no_copy_is_on_both_sides(rows, fraction, seed, random):
    keys, labels = keys_of([row[0] for row in rows]), np.array([row[1] for row in rows])
    chosen = draw_stratified(keys, labels, fraction=fraction, seed=seed)
    require_whole(keys, chosen.tolist())
    order = list(range(len(rows)))
    random.shuffle(order)
    again = draw_stratified([keys[n] for n in order], labels[order], fraction=fraction, seed=seed)
    assert again.tolist() == chosen[order].tolist()


@given(ROWS, FRACTIONS, st.integers(0, 9))
def test_no_group_and_no_copy_of_its_images_is_on_both_sides(rows, fraction, seed):
    keys, labels = keys_of([row[0] for row in rows]), np.array([row[1] for row in rows])
    groups = [row[2] for row in rows]
    parts = parts_that_hang_together(keys, groups)
    try:
        require_whole(parts, draw_grouped(keys, labels, groups, fraction=fraction, seed=seed).tolist())
    except DataError as error:  # every part may hold all rows of some class
        assert "none can be put aside" in str(error)  # noqa: PT017
    named = [group or key.hex() for group, key in zip(groups, keys, strict=True)]
    joined = join_copies(named, keys)
    require_whole(parts, joined)
    assert len(set(joined)) == len(set(parts)), "nothing is joined that does not hang together"
    assert {*joined} <= {*named}


@pytest.mark.parametrize("seed", range(3))
def test_copies_with_different_labels_come_into_one_fold(seed):
    keys = keys_of([*range(30), *range(0, 30, 3)])
    labels = np.array([*(n % 3 for n in range(30)), *((n + 1) % 3 for n in range(0, 30, 3))])
    require_whole(keys, stratified_folds(keys, labels, folds=4, seed=seed))
    groups = join_copies([f"g{row}" for row in range(len(keys))], keys)
    require_whole(keys, grouped_folds(groups, labels, folds=4, seed=seed))


def test_only_copies_that_would_be_torn_change_a_draw():
    """Datasets whose copies a draw already kept together, and those without any, keep their splits."""
    torn = 0
    for seed in range(60):
        keys, labels = keys_of([*range(20), 0, 1, 2]), np.zeros(23, int)
        ranked = sorted(range(23), key=lambda n: (hashlib.sha256(b"%d:" % seed + keys[n]).digest(), n))
        before = np.isin(np.arange(23), ranked[:5])
        after = draw_stratified(keys, labels, fraction=0.2, seed=seed)
        divided = [n for n in range(3) if before[n] != before[20 + n]]
        torn += len(divided)
        changed = set(np.flatnonzero(before != after).tolist())
        assert changed <= {row for n in divided for row in (n, 20 + n)}
        assert len(changed) == len(divided)
        assert abs(after.sum() - 0.2 * 23) <= 1
    assert torn, "the case must be among them"


def test_a_class_that_is_copies_of_one_image_keeps_its_training_rows():
    keys = keys_of([0, 0, 1, 2, 3, 4])
    labels = np.array([0, 0, 1, 1, 1, 1])
    for seed in range(10):
        chosen = draw_stratified(keys, labels, fraction=0.5, seed=seed)
        assert not chosen[:2].any()
        assert chosen[2:].sum() == 2


def test_contradictions_among_copies():
    copies = grouped_copies(keys_of([0, 1, 0, 0, 1, 2]), range(6))
    assert conflicting_copies(copies.values(), np.array([0, 1, 0, 2, 1, 0])) == [(0, 3)]
    targets = np.array([[1, 0], [1, 1], [1, 0], [1, 0], [1, 0], [0, 0]], np.float32)
    assert conflicting_copies(copies.values(), targets) == [(1, 4)]


def test_estimators_hold_out_whole_copies():
    from featcache.estimators import HeadClassifier
    from featcache.heads.settings import Settings

    numbers = np.random.default_rng(0).integers(0, 60, 120)
    x = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)[numbers]
    for seed in range(10):
        head = HeadClassifier(val_fraction=0.3, seed=seed)
        held = head._held_out(Settings(val_fraction=0.3, seed=seed), x, numbers % 3)
        require_whole(numbers.tolist(), held.tolist())
        assert 30 < held.sum() < 42


def test_heads_of_a_sweep_over_copies_have_other_names_than_before(tmp_path):
    """Their rows are divided otherwise, so that a result of an earlier featcache is not theirs."""
    from featcache.sweeps.data import Protocol, SweepData

    features, labels = blobs(60)
    splits = ["train"] * 45 + ["test"] * 15
    plain = feature_cache(tmp_path / "x.h5", features, labels, splits)
    copies = feature_cache(
        tmp_path / "y.h5", features, labels, splits, images=[*range(44), 0, *range(45, 60)]
    )
    for protocol in (Protocol(), Protocol(folds=3)):
        before = [protocol.identity(cache) for cache in (plain, copies)]
        now = [SweepData(cache, protocol, memory=2**30).rows_identity for cache in (plain, copies)]
        assert [a == b for a, b in zip(before, now, strict=True)] == [True, False]
    # Where nothing is drawn, nothing is drawn otherwise.
    given = Protocol(train="train[:50%]", val="train[50%:]")
    assert SweepData(copies, given, memory=2**30).rows_identity == given.identity(copies)


def test_choices_are_those_of_earlier_versions():
    """Of 300 made-up datasets with copies, as the version before draws counted whole datasets in memory chose."""
    random = np.random.default_rng(7)
    digest = hashlib.sha256()
    for _ in range(300):
        count, images, classes = (int(random.integers(1, most)) for most in (40, 30, 6))
        keys = [hashlib.sha256(b"%d" % key).digest() for key in random.integers(0, images, count)]
        labels = random.integers(0, classes, count)
        fraction, seed = (0.0, 0.1, 0.2, 0.5, 0.9)[int(random.integers(5))], int(random.integers(5))
        digest.update(draw_stratified(keys, labels, fraction=fraction, seed=seed).tobytes())
    assert digest.hexdigest() == "c05949336f3d3680477c22ec97930c3ef518a887a72f5215e691bcad8a98b431"
