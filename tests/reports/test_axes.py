"""The effect of each axis of a sweep, against the same numbers by hand."""

import itertools

import numpy as np
import pytest
from helpers.made_sweeps import line, material

from featcache.reports.sections.axes import section

STRENGTHS, SCALINGS, SEEDS = (1e-4, 1e-2, 1.0), ("unit", "standard"), (0, 1, 2)


def score(strength: float, scaling: str, seed: int) -> float:
    return 0.8 + 0.02 * np.log10(strength) + (0.05 if scaling == "unit" else 0.0) + 0.01 * seed


GRID = [
    line(
        "ridge",
        {"l2": strength, "scaling": scaling, "views": None},
        score(strength, scaling, seed),
        seed=seed,
    )
    for strength, scaling, seed in itertools.product(STRENGTHS, SCALINGS, SEEDS)
]


def made(lines, task="classes"):
    return section(material(sweep={"task": task, "chosen": None}, lines=tuple(lines)))


def axis(found, name):
    (own,) = (one for one in found.data["axes"] if one["axis"] == name)
    return own


def test_best_and_mean_are_over_the_other_axes():
    found = made(GRID)
    strength, scaling = axis(found, "l2"), axis(found, "scaling")
    means = {
        (s, k): np.mean([score(s, k, seed) for seed in SEEDS])
        for s, k in itertools.product(STRENGTHS, SCALINGS)
    }
    np.testing.assert_allclose(strength["best"], [max(means[s, k] for k in SCALINGS) for s in STRENGTHS])
    np.testing.assert_allclose(
        strength["mean"], [np.mean([means[s, k] for k in SCALINGS]) for s in STRENGTHS]
    )
    assert strength["values"] == list(STRENGTHS)
    assert scaling["values"] == ["standard", "unit"]
    np.testing.assert_allclose(
        scaling["best"], [max(means[s, k] for s in STRENGTHS) for k in scaling["values"]]
    )
    assert scaling["counts"] == [3, 3]
    assert [one["axis"] for one in found.data["axes"]] == ["l2", "scaling"]  # what matters most is first
    assert found.headline == (
        "What matters most is l2 of ridge heads: at best 86.0 % with 1, 78.0 % with 0.0001; scaling of "
        "ridge heads matters least, 5.0 percentage points"
    )


def test_charts_say_which_number_they_show():
    chart, other = made(GRID).charts
    assert [series.name for series in chart.series] == ["mean", "best"]
    assert chart.x.scale == "log"
    assert "Best and mean over all other axes, 6 configurations on validation rows" in chart.note
    assert chart.name == "axis-ridge-l2"
    assert other.x.categories == ("standard", "unit")


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1e-4, 1e-3, 1e2], "log"),
        ([10, 15, 20], "linear"),
        ([0.0, 1e-4, 1e-2], "categories"),
        ([0.0, 0.1, 0.2], "linear"),
        ([None, 1.0], "categories"),
        ([True, False], "categories"),
        ([[512], [512, 128]], "categories"),
        (["relu", "gelu"], "categories"),
    ],
)
def test_strengths_over_decades_are_on_a_logarithmic_axis_and_what_is_no_number_has_places(values, scale):
    lines = [line("mlp", {"axis": value}, 0.5 + 0.1 * number) for number, value in enumerate(values)]
    found = made(lines)
    assert axis(found, "axis")["scale"] == scale
    # Each value has one configuration: its best is its mean, and one series is drawn.
    assert [series.name for series in found.charts[0].series] == ["best"]
    assert "Each point is one configuration" in found.charts[0].note


def test_of_a_random_search_each_configuration_is_a_point():
    """A line between configurations that differ on every axis would mean nothing."""
    draw = np.random.default_rng(0)
    lines = [
        line("ridge", {"l2": float(a), "noise": float(b)}, float(a)) for a, b in draw.random((9, 2)) + 0.1
    ]
    assert [chart.series[0].mark for chart in made(lines).charts] == ["points", "points"]
    assert made([line("ridge", {"l2": float(a)}, 0.5) for a in (1, 2)]).charts[0].series[0].mark == "line"


def test_diverged_heads_are_left_out_and_counted():
    lines = [
        line(
            "linear", {"learning_rate": rate, "momentum": momentum}, None if rate > 1 else 0.7 + momentum / 10
        )
        for rate in (0.1, 10.0)
        for momentum in (0.0, 0.9)
    ]
    found = made([*lines, line("linear", {"learning_rate": 0.1, "momentum": 0.9}, None, seed=1)])
    rates = axis(found, "learning_rate")
    assert rates["best"] == [0.7, None]
    assert rates["diverged"] == [1, 2]  # of one seed, too: a mean over the others would flatter it
    assert "3 diverged and are left out" in found.charts[0].note
    assert (
        "diverged"
        in found.charts[[c.title for c in found.charts].index("learning rate of linear heads")]
        .series[1]
        .texts[1]
    )


def test_where_all_diverged_it_says_so():
    found = made([line(settings={"c": c}, score=None) for c in (1.0, 2.0)])
    assert found.headline == "Every configuration diverged"


def test_heads_layers_and_caches_are_axes_and_shots_are_not_mixed():
    lines = [
        line(head, {}, 0.5 + 0.1 * number + 0.05 * (cache == "/b.h5"), shots=shots, cache=cache)
        for number, head in enumerate(("knn", "prototype"))
        for cache in ("/a.h5", "/b.h5")
        for shots in (1, None)
    ]
    found = made(lines)
    assert found.data["configurations"] == 4
    assert axis(found, "backbone")["values"] == ["mobilenet_v2.tv_in1k (a.h5)", "mobilenet_v2.tv_in1k (b.h5)"]
    np.testing.assert_allclose(axis(found, "head")["mean"], [0.525, 0.625])


def test_heads_judged_on_other_rows_are_left_out():
    old = [line(settings={"c": c}, score=0.99, protocol={"folds": 5}) for c in (1.0, 3.0)]
    own = [line(settings={"c": c}, score=0.5 + c / 10) for c in (1.0, 2.0)]
    assert made([*old, *own]).data["axes"][0]["values"] == [1.0, 2.0]


def test_folds_of_a_seed_count_once():
    lines = [line(settings={"c": c}, score=s, fold=f) for c in (1.0, 2.0) for f, s in enumerate((0.4, 0.6))]
    assert made(lines).data["axes"][0]["mean"] == [0.5, 0.5]
    assert made(lines).headline == "No axis changes the best score, 50.0 %"


def test_one_configuration_has_no_axis():
    assert made([line()]) is None
    assert section(material()) is None
