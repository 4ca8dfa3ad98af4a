"""Charts as SVG: well-formed, escaped, in the right places, the same every time, small where there is much."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from helpers.sample_charts import HOSTILE, charts

from featcache.core.display import escaped
from featcache.pages.chart import Axis, Chart, Series
from featcache.pages.drawing import MOST_NAMES, drawing, legend, narrow, values
from featcache.pages.lines import runs, thinned
from featcache.pages.palette import DARK, LIGHT, SHAPES, marker
from featcache.pages.svg import chart_svg

SVG = "{http://www.w3.org/2000/svg}"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def parsed(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(chart_svg(chart))


def centre(path: str) -> tuple[float, float]:
    """Return the middle of a closed outline of absolute corners, or of the circle's arcs."""
    numbers = [float(number) for number in NUMBER.findall(path)]
    if "a" in path:
        return numbers[0] + numbers[2], numbers[1]
    corners = np.array(numbers).reshape(-1, 2)
    return tuple((corners.min(0) + corners.max(0)) / 2)


def scale(root: ElementTree.Element, axis: str, read) -> tuple[float, float]:
    """Return slope and offset of an axis from the places of two of its ticks, as a reader sees them."""
    ticks = [
        (read(tick.text), float(tick.get("x" if axis == "x" else "y")) - (0 if axis == "x" else 4))
        for tick in root.find(f"{SVG}g[@class='ticks {axis}']").iter(f"{SVG}text")
    ]
    (first, start), (last, end) = ticks[0], ticks[-1]
    return (end - start) / (last - first), start - first * (end - start) / (last - first)


def marks(root: ElementTree.Element, kind: str) -> list[str]:
    return [path.get("d") for path in root.iter(f"{SVG}path") if path.get("class") == kind]


@pytest.mark.parametrize("name", charts())
def test_every_chart_is_well_formed_and_has_its_name(name):
    root = parsed(charts()[name])
    assert root.get("role") == "img"
    assert root.get("aria-label") == escaped(charts()[name].title)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg",
        "desc",
        "g",
        "path",
        "text",
        "title",
    }
    for path in root.iter(f"{SVG}path"):
        assert re.fullmatch(r"[MLHVahvlz0-9. -]+", path.get("d")), path.get("d")


def test_points_stand_where_the_ticks_say():
    chart = charts()["points"]
    root = parsed(chart)
    slope, offset = scale(root, "y", lambda text: float(text.removesuffix(" %")) / 100)
    log_slope, log_offset = scale(root, "x", lambda text: np.log10(float(text)))
    outlines = marks(root, "mark")
    wanted = [(x, y) for series in chart.series for x, y in zip(series.x, series.y, strict=True)]
    assert len(outlines) == len(wanted)
    for outline, (x, y) in zip(
        outlines[:12], wanted[:12], strict=True
    ):  # circles and squares: their middle is plain
        assert centre(outline) == pytest.approx(
            (log_slope * np.log10(x) + log_offset, slope * y + offset), abs=0.15
        )
    lows = [float(NUMBER.findall(path)[1]) for path in marks(root, "whisker")]
    assert lows == pytest.approx(
        [slope * low + offset for series in chart.series for low in series.low], abs=0.15
    )


def test_lying_bars_end_where_the_ticks_say():
    chart = charts()["lying"]
    root = parsed(chart)
    slope, offset = scale(root, "x", float)
    first, second = (series.x for series in chart.series)
    ends = [[float(n) for n in NUMBER.findall(path)] for path in marks(root, "bar")]
    assert [bar[0] for bar in ends[:30]] == pytest.approx([offset] * 30, abs=0.15)
    assert [bar[2] for bar in ends[:30]] == pytest.approx(slope * first + offset, abs=0.15)
    assert [bar[0] for bar in ends[30:]] == pytest.approx(slope * first + offset, abs=0.15)
    assert [bar[2] for bar in ends[30:]] == pytest.approx(slope * (first + second) + offset, abs=0.15)
    tops = [bar[1] for bar in ends[:30]]
    assert tops == sorted(tops)  # the first class is on top


def test_lines_pass_where_the_ticks_say():
    chart = charts()["curves"]
    root = parsed(chart)
    slope, offset = scale(root, "y", float)
    line = marks(root, "line")[0]
    places = np.array([float(number) for number in NUMBER.findall(line)]).reshape(-1, 2)
    assert places[:, 1] == pytest.approx(slope * np.asarray(chart.series[0].y) + offset, abs=0.15)


