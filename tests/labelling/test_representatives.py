"""Photos that stand for others: what is sure or known is left alone, what is alike is asked for once."""

import numpy as np
import pytest

from featcache.labelling import representatives
from featcache.labelling.representatives import typical, unsure


def clouds(*counts: int, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points around corners that are far from each other, float32 ``[N, 6]``, and the corner of each."""
    own = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(scale=spread, size=(len(own), 6))
    return (10 * np.eye(6)[own] + noise).astype(np.float32), own


def test_each_unsure_cloud_is_asked_for_once_and_the_heaviest_first():
    vectors, own = clouds(30, 50, 40, 20)
    weight = np.array([0.9, 0.3, 0.9, 0.0])[own]  # masses 27, 15, 36, 0
    found = unsure(vectors, weight, 3)
    assert own[found.places].tolist() == [2, 0, 1]
    assert found.stand_for.sum() == 140  # those that it is sure of are like one or the other


def test_the_photo_nearest_to_the_weighted_centre_is_taken():
    vectors = np.array([[0.0], [1.0], [2.0], [10.0]], np.float32)
    assert unsure(vectors, np.ones(4), 1).places.tolist() == [2]  # the mean is 3.25
    assert unsure(vectors, np.array([9.0, 9.0, 1.0, 0.1]), 1).places.tolist() == [1]  # 0.63


def test_where_all_are_sure_every_photo_counts_the_same():
    vectors, own = clouds(30, 20, 10)
    assert own[unsure(vectors, np.zeros(60), 3).places].tolist() == [0, 1, 2]


def test_clouds_without_a_known_photo_come_first_and_the_largest_of_them():
    vectors, own = clouds(50, 20, 40, 30)
    known = vectors[own == 0][:1] + 0.01
    found = typical(vectors, known, 3)
    assert own[found.places].tolist() == [2, 3, 1]
    assert found.stand_for.tolist() == [40, 30, 20]


def test_the_typical_photo_is_the_one_that_the_others_crowd_around():
    vectors, own = clouds(60, 45, spread=1.0)
    found = typical(vectors, vectors[:0], 2)
    for cloud, place in enumerate(found.places):
        rows = np.flatnonzero(own == cloud)
        distance = np.linalg.norm(vectors[rows, None] - vectors[None, rows], axis=2)
        crowded = np.sort(distance, axis=1)[:, 1:21].mean(axis=1)  # the first is the photo itself
        assert place == rows[np.argmin(crowded)]


@pytest.mark.parametrize("count", [1, 7, 40, 41, 100])
def test_never_more_than_there_are_and_none_twice(count):
    vectors, _ = clouds(25, 15)
    for found in (unsure(vectors, np.linspace(0, 1, 40), count), typical(vectors, vectors[:0], count)):
        assert len(found.places) == len(set(found.places.tolist())) == min(count, 40)
        assert len(found.stand_for) == len(found.places)


def test_photos_that_are_all_alike_are_chosen_from_without_a_warning():
    same = np.ones((9, 4), np.float32)
    assert len(set(unsure(same, np.ones(9), 5).places.tolist())) == 5
    assert len(set(typical(same, same[:2], 5).places.tolist())) == 5
    assert typical(same[:1], same[:0], 5).places.tolist() == [0]


def test_more_photos_than_clusters_are_taken_in_turns(monkeypatch):
    monkeypatch.setattr(representatives, "CLUSTERS", 2)
    vectors, own = clouds(12, 8)
    found = unsure(vectors, np.ones(20), 7)
    assert own[found.places].tolist() == [0, 1, 0, 1, 0, 1, 0]
    centre = vectors[own == 0].mean(axis=0)
    nearest = np.argsort(np.linalg.norm(vectors[own == 0] - centre, axis=1))
    assert found.places[::2].tolist() == nearest[:4].tolist()


def test_the_same_seed_gives_the_same_photos():
    vectors = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)
    weight = np.random.default_rng(2).random(200)
    first, second, other = (unsure(vectors, weight, 10, seed=seed).places.tolist() for seed in (3, 3, 4))
    assert first == second != other
