"""The picture of a sweep has its leaderboard, and the intervals by which others are told apart from the choice."""

import sys

import pytest
from helpers.feature_caches import blobs, feature_cache

import featcache
from featcache.errors import MissingExtraError
from featcache.sweeps import plots
from featcache.sweeps.plots import leaderboard_chart


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    features, labels = blobs(90)
    labels[60:70] = (labels[60:70] + 1) % 3
    cache = feature_cache(root / "x.h5", features, labels, ["train"] * 60 + ["val"] * 30)
    return featcache.sweep(cache, output=root / "sweep", head="ridge,knn", l2="1,10,100", neighbours="1,5")


def by_place(chart) -> dict[int, tuple[str, float, tuple[float, float] | None]]:
    """Return kind, score and interval of every place on the chart."""
    found = {}
    for series in chart.series:
        ends = list(zip(series.low, series.high, strict=True)) or [None] * len(series.x)
        for score, place, end in zip(series.x, series.y, ends, strict=True):
            found[int(place)] = (series.name, score, end)
    return found


def test_every_configuration_is_there_the_best_at_the_top(result):
    chart = leaderboard_chart(result.to_json())
    places = by_place(chart)
    scores = [places[place][1] for place in range(len(places))]
    assert scores == pytest.approx([entry.accuracy for entry in result.leaderboard], rel=1e-6)
    assert chart.y.categories[0].startswith(f"{result.leaderboard[0].key.settings.head}, ")
    assert len(set(chart.y.categories)) == len(result.leaderboard)
    assert chart.marked == ((pytest.approx(result.chosen.entry.accuracy, rel=1e-6), "chosen"),)


def test_whiskers_reach_the_choice_exactly_where_it_is_not_told_apart(result):
    places = by_place(leaderboard_chart(result.to_json()))
    entries = dict(enumerate(result.leaderboard))
    against = {contender.entry.key: contender.against for contender in result.chosen.contenders}
    own = result.chosen.entry.accuracy
    assert against
    for place, (kind, _, ends) in places.items():
        entry = entries[place]
        if entry == result.chosen.entry:
            assert (kind, ends) == ("chosen", None)
        elif entry.key in against:
            told = against[entry.key].told_apart
            assert kind == ("worse" if told else "not told apart")
            assert ends[0] == pytest.approx(own - against[entry.key].interval[1], abs=1e-6)
            assert (ends[0] <= own + 1e-6 and own - 1e-6 <= ends[1]) == (not told)
        else:
            assert (kind, ends) == (
                "highest, not taken" if entry == result.chosen.first else "not compared",
                None,
            )


def test_whiskers_of_shares_end_at_1(tmp_path):
    features, labels = blobs(60)
    cache = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 40 + ["val"] * 20)
    result = featcache.sweep(cache, output=tmp_path / "sweep", head="ridge", l2="1,10")
    assert result.chosen.entry.accuracy == 1
    (other,) = result.chosen.contenders
    assert other.against.interval[0] < 0
    chart = leaderboard_chart(result.to_json())
    places = by_place(chart)
    ends = [end for _, _, end in places.values() if end]
    assert ends == [(pytest.approx(1 - other.against.interval[1], abs=1e-6), 1.0)]
    assert "–100.0 %" in "".join(text for series in chart.series for text in series.texts)


def test_of_many_the_first_and_the_choice_are_drawn(result, monkeypatch):
    monkeypatch.setattr(plots, "DRAWN", 1)
    chart = leaderboard_chart(result.to_json())
    assert "chosen" in [series.name for series in chart.series]
    assert 1 <= len(chart.y.categories) <= 2
    assert "Only the first 1 and the chosen one are drawn." in chart.note


def test_a_page_and_a_notebook_show_the_same_chart(result):
    from helpers.made_sweeps import material

    from featcache.reports.sections.leaderboard import section

    (drawn,) = section(material(sweep=result.to_json())).charts
    assert drawn == leaderboard_chart(result.to_json())


def test_it_is_drawn_and_names_its_extra(result, monkeypatch):
    figure = result.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    (axes,) = figure.axes
    assert len(axes.get_yticklabels()) == len(result.leaderboard)
    assert axes.yaxis_inverted(), "the best, at place 0, is at the top"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'featcache\[report\]'"):
        result.plot()
