"""Distances against scikit-learn and slow loops; what is bounded; what a head's rows make familiar."""

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from sklearn.metrics.pairwise import cosine_distances

from featcache import train_head
from featcache.classifier.known import familiarity
from featcache.classifier.known.familiarity import distance_to, learnt, sample_of
from featcache.errors import IntegrityError, UsageError
from featcache.splits.selection import SplitSpec, select_rows

QUICK = {"output": None, "head": "logistic", "c": 0.1}


def test_the_distance_is_the_cosine_distance_to_the_third_nearest_row():
    random = np.random.default_rng(0)
    train = random.normal(size=(80, 12)).astype(np.float32)
    rows = random.normal(size=(30, 12)).astype(np.float32)
    want = np.sort(cosine_distances(rows, train), axis=1)[:, 2]
    # A unit vector of float16 is off by 2⁻¹¹ of each number at most.
    np.testing.assert_allclose(distance_to(sample_of(train), rows), want, atol=1e-3)
    # Maps and tokens count by their mean.
    known = learnt(train, rows)
    np.testing.assert_array_equal(known.distances.values, np.sort(known.distance(rows)))
    places = np.stack([rows - 1, rows + 1], axis=1)
    np.testing.assert_allclose(known.distance(places), known.distance(rows), atol=2e-6)


def test_one_odd_photo_makes_nothing_familiar():
    random = np.random.default_rng(1)
    flowers = np.array([1.0, 0, 0, 0]) + 0.05 * random.normal(size=(60, 4))
    cats = np.array([0, 0, 0, 1.0]) + 0.05 * random.normal(size=(5, 4))
    known = learnt(np.concatenate([flowers[:40], cats[:1]]), flowers[40:])
    assert known.distance(cats[1:]).min() > 0.8
    assert known.distances.values.max() < 0.1


def test_the_sample_is_bounded_by_number_and_bytes(monkeypatch):
    rows = np.random.default_rng(2).normal(size=(100, 8))
    assert (sample_of(rows).shape, sample_of(rows).dtype) == ((100, 8), np.float16)
    for limit, value, count in (("MOST_ROWS", 4, 4), ("MOST_BYTES", 48, 3), ("MOST_BYTES", 3, 1)):
        with monkeypatch.context() as patch:
            patch.setattr(familiarity, limit, value)
            assert sample_of(rows).shape == (count, 8)
    few = sample_of(rows[:2])
    want = cosine_distances(rows[5:], few.astype(np.float32)).max(axis=1)
    np.testing.assert_allclose(distance_to(few, rows[5:].astype(np.float32)), want, atol=2e-6)


def test_images_without_any_feature_are_as_far_as_what_is_unrelated():
    sample = sample_of(np.random.default_rng(3).normal(size=(40, 5)))
    np.testing.assert_allclose(distance_to(sample, np.zeros((2, 5), np.float32)), 1)
    assert distance_to(sample, np.zeros((0, 5), np.float32)).shape == (0,)
    with pytest.raises(UsageError, match="features of width 4; what was seen has 5"):
        distance_to(sample, np.zeros((1, 4), np.float32))


def test_a_sample_of_another_width_than_the_head_is_damage():
    """Of a head on maps only the features say which part of its width is theirs."""
    known = learnt(np.ones((9, 5)), np.ones((4, 5)))
    with pytest.raises(
        IntegrityError, match=r"kept 5 wide, and the features of its head are 6; restore it from a copy"
    ):
        known.distance(np.zeros((1, 2, 6), np.float32))


def test_training_rows_are_familiar_and_validation_rows_say_how_far_is_far(tmp_path):
    features, labels = blobs(90)
    cache = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 60 + ["test"] * 30)
    known = train_head(cache, **QUICK).known
    rows = select_rows(cache, SplitSpec())
    want = learnt(cache.features(rows.train), cache.features(rows.val))
    np.testing.assert_array_equal(known.familiarity.sample, want.sample)
    np.testing.assert_array_equal(known.familiarity.distances.values, want.distances.values)
    assert known.right.count == known.familiarity.distances.count == len(rows.val) == 12
    assert "12 held-out photos are too few to promise that 99.0 % " in known.why_never_unlike()
    assert "99 would do" in known.why_never_unlike()


@pytest.mark.parametrize("task", ["answers", "numbers"])
def test_other_tasks_know_what_is_familiar_and_have_no_sets(tmp_path, task):
    features, labels = blobs(60)
    targets = np.eye(3)[labels]
    cache = feature_cache(tmp_path / "x.h5", features, targets, ["train"] * 60, task=task)
    found = (
        train_head(cache, output=None, test="none", epochs=3)
        if task == "answers"
        else train_head(cache, output=None, test="none")
    )
    assert found.known.familiarity.distances.count == 12
    assert "the one right class" in found.known.no_sets


def test_nothing_is_learnt_where_nothing_is_calibrated_or_held_out(tmp_path):
    features, labels = blobs(30)
    cache = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 30)
    plain = train_head(cache, test="none", calibrate=False, **QUICK).known
    assert (plain.familiarity, plain.right, plain.no_familiarity) == (None, None, "it was not asked for")
    none = train_head(cache, test="none", val="none", refit=False, **QUICK).known
    assert (none.familiarity, none.right) == (None, None)
    assert "no rows were held out" in none.no_familiarity
    assert "no rows were held out" in none.no_sets
    remembered = train_head(cache, output=None, head="knn", test="none").known
    assert remembered.right is None
    assert "--no-refit" in remembered.no_sets
    assert train_head(cache, output=None, head="knn", test="none", refit=False).known.right.count == 6
