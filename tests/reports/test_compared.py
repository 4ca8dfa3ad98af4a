"""The comparison of classifiers: on the same photos photo by photo, else only side by side."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import FeatureCache, train_head
from featcache.backbones.summary import describe
from featcache.metrics.comparison import compare
from featcache.reports.material import Contestant, Material
from featcache.reports.sections import compared


@pytest.fixture
def classifier(tmp_path):
    features, labels = blobs(60)
    return train_head(
        feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 40 + ["test"] * 20),
        head="ridge",
        output=None,
    )


def contestant(classifier, name, right, *, rows="same", backbone="mobilenet_v2.tv_in1k"):
    right = np.array(right, bool)
    scores = {"split": "test", "count": len(right), "accuracy": float(right.mean()), "interval": [0.1, 0.9]}
    return Contestant(name, classifier.weights, replace(classifier, backbone=backbone), scores, rows, right)


def shown(*contestants):
    return compared.section(Material(path=None, sprites=None, compared=contestants))


def test_the_best_is_first_and_who_is_not_told_apart_is_named(classifier):
    good, near = [True] * 95 + [False] * 5, [True] * 94 + [False] * 6
    bad = [True] * 40 + [False] * 60
    found = shown(
        *(contestant(classifier, name, own) for name, own in {"near": near, "bad": bad, "good": good}.items())
    )
    assert found.headline == "good is first with 95.0 %, and is not told apart from near"
    rows = {own["name"]: own for own in found.data["classifiers"]}
    assert list(rows) == ["good", "near", "bad"]
    want = compare(np.array(good, float), np.array(bad, float))
    assert rows["bad"]["against_best"]["interval"] == list(want.interval)
    assert (rows["bad"]["against_best"]["told_apart"], rows["near"]["against_best"]["told_apart"]) == (
        True,
        False,
    )
    assert found.content["cells"][2][-1].startswith("-55.0 points (")
    (chart,) = found.charts
    assert list(chart.series[0].x) == [0.95, 0.94, 0.4]


def test_other_photos_are_no_ranking(classifier):
    found = shown(
        contestant(classifier, "a", [True] * 9 + [False]),
        contestant(classifier, "b", [True, False], rows="other"),
    )
    assert "they were not scored on the same photos" in found.headline
    assert found.data["same_rows"] is False
    assert found.data["classifiers"][1]["against_best"] is None


def test_cost_is_drawn_where_backbones_differ(classifier):
    found = shown(
        contestant(classifier, "small", [True, False]),
        contestant(classifier, "large", [True, True], backbone="resnet50.tv_in1k"),
    )
    _, chart = found.charts
    macs = {own["name"]: own["macs"] for own in found.data["classifiers"]}
    assert macs["large"] > 4e9 > macs["small"] > 2e8
    assert list(chart.series[0].x) == [macs["large"] / 1e6, macs["small"] / 1e6]


@pytest.mark.slow
def test_its_cost_is_that_of_the_size_that_the_photos_have(classifier, tmp_path, monkeypatch):
    """At half the size a network does a quarter of the work: a report of a sweep says the same of the same cache."""
    small = {"transforms": {"input_size": [112, 112]}}
    monkeypatch.setattr(FeatureCache, "recipe", property(lambda self: small))
    found = shown(contestant(classifier, "a", [True]), contestant(classifier, "b", [False]))
    (macs,) = {own["macs"] for own in found.data["classifiers"]}
    assert macs == describe("mobilenet_v2.tv_in1k", image_size=112).total.macs


def test_one_alone_is_not_compared():
    assert shown() is None
