"""The section of a regression: its numbers against scikit-learn."""

import numpy as np
import pytest
from helpers.report_material import HOSTILE, material_of
from scipy.stats import t as student
from sklearn import metrics as sklearn

from featcache.errors import DataError
from featcache.reports.sections.regression import DRAWN, POINTS, WORST, section


def case(count: int = 150, targets: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of unlike sizes ``[N, T]``, and predictions that are off by a third of their spread."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=(count, targets)) * 10.0 ** np.arange(targets)
    return truth.astype(np.float32), (
        truth + random.normal(size=truth.shape) * 10.0 ** np.arange(targets) / 3
    ).astype(np.float32)


def made(truth, values, **how):
    found = section(
        material_of(np.asarray(truth, np.float32), np.asarray(values, np.float32), task="numbers", **how)
    )
    assert found is not None
    return found


def test_its_numbers_are_those_of_scikit_learn():
    truth, values = case()
    found = made(truth, values)
    assert found.data["mae"] == pytest.approx(sklearn.mean_absolute_error(truth, values), rel=1e-6)
    assert found.data["r2"] == pytest.approx(sklearn.r2_score(truth, values), rel=1e-6)
    for t, own in enumerate(found.data["numbers"]):
        pair = truth[:, t].astype(np.float64), values[:, t].astype(np.float64)
        assert own["mae"] == pytest.approx(sklearn.mean_absolute_error(*pair))
        assert own["median"] == pytest.approx(sklearn.median_absolute_error(*pair))
        assert own["rmse"] == pytest.approx(sklearn.root_mean_squared_error(*pair))
        assert own["r2"] == pytest.approx(sklearn.r2_score(*pair))
        assert own["bias"] == pytest.approx(np.mean(pair[1] - pair[0]))
        middle = np.full(len(truth), np.median(pair[0]))
        assert own["guessing"] == pytest.approx(sklearn.mean_absolute_error(pair[0], middle))
        errors = np.abs(pair[1] - pair[0])
        half = student.ppf(0.975, 149) * errors.std(ddof=1) / np.sqrt(150)
        assert own["interval"] == pytest.approx((errors.mean() - half, errors.mean() + half))
    assert found.headline.startswith(
        f"{100 * found.data['r2']:.1f} % of the variance explained, the mean of 2 numbers"
    )
    one = made(truth[:, :1], values[:, :1])
    assert one.headline.startswith("class 0 is off by ")
    assert f"{one.data['numbers'][0]['mae']:.4g} on average" in one.headline


def test_the_photos_that_are_off_most_come_first_whatever_their_units():
    truth, values = case()
    errors = np.max(np.abs(values - truth) / truth.std(axis=0), axis=1)
    want = sorted(range(150), key=lambda row: -errors[row])[:WORST]
    found = made(truth, values)
    assert [picture.row for picture in found.content["worst"]] == want
    assert found.data["worst"][0]["true"] == truth[want[0]].tolist()
    assert found.data["worst"][0]["predicted"] == values[want[0]].tolist()


def test_charts_show_every_row_of_few_and_a_draw_of_many():
    truth, values = case()
    scatter, residuals = made(truth, values).charts[:2]
    np.testing.assert_array_equal(scatter.series[1].x, truth[:, 0].astype(float))
    np.testing.assert_array_equal(scatter.series[1].y, values[:, 0].astype(float))
    assert sum(residuals.series[0].y) == 150
    many = made(*case(POINTS + 500, 6))
    assert len(many.charts) == 2 * DRAWN
    assert many.content["undrawn"] == 6 - DRAWN
    assert len(many.charts[0].series[1].x) == POINTS
    assert sum(many.charts[1].series[0].y) == POINTS + 500
    assert len(many.content["cells"]) == 6


@pytest.mark.parametrize("count", [1, 5])
def test_exact_numbers_and_one_row(count):
    truth = np.arange(count, dtype=np.float32)[:, None]
    found = made(truth, truth)
    assert (found.data["mae"], found.data["numbers"][0]["bias"]) == (0, 0)
    assert found.data["r2"] == (1 if count > 1 else 0)
    assert len(found.content["worst"]) == count
    assert sum(found.charts[1].series[0].y) == count


def test_numbers_that_are_all_the_same_and_useless_predictions_are_said():
    assert "no better than guessing the mean" in made(np.ones((4, 1)), np.full((4, 1), 3.0)).headline
    truth = np.arange(4.0)[:, None]
    assert "no better than guessing the mean" in made(truth, -truth).headline


def test_another_task_has_none_and_no_numbers_are_refused_and_names_are_printable():
    truth, values = case(6, 5)
    assert section(material_of(truth, values)) is None
    found = made(truth, values, classes=HOSTILE, names=[*HOSTILE, "last"], there=False)
    texts = [text for picture in found.content["worst"] for text in (picture.name, picture.caption)]
    texts += [chart.title for chart in found.charts] + [found.headline]
    assert all(text.isprintable() for text in texts)
    truth[3, 0] = np.nan
    with pytest.raises(
        DataError, match="1 of 6 rows have a label that is NaN or infinite, the first is 'row 3'"
    ):
        made(truth, values)
