"""The map of a cache: principal components of its rows, a colour for each class."""

import sys

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from sklearn.decomposition import PCA

from featcache.cache.plots import cache_map, map_chart
from featcache.errors import DataError, MissingExtraError, UnknownNameError

HOSTILE = ("<script>", "$x^2$", "a\nb\u202e")


@pytest.fixture
def cache(tmp_path):
    features, labels = blobs(90)
    return feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 60 + ["test"] * 30, classes=HOSTILE)


def test_points_are_principal_components_and_keep_their_class(cache):
    chart = cache_map(cache, "test", None, 0)
    features, labels = cache.arrays("test")
    expected = PCA(2).fit(features)
    wanted = expected.transform(features)
    assert [series.name for series in chart.series] == list(HOSTILE)
    for number, series in enumerate(chart.series):
        points = np.column_stack([series.x, series.y])
        np.testing.assert_allclose(np.abs(points), np.abs(wanted[labels == number]), atol=1e-4)
    first, second = expected.explained_variance_ratio_
    assert f"({100 * first:.1f} % of the variance)" in chart.x.label
    assert f"({100 * second:.1f} %)" in chart.y.label
    assert "pool of test" in chart.note


def test_it_is_drawn_whatever_classes_are_called(cache):
    figure = cache.plot_map()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["<script>", "$x^2$", r"a\nb\u202e"]


def test_rare_classes_share_a_colour_and_photos_without_labels_are_one_series():
    features = np.random.default_rng(0).normal(size=(60, 4))
    labels = np.repeat(np.arange(12), 5)
    labels[:5] = 11  # class 0 is empty, 11 the most frequent
    chart = map_chart(features, labels, tuple(f"c{n}" for n in range(12)), "x")
    other, *own = chart.series
    assert (other.name, other.colour, len(other.x)) == ("other classes", -1, 15)
    assert len(own) == 8
    assert "c11" in [series.name for series in own]
    (only,) = map_chart(features, np.full(60, -1), (), "x").series
    assert (only.name, len(only.x)) == ("photos", 60)


def test_of_many_photos_some_are_drawn(cache, monkeypatch):
    monkeypatch.setattr("featcache.cache.plots.MOST_ROWS", 20)
    first, again, other = (cache_map(cache, None, None, seed) for seed in (1, 1, 2))
    assert sum(len(series.x) for series in first.series) == 20
    assert first == again
    assert first != other


def test_what_cannot_be_drawn(cache, monkeypatch):
    with pytest.raises(UnknownNameError, match="poll"):
        cache.plot_map(layer="poll")
    with monkeypatch.context() as patched:
        patched.setattr(type(cache), "rows_of", lambda self, split: np.zeros(0, np.int64))
        with pytest.raises(DataError, match=r"no photo of test has features, so there is no map"):
            cache.plot_map("test")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'featcache\[report\]'"):
        cache.plot_map()
