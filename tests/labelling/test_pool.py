"""The photos to choose from: every image once, none that is labelled, none without numbers."""

import numpy as np
import pytest
from helpers.feature_caches import accept_any_number, blobs, feature_cache
from helpers.small_caches import small

from featcache import train_head
from featcache.errors import DataError
from featcache.labelling import pool as pool_module
from featcache.labelling.pool import Left, read_pool, unlabelled_rows

NONE = np.zeros(0, np.int64)


def unlabelled(path, features, images=None, **more):
    rows = len(features)
    return feature_cache(
        path, features, [-1] * rows, ["all"] * rows, classes=(), task="unlabelled", images=images, **more
    )


def classifier_of(path, features, labels, images):
    """A head that has learnt from the first rows, and was tested on the last six."""
    splits = ["train"] * (len(labels) - 6) + ["test"] * 6
    cache = feature_cache(path, features, labels, splits, images=images)
    return train_head(cache, head="prototype", output=None)


def test_an_image_is_there_once_and_copies_of_labelled_ones_are_not(tmp_path):
    features, _ = blobs(8)
    cache = unlabelled(tmp_path / "u.h5", features, images=[0, 1, 1, 2, 3, 3, 2, 4])
    rows, known, left = unlabelled_rows(cache, None, classifier=None, labelled=np.array([4]))
    assert rows.tolist() == [0, 1, 3, 7]
    assert known.tolist() == [4]
    assert left == Left(labelled=2, copies=2)


def test_all_images_of_the_training_cache_are_labelled_whatever_they_were_for(tmp_path):
    features, labels = blobs(24)
    classifier = classifier_of(tmp_path / "l.h5", features, labels, list(range(24)))
    more, _ = blobs(30, seed=1)
    cache = unlabelled(tmp_path / "u.h5", more, images=[*range(100, 120), *range(15, 24), 100])
    rows, known, left = unlabelled_rows(cache, None, classifier=classifier, labelled=NONE)
    assert rows.tolist() == list(range(20))
    assert known.tolist() == list(range(20, 29))
    assert left == Left(labelled=9, copies=1)


def test_without_the_training_cache_the_classifier_knows_what_it_has_learnt_from(tmp_path):
    features, labels = blobs(24)
    classifier = classifier_of(tmp_path / "l.h5", features, labels, list(range(24)))
    (tmp_path / "l.h5").unlink()
    cache = unlabelled(tmp_path / "u.h5", features)
    rows, _, left = unlabelled_rows(cache, None, classifier=classifier, labelled=NONE)
    assert rows.tolist() == list(range(18, 24))  # the test rows: nothing says that they are labelled
    assert left.labelled == 18


def test_where_all_is_labelled_it_is_said(tmp_path):
    cache = unlabelled(tmp_path / "u.h5", blobs(4)[0])
    with pytest.raises(
        DataError, match=r"u.h5: all of its 4 readable photos are labelled already; extract further"
    ):
        unlabelled_rows(cache, None, classifier=None, labelled=np.arange(4))


def test_photos_without_numbers_are_left_out(tmp_path, monkeypatch):
    accept_any_number(monkeypatch)
    features, _ = blobs(10)
    features[3, 0], features[7] = np.nan, np.inf
    cache = unlabelled(tmp_path / "u.h5", features)
    pool = read_pool(cache, "pool", np.arange(10), NONE, Left())
    assert pool.rows.tolist() == [0, 1, 2, 4, 5, 6, 8, 9]
    assert pool.left.broken == 2
    assert np.isfinite(pool.vectors).all()


def test_where_no_photo_has_numbers_it_is_said(tmp_path, monkeypatch):
    accept_any_number(monkeypatch)
    cache = unlabelled(tmp_path / "u.h5", np.full((4, 3), np.nan))
    with pytest.raises(
        DataError, match=r"the features of all photos are NaN or infinite; extract them again"
    ):
        read_pool(cache, "pool", np.arange(4), NONE, Left())


def test_distances_are_those_of_features_of_unit_length(tmp_path):
    features, _ = blobs(20)
    cache = unlabelled(tmp_path / "u.h5", features)
    pool = read_pool(cache, "pool", np.arange(15), np.arange(15, 20), Left())
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    both = np.concatenate([pool.vectors, pool.known])
    # All 12 components are kept; float32 in a sum of 12 squares.
    np.testing.assert_allclose(np.linalg.norm(both[:, None] - both[None], axis=2), expected, atol=2e-6)


def test_blocks_change_nothing(tmp_path, monkeypatch):
    features, labels = blobs(40)
    classifier = classifier_of(tmp_path / "l.h5", features, labels, list(range(40)))
    cache = unlabelled(tmp_path / "u.h5", blobs(33, seed=2)[0], images=range(100, 133))
    read = [NONE, Left()]
    whole = read_pool(cache, "pool", np.arange(33), *read, classifier=classifier)
    monkeypatch.setattr(pool_module, "BLOCK_BYTES", 7 * 4 * 12)
    seen = []
    parts = read_pool(cache, "pool", np.arange(33), *read, classifier=classifier, on_progress=seen.append)
    np.testing.assert_allclose(parts.vectors, whole.vectors, atol=1e-6)
    assert parts.values is not None
    assert whole.values is not None
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-6)
    np.testing.assert_allclose(whole.values, classifier.values(cache.features(np.arange(33))), atol=1e-6)
    assert [(each.done, each.total) for each in seen] == [(7, 33), (14, 33), (21, 33), (28, 33), (33, 33)]
    assert len(whole.known) == 34  # what the head has learnt from, of its training cache


def test_a_classifier_that_averages_over_views_does_so_here(tmp_path):
    features, labels = blobs(24)
    views = np.stack([features, features + 0.2], axis=1)
    cache = feature_cache(tmp_path / "l.h5", views, labels, ["train"] * 18 + ["val"] * 6, views=2)
    classifier = train_head(cache, head="prototype", output=None, tta=True, test="none")
    pool = read_pool(cache, "pool", np.arange(24), NONE, Left(), classifier=classifier)
    assert pool.values is not None
    np.testing.assert_allclose(pool.values, classifier.values(views.astype(np.float32), tta=True), atol=1e-5)


def test_a_cache_of_broken_photos_holds_none_to_label(tmp_path):
    cache = small(6, quarantined=dict.fromkeys(range(6), 2)).publish(tmp_path / "broken.h5")
    with pytest.raises(
        DataError, match=r"broken\.h5 holds no readable photo in all, so that none can be labelled"
    ):
        unlabelled_rows(cache, "all", classifier=None, labelled=np.zeros(0, np.int64))
