"""The nearest training photos, against a brute search in float64."""

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

import featcache
from featcache.classifier.scored.nearest_photos import (
    nearest_photos,
    training_cache,
    training_rows,
)
from featcache.heads.streamed_nearest import one_vector


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    x, labels = blobs(90)
    splits = ["train"] * 50 + ["val"] * 20 + ["test"] * 20
    path = tmp_path_factory.mktemp("near") / "blobs.h5"
    cache = feature_cache(path, x, labels, splits)
    return cache, x, *(featcache.train_head(cache, head="ridge", refit=refit) for refit in (True, False))


def brute(x: np.ndarray, query: np.ndarray, rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    unit = [
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (query.astype(float), x[rows].astype(float))
    ]
    cosine = unit[0] @ unit[1].T
    order = np.argsort(-cosine, axis=1)[:, :most]
    return np.take_along_axis(cosine, order, axis=1), rows[order]


@pytest.mark.parametrize("block_bytes", [1, 7 * 48, 1 << 26])
def test_the_nearest_rows_are_found_block_by_block(trained, block_bytes):
    cache, x, _, _ = trained
    rows = np.arange(3, 40)
    similarity, found = nearest_photos(cache, "pool", rows, x[70:], most=3, block_bytes=block_bytes)
    want, which = brute(x, x[70:], rows, 3)
    np.testing.assert_array_equal(found, which)
    np.testing.assert_allclose(similarity, want, atol=1e-6)


def test_a_row_is_not_its_own_neighbour_and_few_rows_leave_gaps(trained):
    cache, x, _, _ = trained
    asked = np.array([5, 80])
    similarity, found = nearest_photos(cache, "pool", np.array([5, 6]), x[asked], most=3, not_these=asked)
    assert found[0, 0] == 6
    assert np.isfinite(similarity).sum(axis=1).tolist() == [1, 2]
    assert nearest_photos(cache, "pool", np.array([5]), x[:0])[1].shape == (0, 0)


def test_maps_are_compared_by_their_mean():
    maps = np.arange(24, dtype=np.float16).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(one_vector(maps), maps.astype(np.float32).mean(axis=(1, 2)))
    assert one_vector(maps[:, 0, 0]).shape == (2, 3)


def test_the_rows_are_those_that_the_head_learnt_from(trained):
    cache, _, refitted, plain = trained
    assert training_rows(plain, cache).tolist() == list(range(50))
    assert training_rows(refitted, cache).tolist() == list(range(70))


def test_the_training_cache_is_found_or_missing(trained, tmp_path):
    cache, x, _, plain = trained
    other = feature_cache(tmp_path / "new.h5", x[:6], [0, 1, 2] * 2, ["test"] * 6, images=range(900, 906))
    assert training_cache(plain, cache) is cache
    found = training_cache(plain, other)
    assert found is not None
    assert found.path == cache.path
    from dataclasses import replace

    gone = replace(plain, provenance={**plain.provenance, "cache": str(tmp_path / "gone.h5")})
    assert training_cache(gone, other) is None