def test_a_value_that_is_not_finite_leaves_a_gap():
    root = parsed(charts()["gaps"])
    assert [len(NUMBER.findall(line)) // 2 for line in marks(root, "line")] == [2, 2, 2]
    assert len(marks(root, "area")) == 2
    assert len(marks(root, "mark")) == 6


def test_nothing_finite_is_said():
    texts = [text.text for text in parsed(charts()["nothing"]).iter(f"{SVG}text")]
    assert "no finite value to show" in texts


def test_hostile_names_are_text():
    chart = charts()["hostile"]
    svg = str(chart_svg(chart))
    assert "<script" not in svg
    assert svg.count("</svg>") == svg.count("<svg")
    said = [title.text for title in parsed(chart).iter(f"{SVG}title")]
    for name in HOSTILE[:-1]:
        assert any(escaped(name) in text for text in said), name
    assert any("(no name)" in text for text in said)
    assert not any("\u202e" in text or "\n" in text for text in said)


@pytest.mark.parametrize("name", charts())
def test_the_same_chart_gives_the_same_text(name):
    assert chart_svg(charts()[name]) == chart_svg(replace(charts()[name]))


def test_arrays_lists_and_ranges_are_drawn_alike():
    x, y = [0, 1, 2], [0.5, 0.25, 0.75]
    drawn = [
        chart_svg(Chart("a", "A", Axis("x"), Axis("y"), (Series("s", of(x), of(y)),), ""))
        for of in (list, tuple, np.array)
    ]
    assert len(set(drawn)) == 1


def test_ten_thousand_points_stay_small():
    assert len(chart_svg(charts()["many"])) < 200_000
    assert len(chart_svg(charts()["long"])) < 80_000


def test_a_thinned_line_covers_the_same_pixels():
    random = np.random.default_rng(3)
    at, on = np.linspace(0, 400, 20_000), random.normal(size=20_000).cumsum()
    kept = np.array(thinned(at, on))
    assert len(kept) < 4 * 801
    for column in range(0, 400, 37):
        inside, still = (at // 0.5 == column), (kept[:, 0] // 0.5 == column)
        assert kept[still, 1].min() == on[inside].min()
        assert kept[still, 1].max() == on[inside].max()
    assert kept[0].tolist() == [at[0], on[0]]
    assert kept[-1].tolist() == [at[-1], on[-1]]


def test_runs_end_at_gaps():
    nan = np.nan
    found = runs(np.arange(7.0), np.array([nan, 1, 2, nan, 3, nan, 4]))
    assert [run.tolist() for run in found] == [[1, 2], [4], [6]]
    assert runs(np.array([nan]), np.array([1.0])) == []


def test_few_points_have_a_table_of_numbers():
    rows = values(charts()["standing"])
    assert rows[0] == ("accuracy", "resnet50", "91.0 %", "90.0–93.0 %")
    assert values(charts()["many"]) == []


def test_lying_bars_of_one_series_have_their_numbers_behind_them():
    chart = charts()["lying"]
    one = replace(chart, series=chart.series[:1], stacked=False)
    numbers = drawing(one)["numbers"]
    assert [number["text"] for number in numbers] == [f"{size:.0f}" for size in one.series[0].x]
    assert drawing(chart)["numbers"] == []


def test_references_are_muted_and_others_have_their_place_in_the_palette():
    assert [entry["colour"] for entry in legend(charts()["curves"])] == ["c0", "c1", "ref"]


# Colours ----------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009.
SEEN = {
    "all": np.eye(3),
    "without red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "without green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "without blue": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(np.maximum(TO_XYZ @ np.clip(light, 0, 1) / [0.9505, 1, 1.089], 0.009))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    dark, light = sorted(TO_XYZ[1] @ linear(colour) + 0.05 for colour in (one, other))
    return light / dark


@pytest.mark.parametrize(
    ("palette", "ground"), [(LIGHT, "#ffffff"), (DARK, "#1b1e22")], ids=["light", "dark"]
)
def test_colours_are_told_apart_by_everyone(palette, ground):
    assert min(contrast(colour, ground) for colour in palette) >= 3
    for seen, matrix in SEEN.items():
        places = [lab(np.array(matrix) @ linear(colour)) for colour in palette]
        apart = min(np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i])
        assert apart >= 11, seen  # about five times what is just noticed


def test_every_colour_has_a_shape_of_its_own():
    assert len({marker(shape, 0, 0) for shape in SHAPES}) == len(LIGHT) == len(DARK)


def test_a_wide_chart_of_few_names_is_drawn_a_second_time_for_phones():
    def ranked(names: int) -> Chart:
        series = (Series("score", [0.5] * names, list(range(names)), "points"),)
        held = Axis("", "categories", categories=tuple(map(str, range(names))))
        return Chart("ranked", "ranked", Axis("score"), held, series, "", wide=True)

    few, many = ranked(MOST_NAMES), ranked(MOST_NAMES + 1)
    small = narrow(few)
    assert small == replace(few, wide=False)
    assert drawing(small)["canvas"].width < drawing(few)["canvas"].width
    assert (narrow(small), narrow(many)) == (None, None)
    assert narrow(replace(few, y=Axis("score"))) is None
