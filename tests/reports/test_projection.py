"""Principal components against scikit-learn's, and the map in words against a count by hand."""

import sys
import tracemalloc

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from featcache.errors import MissingExtraError
from featcache.pages import principal_components as components
from featcache.pages.principal_components import principal_components
from featcache.reports.projection import project, surroundings


def made(rows, width, seed=0):
    draw = np.random.default_rng(seed)
    # Clear directions, as features have: the first components are well told apart.
    strengths = 10.0 / (1 + np.arange(width))
    return (draw.normal(size=(rows, width)) * strengths + draw.normal(size=width)).astype(np.float32)


# By the covariance, by the products of rows, and by Lanczos' method.
@pytest.mark.parametrize(("rows", "width"), [(300, 40), (40, 300), (2, 7), (7, 2), (90, 70)])
def test_components_are_scikit_learns_up_to_sign(rows, width, monkeypatch):
    monkeypatch.setattr(components, "EXACT", 60)
    features = made(rows, width)
    count = min(2, rows - 1, width)
    points, explained = principal_components(features, 2)
    reference = PCA(count, svd_solver="full").fit(features.astype(np.float64))
    expected = reference.transform(features.astype(np.float64))
    signs = np.sign((points[:, :count] * expected).sum(axis=0))
    np.testing.assert_allclose(points[:, :count] * signs, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(explained[:count], reference.explained_variance_ratio_, rtol=1e-6)
    assert not points[:, count:].any()


def test_the_same_features_give_the_same_map_whatever_their_order():
    features = made(50, 8)
    order = np.random.default_rng(1).permutation(50)
    points = project(features).points
    np.testing.assert_allclose(project(features[order]).points, points[order], atol=1e-9)


@pytest.mark.parametrize(
    "features", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((5, 4)), np.ones((5, 0)), np.full((3, 2), 1e30)]
)
def test_where_nothing_varies_the_map_is_a_point(features):
    found = project(features.astype(np.float32))
    assert found.points.shape == (len(features), 2)
    assert not found.points.any()
    assert found.explained == (0.0, 0.0)


def test_maps_of_places_are_vectors():
    features = made(20, 24)
    np.testing.assert_allclose(project(features.reshape(20, 2, 3, 4)).points, project(features).points)


def test_ten_thousand_rows_of_wide_features_need_little_more_than_their_copy():
    features = np.random.default_rng(0).normal(size=(10_000, 256)).astype(np.float32)
    tracemalloc.start()
    principal_components(features, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2 * features.nbytes  # one copy in float64, and small things


def test_without_open_tsne_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(
        MissingExtraError, match=r"needs openTSNE, which is not installed: pip install 'featcache\[tsne\]'"
    ):
        project(made(20, 4), tsne=True)


def test_tsne_keeps_groups_together():
    pytest.importorskip("openTSNE", reason="openTSNE, the extra `tsne`, is not installed")
    draw = np.random.default_rng(0)
    labels = np.arange(36) % 3
    features = draw.normal(size=(36, 12)) + 20 * np.eye(3, 12)[labels]
    found = project(features, tsne=True, seed=3)
    assert (found.method, found.explained) == ("tsne", ())
    assert min(one.own for one in surroundings(found.points, labels, ["a", "b", "c"])) == 1.0
    assert project(features[:4], tsne=True).method == "pca"


def test_surroundings_are_counted_over_the_nearest_points():
    draw = np.random.default_rng(0)
    points, labels = draw.normal(size=(80, 2)), draw.integers(0, 3, 80)
    near = (
        NearestNeighbors(n_neighbors=5).fit(points).kneighbors(return_distance=False)
    )  # without the point itself
    found = surroundings(points, labels, ["a", "b", "c", "never"])
    assert [one.name for one in found] == ["a", "b", "c"]
    for one in found:
        shares = np.bincount(labels[near[labels == one.number]].ravel(), minlength=3) / (5 * one.count)
        assert one.own == pytest.approx(shares[one.number])
        shares[one.number] = 0
        assert one.other == "abc"[shares.argmax()]
        assert one.share == pytest.approx(shares.max())


def test_points_at_one_place_are_not_their_own_neighbours():
    (found,) = surroundings(np.zeros((20, 2)), np.zeros(20, int), ["a"])
    assert (found.own, found.other, found.share) == (1.0, None, 0.0)
    first, second = surroundings(np.zeros((2, 2)), np.array([0, 1]), ["a", "b"])
    assert (first.own, first.other, second.other) == (0.0, "b", "a")
    assert surroundings(np.zeros((1, 2)), np.zeros(1, int), ["a"]) == []
