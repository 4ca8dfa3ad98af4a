"""Photos that stand for others: what is sure or known is left alone, what is alike is asked for once."""

import numpy as np
import pytest

from featcache.labelling import representatives as module
from featcache.labelling.representatives import representatives


def clouds(*counts: int, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points around corners that are far from each other, float32 ``[N, 6]``, and the corner of each."""
    own = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(scale=spread, size=(len(own), 6))
    return (10 * np.eye(6)[own] + noise).astype(np.float32), own


NOTHING = np.zeros((0, 6), np.float32)


def test_clouds_of_which_least_is_known_come_first():
    vectors, own = clouds(30, 50, 40, 20)
    weight = np.array([0.9, 0.3, 0.9, 0.0])[own]  # sums 27, 15, 36, 0
    found = representatives(vectors, NOTHING, 4, weight=weight)
    assert own[found.places].tolist() == [2, 0, 1, 3]
    assert found.stand_for.tolist() == [40, 30, 50, 20]


def test_where_all_are_sure_every_photo_counts_the_same():
    vectors, own = clouds(30, 20, 10)
    assert own[representatives(vectors, NOTHING, 3, weight=np.zeros(60)).places].tolist() == [0, 1, 2]


def test_labels_divide_what_is_not_known_of_their_cloud():
    vectors, own = clouds(50, 20, 40, 30)
    known = vectors[own == 0][:1] + 0.01
    found = representatives(vectors, known, 3)  # 50 / 2 = 25 comes behind 40 and 30
    assert own[found.places].tolist() == [2, 3, 0]
    assert found.stand_for[:2].tolist() == [40, 30]


def test_the_typical_photo_is_the_one_that_the_others_crowd_around():
    vectors, own = clouds(60, 45, spread=1.0)
    found = representatives(vectors, NOTHING, 2)
    for cloud, place in enumerate(found.places):
        rows = np.flatnonzero(own == cloud)
        distance = np.linalg.norm(vectors[rows, None] - vectors[None, rows], axis=2)
        crowded = np.sort(distance, axis=1)[:, 1:21].mean(axis=1)  # the first is the photo itself
        assert place == rows[np.argmin(crowded)]


@pytest.mark.parametrize("count", [1, 7, 40, 41, 100])
def test_never_more_than_there_are_and_none_twice(count):
    vectors, _ = clouds(25, 15)
    for weight in (None, np.linspace(0, 1, 40)):
        found = representatives(vectors, NOTHING, count, weight=weight)
        assert len(found.places) == len(set(found.places.tolist())) == min(count, 40)
        assert len(found.stand_for) == len(found.places)


def test_photos_that_are_all_alike_are_chosen_from_without_a_warning():
    same = np.ones((9, 4), np.float32)
    assert len(set(representatives(same, same[:0], 5, weight=np.ones(9)).places.tolist())) == 5
    assert len(set(representatives(same, same[:2], 5).places.tolist())) == 5
    assert representatives(same[:1], same[:0], 5).places.tolist() == [0]


def test_more_photos_than_clusters_are_taken_in_turns(monkeypatch):
    monkeypatch.setattr(module, "CLUSTERS", 2)
    vectors, own = clouds(12, 8, spread=0.5)
    found = representatives(vectors, NOTHING, 7)
    assert own[found.places].tolist() == [0, 1, 0, 1, 0, 1, 0]
    rows = vectors[own == 0]
    crowded = np.argsort(np.linalg.norm(rows[:, None] - rows[None], axis=2).sum(axis=1))
    assert found.places[::2].tolist() == crowded[:4].tolist()


def test_all_photos_are_divided_though_clusters_are_computed_from_some(monkeypatch):
    monkeypatch.setattr(module, "FITTED", 40)
    monkeypatch.setattr(module, "SEEN", 15)
    vectors, own = clouds(60, 50, 40)
    found = representatives(vectors, NOTHING, 3)
    assert own[found.places].tolist() == [0, 1, 2]
    assert found.stand_for.tolist() == [60, 50, 40]


def test_the_same_seed_gives_the_same_photos():
    vectors = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)
    weight = np.random.default_rng(2).random(200)
    first, second, other = (
        representatives(vectors, vectors[:0], 10, weight=weight, seed=seed).places.tolist()
        for seed in (3, 3, 4)
    )
    assert first == second != other
