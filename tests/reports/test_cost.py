"""Score against cost in a report: costs are the catalogue's, and the front is what no other beats."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from helpers.feature_caches import feature_cache
from helpers.made_sweeps import line, material

from featcache.backbones.registry import pretrained_weights
from featcache.backbones.summary import describe
from featcache.cache import ExtractionCost
from featcache.reports.sections.cost import front_of, section

NAMES = ("mobilenet_v2.tv_in1k", "resnet50.tv_in1k", "vgg16.tv_in1k")


def made(scores, caches=None):
    lines = tuple(
        line(
            "ridge",
            {"l2": l2},
            score - 0.1 * l2,
            backbone=name,
            cache=(caches or {}).get(name, f"/gone/{name}.h5"),
        )
        for name, score in scores.items()
        for l2 in (0.0, 1.0)
    )
    return section(material(sweep={"task": "classes", "chosen": None}, lines=lines))


def names(count):
    known = sorted(pretrained_weights().values(), key=lambda own: own.macs)
    distinct = {own.macs: own.name for own in known}
    return list(distinct.values())[:: max(1, len(distinct) // count)][:count]


def test_costs_are_the_catalogues_and_scores_the_best_on_each_backbone():
    cheap, middle, dear = names(3)
    found = made({dear: 0.9, cheap: 0.8, middle: 0.7})
    weights = pretrained_weights()
    told = {own["name"]: own for own in found.data["backbones"]}
    for name in (cheap, middle, dear):
        assert told[name]["macs"] == weights[name].macs
        assert told[name]["parameters"] == weights[name].params
    assert {name: own["score"] for name, own in told.items()} == {dear: 0.9, cheap: 0.8, middle: 0.7}
    assert found.data["front"] == [cheap, dear]
    assert told[middle]["front"] is False
    front, beaten = found.charts[0].series
    np.testing.assert_allclose(front.x, [weights[cheap].macs / 1e6, weights[dear].macs / 1e6])
    assert list(beaten.y) == [0.7]
    assert found.headline.startswith(
        f"Worth their cost, from cheap to dear: {cheap} (80.0 %), {dear} (90.0 %); "
    )


def test_one_that_is_cheapest_and_best_is_named():
    cheap, middle, dear = names(3)
    found = made({dear: 0.5, cheap: 0.8, middle: 0.7})
    assert found.headline == f"{cheap} is the cheapest and the best of 3 backbones, 80.0 %"


def test_the_front_is_what_no_other_beats():
    draw = np.random.default_rng(0)
    for count in (1, 2, 5, 20):
        points = [tuple(map(float, row)) for row in draw.integers(0, 6, (count, 2))]

        def beaten(own, points=points):
            return any(other[0] <= own[0] and other[1] >= own[1] and other != own for other in points)

        assert sorted(front_of(points)) == [n for n, own in enumerate(points) if not beaten(own)]


@pytest.mark.slow
def test_macs_are_those_of_the_size_that_the_cache_had(tmp_path, monkeypatch):
    """A network at half the size does a quarter of the work."""
    from featcache.cache import FeatureCache

    name = "mobilenet_v2.tv_in1k" if "mobilenet_v2.tv_in1k" in pretrained_weights() else names(1)[0]
    labels = np.arange(4) % 3
    feature_cache(tmp_path / "a.h5", np.zeros((4, 2), np.float32), labels, ["train"] * 4, backbone=name)
    small = {"transforms": {"input_size": [112, 112]}}
    monkeypatch.setattr(FeatureCache, "recipe", property(lambda self: small))
    other = names(3)[2]
    found = made({name: 0.8, other: 0.9}, {name: str(tmp_path / "a.h5")})
    own = next(one for one in found.data["backbones"] if one["name"] == name)
    assert own["image_size"] == [112, 112]
    assert own["macs"] == describe(name, image_size=112).total.macs
    assert own["macs"] < pretrained_weights()[name].macs / 3


def test_disk_time_and_rate_are_those_that_the_caches_record(tmp_path):
    """Of a run that continued another one, the rate is told, and not a time that is not the whole."""
    whole, part, gone = names(3)
    for name, cost in ((whole, ExtractionCost(4, 0, 50.0, 40.0)), (part, ExtractionCost(2, 2, 50.0, 40.0))):
        feature_cache(
            tmp_path / f"{name}.h5",
            np.zeros((4, 2), np.float32),
            np.arange(4) % 3,
            ["train"] * 4,
            backbone=name,
            cost=cost,
        )
    paths = {name: str(tmp_path / f"{name}.h5") for name in (whole, part)}
    found = made({whole: 0.7, part: 0.8, gone: 0.9}, paths)
    assert [column["label"] for column in found.content["columns"][5:8]] == ["disk", "extraction", "images/s"]
    shown = {row[0]: [each["text"] for each in row[5:8]] for row in found.content["cells"]}
    size = f"{Path(paths[whole]).stat().st_size / 1e3:.1f} kB"
    assert shown == {whole: [size, "50.0 s", "0.1"], part: [size, "", "0.05"], gone: ["", "", ""]}
    told = {own["name"]: own["extraction"] for own in found.data["backbones"]}
    assert told[whole] == {"computed": 4, "kept": 0, "seconds": 50.0, "compute_seconds": 40.0}
    assert told[gone] is None


def test_backbones_of_unknown_cost_are_told_and_not_drawn():
    cheap, dear = names(2)
    found = made({cheap: 0.8, dear: 0.9, "my_net.custom": 0.99})
    assert found.content["unknown"] == ["my_net.custom"]
    assert next(row for row in found.content["cells"] if row[0] == "my_net.custom")[-1] == "not known"
    assert sum(len(series.x) for series in found.charts[0].series) == 2


@pytest.mark.parametrize(
    "scores", [{"my_net.custom": 0.9, "other.custom": 0.8}, {"mobilenet_v2.tv_in1k": 0.9}]
)
def test_of_fewer_than_two_known_costs_there_is_none(scores):
    assert made(scores) is None


def test_diverged_heads_have_no_place():
    cheap, dear = names(2)
    lines = [line(score=0.5, backbone=cheap), line(score=None, backbone=dear)]
    assert section(material(sweep={"task": "classes", "chosen": None}, lines=tuple(lines))) is None
    assert list(itertools.chain(front_of([]))) == []
