"""The same charts by matplotlib: the same ends, ticks and values as in a page; files that are the same every time."""

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from helpers.sample_charts import HOSTILE, charts
from matplotlib.figure import Figure
from PIL import Image

from featcache.errors import MissingExtraError
from featcache.pages.canvas import fitted
from featcache.pages.figures import draw, figure, save
from featcache.pages.ticks import frames


def drawn(name: str):
    axes = Figure().subplots()
    draw(charts()[name], axes)
    return axes


@pytest.mark.parametrize("name", sorted(charts().keys() - {"many"}))
def test_ends_and_ticks_are_the_pages(name):
    axes, (x, y) = drawn(name), frames(charts()[name], most_x=9 if charts()[name].wide else 6)
    assert axes.get_xlim() == pytest.approx((x.low, x.high))
    assert sorted(axes.get_ylim()) == pytest.approx([y.low, y.high])
    shown = [fitted(text, 170, middle=True) for _, text in y.ticks]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == shown
    assert axes.get_xticks() == pytest.approx([value for value, _ in x.ticks])


def test_values_are_the_charts():
    chart, axes = charts()["curves"], drawn("curves")
    for line, series in zip(axes.get_lines(), chart.series, strict=False):
        assert np.asarray(line.get_ydata()) == pytest.approx(np.asarray(series.y))
    lying, axes = charts()["lying"], drawn("lying")
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([*lying.series[0].x, *lying.series[1].x])
    assert [bar.get_x() for bar in axes.patches[30:]] == pytest.approx(lying.series[0].x)
    assert axes.yaxis_inverted()


def test_several_charts_share_a_figure():
    assert len(figure(charts()["one"], charts()["curves"], charts()["gaps"]).axes) == 4


def test_files_are_written_and_the_same_every_time(tmp_path):
    chart = charts()["hostile"]
    first, second = save(chart, tmp_path / "a"), save(chart, tmp_path / "b")
    assert [path.name for path in first] == ["hostile.svg", "hostile.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    texts = [text.text for text in ElementTree.parse(first[0]).iter("{http://www.w3.org/2000/svg}text")]
    assert HOSTILE[0] in texts
    assert "{{ 7 * 7 }} {% raw %} $a_b$"[:10] in " ".join(filter(None, texts))
    with Image.open(first[1]) as picture:
        assert picture.width > 500


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"figures need matplotlib.*featcache\[report\]"):
        figure(charts()["one"])
