"""The features behind scored rows as a search: labels that are shared, copies, and rows that are all unlike."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache.classifier.scored.retrieval import retrieval_of
from featcache.classifier.scored.rows import ScoredRows
from featcache.errors import DataError


def scores(path, x, known, *, images=None, task="answers"):
    splits = ["train"] * len(x)
    cache = feature_cache(path, x, known, splits, images=images, task=task)
    rows = np.arange(len(x))
    classifier = SimpleNamespace(layer="pool", task=task)
    return retrieval_of(classifier, ScoredRows(cache, "train", rows, x, cache.known[rows]))  # type: ignore[arg-type]


def test_photos_of_several_labels_are_relevant_that_share_one(tmp_path):
    x = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    known = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]], np.float32)
    found = scores(tmp_path / "a.h5", x, known)
    # The first finds the second at once, the second the first; the third finds the first behind both others.
    assert (found.queries, found.alone) == (3, 1)
    assert found.recall[1] == pytest.approx(2 / 3)
    assert found.mean_average_precision == pytest.approx((5 / 6 + 1 + 1 / 3) / 3)


def test_copies_are_not_found_for_each_other(tmp_path):
    x, labels = blobs(20)
    x[10:] = x[:10]
    twice = scores(tmp_path / "a.h5", x, labels, task="classes")
    copies = scores(tmp_path / "b.h5", x, labels, images=[*range(10)] * 2, task="classes")
    assert copies.mean_average_precision != twice.mean_average_precision


def test_rows_that_are_all_unlike_are_told(tmp_path):
    x, labels = blobs(3)
    with pytest.raises(
        DataError, match="no two of the 3 scored photos are of one class, so retrieval has nothing"
    ):
        scores(tmp_path / "a.h5", x, labels, task="classes")
