"""Axes hold all values, between nice numbers, and numbers are written as a reader expects them."""

import math

import numpy as np
import pytest
from helpers.sample_charts import charts
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.pages.chart import Axis
from featcache.pages.ticks import frame, frames, interval_text, number_text

FINITE = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-9)


def texts(axis, values, **options):
    return [text for _, text in frame(axis, values, **options).ticks]


def test_shares_are_written_as_percent_and_end_at_0_and_100():
    axis = Axis("accuracy", unit="percent")
    assert texts(axis, [0.03, 0.97]) == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
    assert texts(axis, [0.911, 0.934]) == ["91.0 %", "91.5 %", "92.0 %", "92.5 %", "93.0 %", "93.5 %"]
    assert (frame(axis, [1.0]).low, frame(axis, [1.0]).high) == (pytest.approx(0.9), 1.0)


def test_epochs_have_whole_ticks():
    assert texts(Axis("epoch"), [1, 2, 3], outwards=False) == ["1", "2", "3"]
    assert texts(Axis("epoch"), [7]) == ["6", "7", "8"]


def test_thousands_and_small_numbers():
    assert texts(Axis("step"), [0, 10_000]) == ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]
    assert texts(Axis("rate"), [0, 0.0004], most=4) == ["0.0000", "0.0001", "0.0002", "0.0003", "0.0004"]
    assert texts(Axis("rate"), [0, 3e-7], most=3) == ["0", "10⁻⁷", "2·10⁻⁷", "3·10⁻⁷"]
    assert texts(Axis("rate"), [-2.5, 0.1], most=3) == ["−3", "−2", "−1", "0", "1"]


def test_seconds_and_bytes_are_written_in_the_unit_of_their_size():
    assert texts(Axis("time", unit="seconds"), [0, 1800], most=3) == ["0 min", "10 min", "20 min", "30 min"]
    assert texts(Axis("time", unit="seconds"), [0, 0.3], most=3) == ["0 ms", "100 ms", "200 ms", "300 ms"]
    assert texts(Axis("disk", unit="bytes"), [0, 3e9], most=3) == ["0 GB", "1 GB", "2 GB", "3 GB"]


def test_logarithmic_axes_have_powers_of_ten_or_round_times():
    assert texts(Axis("photos", "log"), [1, 1000], most=4) == ["1", "10", "100", "1,000"]
    assert texts(Axis("photos", "log"), [1, 10]) == ["1", "2", "5", "10"]
    assert texts(Axis("time", "log", "seconds"), [1, 4000], most=5) == [
        "1 s",
        "10 s",
        "1 min",
        "10 min",
        "1 h",
    ]
    assert texts(Axis("rate", "log"), [1e-12, 1], most=4) == ["10⁻¹²", "10⁻⁹", "10⁻⁶", "0.001", "1"]


@pytest.mark.parametrize("unit", ["", "percent", "seconds", "bytes"])
@settings(max_examples=60, deadline=None)
@given(values=st.lists(FINITE, max_size=6), zero=st.booleans(), outwards=st.booleans())
def test_linear_axes_hold_all_values(unit, values, zero, outwards):
    found = frame(Axis("value", unit=unit), values, zero=zero, outwards=outwards)
    room = 1e-6 * (found.high - found.low)
    assert found.low < found.high
    assert all(found.low - room <= value <= found.high + room for value in values)
    assert 1 <= len(found.ticks) <= 10
    assert all(found.low - room <= value <= found.high + room for value, _ in found.ticks)
    assert len({text for _, text in found.ticks}) == len(found.ticks)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(1e-200, 1e200), max_size=6), unit=st.sampled_from(["", "seconds"]))
def test_logarithmic_axes_hold_all_values(values, unit):
    found = frame(Axis("value", "log", unit), [*values, 0, -3, math.inf])
    assert 0 < found.low < found.high
    assert all(-1e-6 <= found.share(value) <= 1 + 1e-6 for value in values)
    assert all(-0.01 <= found.share(value) <= 1.01 for value, _ in found.ticks)
    assert len(found.ticks) <= 8


def test_given_ends_are_kept():
    found = frame(Axis("recall", unit="percent", low=0, high=1), [0.4, 0.41])
    assert (found.low, found.high) == (0, 1)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9123, "percent", "91.2 %"),
        (-0.05, "percent", "−5.0 %"),
        (1234, "", "1,234"),
        (0.123456, "", "0.1235"),
        (150, "seconds", "2.5 min"),
        (60, "seconds", "1 min"),
        (0.0042, "seconds", "4.2 ms"),
        (5_000_000, "bytes", "5 MB"),
        (0, "bytes", "0 bytes"),
        (math.nan, "", "no number"),
        (-1.5e-9, "", "−1.5·10⁻⁹"),
    ],
)
def test_numbers_in_sentences(value, unit, text):
    assert number_text(value, unit) == text


def test_intervals_in_sentences():
    assert interval_text(0.886, 0.934, "percent") == "88.6–93.4 %"
    assert interval_text(1.5, 2, "seconds") == "1.5 s to 2 s"


def test_stacked_bars_reach_as_far_as_their_sum():
    chart = charts()["lying"]
    total = np.add(*(series.x for series in chart.series)).max()
    x, y = frames(chart)
    assert x.low == 0
    assert x.high >= total > max(chart.series[0].x)
    assert (y.low, y.high) == (-0.5, 29.5)
