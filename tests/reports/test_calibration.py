"""The section on probabilities: its numbers against scikit-learn and slow loops."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.report_material import CountingSprites, answers, certain, material_of
from scipy.special import softmax
from sklearn.calibration import calibration_curve

import featcache
from featcache.classifier.calibration import Calibration
from featcache.classifier.rejection import reject_threshold
from featcache.pages.chart import Chart
from featcache.reports.material import Material
from featcache.reports.scored import scored
from featcache.reports.section import Section
from featcache.reports.sections.calibration import section, uncalibrated


def made(labels, values, **how) -> Section:
    found = section(material_of(np.asarray(labels), values, **how))
    assert found is not None
    return found


def chart_of(found: Section, name: str) -> Chart:
    return {each.name: each for each in found.charts}[name]


def test_the_bins_are_those_of_scikit_learn():
    labels, values = answers(500)
    found = made(labels, values)
    right, confidence = values.argmax(axis=1) == labels, values.max(axis=1)
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    points = chart_of(found, "reliability").series[-1]
    np.testing.assert_allclose(points.y, accuracy)
    np.testing.assert_allclose(points.x, mean, rtol=1e-6)
    counts = [each["count"] for each in found.data["bins"]]
    assert sum(counts) == 500
    error = np.sum(np.array(counts) * np.abs(accuracy - mean)) / 500
    np.testing.assert_allclose(found.data["calibration_error"], error, rtol=1e-5)
    assert f"off by {100 * error:.1f} percentage points on average: too sure by " in found.headline
    assert all(low <= y <= high for low, y, high in zip(points.low, points.y, points.high, strict=True))


def test_confidences_are_counted_where_right_and_where_wrong():
    labels, values = answers(500)
    right, wrong = chart_of(made(labels, values), "confidence").series
    correct = values.argmax(axis=1) == labels
    assert (sum(right.y), sum(wrong.y)) == (pytest.approx(1), pytest.approx(1))
    assert right.y[-1] == np.mean(values.max(axis=1)[correct] >= 0.95)
    assert wrong.texts[-1].startswith(
        f"{(values.max(axis=1)[~correct] >= 0.95).sum()} wrong answers, 95.0 % to"
    )


def test_coverage_and_accuracy_are_those_of_every_threshold():
    labels, values = answers(100)
    confidence, right = values.max(axis=1), values.argmax(axis=1) == labels
    drawn = chart_of(made(labels, values), "coverage").series[0]
    want = [
        (float(np.mean(confidence >= t)), float(np.mean(right[confidence >= t])))
        for t in sorted(set(confidence.tolist()), reverse=True)[9:]
    ]
    np.testing.assert_allclose(list(zip(drawn.x, drawn.y, strict=True)), want)
    assert drawn.x[-1] == 1


def test_the_threshold_is_marked_with_what_it_costs_and_brings():
    labels, values = answers(600, sure=1.0)
    chosen = reject_threshold(values, labels, accuracy=0.8)
    found = made(labels, values, calibration=Calibration(rejection=chosen))
    kept = values.max(axis=1) >= chosen.threshold
    accuracy = np.mean((values.argmax(axis=1) == labels)[kept])
    assert found.data["rejection"]["coverage"] == np.mean(kept)
    assert found.data["rejection"]["accuracy"] == accuracy
    assert chart_of(found, "coverage").marked[0][0] == np.mean(kept)
    assert chart_of(found, "confidence").marked[0][0] == chosen.threshold
    assert (
        f"it answers {100 * np.mean(kept):.1f} % of the photos, {100 * accuracy:.1f} % of these right"
        in found.headline
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Material:
    """A head with a temperature, on the validation rows that it was fitted to."""
    x, labels = blobs(240, classes=3, seed=4)
    path = tmp_path_factory.mktemp("calibrated") / "blobs.h5"
    cache = feature_cache(path, x, labels, ["train"] * 60 + ["val"] * 180)
    classifier = featcache.train_head(cache, head="ridge", refit=False).calibrated(x[60:], labels[60:])
    assert classifier.calibration.temperature != 1
    return Material(
        path=Path("made"), sprites=CountingSprites(), classifier=classifier, cache=cache, rows=np.arange(60, 240),
        split="val", values=classifier.values(x[60:]), labels=labels[60:],
    )  # fmt: skip


def test_before_calibration_the_temperature_is_1(trained):
    found, rows, classifier = section(trained), scored(trained), trained.classifier
    assert found is not None
    assert rows is not None
    fitted = classifier.calibration
    assert found.data["calibration_error_before"] == pytest.approx(fitted.error_before, abs=1e-6)
    assert found.data["calibration_error"] == pytest.approx(fitted.error_after, abs=1e-6)
    plain = softmax(classifier.logits(trained.cache.features(trained.rows)), axis=1)
    before = uncalibrated(trained, rows)
    assert before is not None
    np.testing.assert_allclose(before, plain, atol=1e-6)
    assert [each.name for each in found.charts[0].series[1:]] == ["before calibration", "after calibration"]
    assert "before calibration" in found.headline
    assert found.data["temperature"] == fitted.temperature


def test_before_calibration_views_are_averaged_as_after(tmp_path):
    x, labels = blobs(80, classes=2, seed=4)
    views = np.stack([x, x + 0.5], axis=1)
    cache = feature_cache(
        tmp_path / "views.h5", views, labels, ["train"] * 40 + ["val"] * 40, classes=("ant", "bee"), views=2
    )
    head = featcache.train_head(cache, head="ridge", refit=False, tta=True)
    plain = replace(head, calibration=Calibration())
    head = replace(head, calibration=Calibration(temperature=2.0, count=40))
    material = Material(
        path=Path("made"), sprites=CountingSprites(), classifier=head, cache=cache, rows=np.arange(40, 80),
        split="val", values=head.values(views[40:], tta=True), labels=labels[40:], evaluation=SimpleNamespace(views=2),
    )  # fmt: skip
    rows = scored(material)
    assert rows is not None
    before = uncalibrated(material, rows)
    assert before is not None
    np.testing.assert_allclose(before, plain.values(views[40:], tta=True), atol=1e-6)


def test_without_a_calibration_it_is_said_why():
    found = made(*answers(50), calibration=Calibration.from_json(None))
    assert found.content["why_not"].startswith("it was made before classifiers were calibrated")
    assert found.data["calibration_error_before"] is found.data["rejection"] is None
    assert [each.name for each in found.charts[0].series[1:]] == ["its probabilities"]
    assert all(not chart.marked for chart in found.charts)


@pytest.mark.parametrize(
    ("labels", "guesses", "error"),
    [([1], [1], 0), ([1], [0], 1), ([0, 0, 0], [0, 0, 0], 0), ([0, 1], [1, 0], 1)],
)
def test_one_row_all_right_and_all_wrong(labels, guesses, error):
    found = made(labels, certain(guesses, 3))
    assert found.data["calibration_error"] == error
    assert chart_of(found, "coverage").series[0].y == [1 - error]
    assert ("too sure by 100.0" in found.headline) == bool(error)


def test_ties_are_accepted_together_and_a_threshold_above_all_answers_none():
    tied = np.full((12, 2), 0.5, np.float32)
    chosen = reject_threshold(certain([0] * 100, 2), np.zeros(100, int))
    found = made([0, 1] * 6, tied, calibration=Calibration(rejection=chosen))
    assert chart_of(found, "coverage").series[0].x == [1.0]
    assert found.data["rejection"]["coverage"] == 0
    assert "it answers none of the photos" in found.headline


def test_many_classes_are_thinned_and_no_rows_make_no_section():
    found = made(*answers(3000, 101))
    assert len(chart_of(found, "coverage").series[0].x) <= 120
    assert section(material_of(np.zeros(0, int), np.zeros((0, 2)))) is None
