"""The section on each class: its numbers against scikit-learn."""

import numpy as np
import pytest
from helpers.report_material import HOSTILE, answers, certain, material_of
from sklearn import metrics as sklearn

from featcache.errors import DataError
from featcache.metrics.intervals import wilson_interval
from featcache.reports.class_rows import MOST_ROWS
from featcache.reports.curves_by_class import GRID, POINTS, thinned
from featcache.reports.sections.per_class import DRAWN, section


def made(labels, values, **how):
    found = section(material_of(np.asarray(labels), values, **how))
    assert found is not None
    return found


def column(found, name: str) -> list:
    return [each[name] for each in found.data["classes"]]


@pytest.mark.parametrize("classes", [2, 5, 12])
def test_its_numbers_are_those_of_scikit_learn(classes):
    labels, values = answers(400, classes)
    found, guesses, every = made(labels, values), values.argmax(axis=1), range(classes)
    want = sklearn.precision_recall_fscore_support(labels, guesses, labels=every)
    for place, name in enumerate(("precision", "recall", "f1", "support")):
        np.testing.assert_array_equal(column(found, name), want[place])
    one = [(labels == c, values[:, c]) for c in every]
    areas = [sklearn.average_precision_score(*each) for each in one]
    np.testing.assert_allclose(column(found, "average_precision"), areas)
    np.testing.assert_allclose(column(found, "roc_area"), [sklearn.roc_auc_score(*each) for each in one])
    np.testing.assert_allclose(found.data["mean_average_precision"], np.mean(areas))
    assert found.data["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(labels, guesses))
    assert found.data["f1_macro"] == pytest.approx(sklearn.f1_score(labels, guesses, average="macro"))
    assert found.data["loss"] == pytest.approx(sklearn.log_loss(labels, values), rel=1e-5)
    if classes > 5:
        assert found.data["top5"] == sklearn.top_k_accuracy_score(labels, values, k=5)
    for own in found.data["classes"]:
        assert own["precision_interval"] == wilson_interval(own["right"], own["said"])
        assert own["recall_interval"] == wilson_interval(own["right"], own["support"])
        for name in ("precision", "recall", "f1", "average_precision"):
            assert own[f"{name}_interval"][0] <= own[name] <= own[f"{name}_interval"][1]


def test_curves_of_few_classes_are_those_of_scikit_learn():
    labels, values = answers(POINTS - 1, 3)
    _, precisions, rocs = made(labels, values).charts
    for c, (drawn, roc) in enumerate(zip(precisions.series, rocs.series[1:], strict=True)):
        precision, recall, _ = sklearn.precision_recall_curve(labels == c, values[:, c])
        np.testing.assert_allclose(drawn.y, precision[:-1][::-1])
        np.testing.assert_allclose(drawn.x, recall[:-1][::-1])
        false, true, _ = sklearn.roc_curve(labels == c, values[:, c], drop_intermediate=False)
        np.testing.assert_allclose(roc.x, false)
        np.testing.assert_allclose(roc.y, true)
        assert f"class {c} {sklearn.roc_auc_score(labels == c, values[:, c]):.3f}" == roc.name


def test_of_many_classes_the_worst_come_first_with_curves_of_the_mean():
    labels, values = answers(2000, 101, seed=2)
    found = made(labels, values)
    shown = [row[5]["value"] for row in found.content["cells"]]
    assert shown == sorted(shown)
    assert column(found, "name") == [f"class {c}" for c in range(101)]
    f1, precisions, rocs = found.charts
    assert len(f1.series[0].x) == DRAWN
    assert [each.name.split(" ")[0] for each in precisions.series] == ["mean", "class", "class", "class"]
    curves = [sklearn.roc_curve(labels == c, values[:, c], drop_intermediate=False) for c in range(101)]
    mean = np.mean([np.interp(GRID, false, true) for false, true, _ in curves], axis=0)
    np.testing.assert_allclose(rocs.series[1].y, mean)
    assert all(len(each.x) <= POINTS for chart in found.charts for each in chart.series)


def test_of_very_many_classes_the_worst_are_listed_and_the_data_hold_all():
    found = made(*answers(500, MOST_ROWS + 50))
    assert (len(found.content["cells"]), found.content["unlisted"]) == (MOST_ROWS, 50)
    assert len(found.data["classes"]) == MOST_ROWS + 50


def test_thinned_curves_keep_their_ends():
    assert thinned(5).tolist() == [0, 1, 2, 3, 4]
    assert thinned(1).tolist() == [0]
    drawn = thinned(100_000)
    assert (len(drawn), drawn[0], drawn[-1]) == (POINTS, 0, 99_999)


def test_a_class_without_photos_and_one_that_is_never_predicted_say_nothing():
    labels, guesses = [0, 0, 1, 1, 3], [0, 0, 0, 0, 0]
    found = made(labels, certain(guesses, 4))
    want = sklearn.precision_recall_fscore_support(labels, guesses, labels=range(4), zero_division=0)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(column(found, "f1"), want[2])
    first, second, third, _ = found.data["classes"]
    assert (third["recall_interval"], third["average_precision"], third["roc_area"]) == (None, None, None)
    assert third["f1_interval"] is second["precision_interval"] is None
    assert first["roc_area"] == sklearn.roc_auc_score(np.equal(labels, 0), certain(guesses, 4)[:, 0])
    assert found.headline == (
        "The hardest class is class 1: 0.0 % of its 2 photos found; 1 class has no photo here"
    )


@pytest.mark.parametrize(
    ("labels", "guesses", "words"),
    [
        ([0, 1, 2], [0, 1, 2], "Every class is recognised without a mistake"),
        ([1], [1], "Every class is recognised without a mistake; 2 classes have no photo here"),
        ([1], [2], "The hardest class is class 1: 0.0 % of its 1 photo found; 2 classes have no photo here"),
        (
            [1, 1, 1],
            [1, 1, 0],
            "The hardest class is class 1: 66.7 % of its 3 photos found, and 100.0 % of what is",
        ),
    ],
)
def test_few_rows_one_class_all_right_and_all_wrong_are_said(labels, guesses, words):
    found = made(labels, certain(guesses, 3))
    assert found.headline.startswith(words)
    assert len(found.charts) == (3 if len(set(labels)) > 1 else 2), (
        "without other photos there is no ROC curve"
    )


def test_equal_probabilities_are_no_better_than_chance():
    labels = np.array([0, 1] * 5)
    found = made(labels, np.full((10, 2), 0.5, np.float32))
    assert column(found, "roc_area") == [0.5, 0.5]
    assert column(found, "average_precision") == [0.5, 0.5]


def test_names_are_printable_and_what_is_no_number_is_refused():
    found = made(range(5), certain([1, 2, 3, 4, 0], 5), classes=HOSTILE)
    assert all(row[0].isprintable() for row in found.content["cells"])
    assert all(each.name.isprintable() for chart in found.charts for each in chart.series)
    assert found.headline.isprintable()
    assert section(material_of(np.zeros(0, int), np.zeros((0, 2)))) is None
    with pytest.raises(DataError, match="NaN or infinite"):
        made([0, 1], np.full((2, 2), np.inf))
