"""The section of multilabel answers: its numbers against scikit-learn."""

import numpy as np
import pytest
from helpers.report_material import HOSTILE, material_of
from sklearn import metrics as sklearn

from featcache.errors import DataError
from featcache.reports.sections.multilabel import MOST_PICTURES, OF_AN_ANSWER, section


def case(count: int = 200, answers: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets 0 and 1 ``[N, T]``, and probabilities that mostly agree."""
    random = np.random.default_rng(seed)
    targets = (random.random((count, answers)) < 0.3).astype(np.float32)
    logits = random.normal(size=targets.shape) + 2.5 * targets - 1.2
    return targets, (1 / (1 + np.exp(-logits))).astype(np.float32)


def made(targets, values, **how):
    found = section(material_of(np.asarray(targets, np.float32), np.asarray(values), task="answers", **how))
    assert found is not None
    return found


def column(found, name: str) -> list:
    return [each[name] for each in found.data["answers"]]


def test_its_numbers_are_those_of_scikit_learn():
    targets, values = case()
    found, yes = made(targets, values), values > 0.5
    want = sklearn.precision_recall_fscore_support(targets, yes, average=None)
    for place, name in enumerate(("precision", "recall", "f1", "support")):
        np.testing.assert_allclose(column(found, name), np.asarray(want[place]))
    every = range(targets.shape[1])
    areas = [sklearn.average_precision_score(targets[:, t], values[:, t]) for t in every]
    np.testing.assert_allclose(column(found, "average_precision"), areas)
    curves = [sklearn.roc_auc_score(targets[:, t], values[:, t]) for t in every]
    np.testing.assert_allclose(column(found, "roc_area"), curves)
    assert found.data["mean_average_precision"] == pytest.approx(np.mean(areas))
    assert found.data["accuracy"] == pytest.approx(np.mean(targets == yes))
    assert found.data["f1"] == pytest.approx(sklearn.f1_score(targets, yes, average="macro"))
    for own in found.data["answers"]:
        for name in ("precision", "recall", "f1", "average_precision"):
            assert own[f"{name}_interval"][0] <= own[name] <= own[f"{name}_interval"][1]
    hardest = min(found.data["answers"], key=lambda own: own["f1"])
    assert (
        f"the hardest is {hardest['name']}: {hardest['right']} of its {hardest['support']} found, "
        f"and {hardest['said'] - hardest['right']} others taken for it" in found.headline
    )


def test_the_surest_mistakes_of_each_answer_are_shown():
    targets, values = case()
    for t, each in enumerate(made(targets, values).content["by_answer"]):
        given = values[:, t].tolist()
        rows = sorted(range(200), key=lambda row, given=given: -given[row])
        wrong = [row for row in rows if given[row] > 0.5 > targets[row, t]]
        missed = [row for row in rows[::-1] if given[row] <= 0.5 < targets[row, t]]
        assert [picture.row for picture in each.false_yes] == wrong[:OF_AN_ANSWER]
        assert [picture.row for picture in each.missed] == missed[:OF_AN_ANSWER]
        assert each.words == f"class {t}: {len(wrong)} times yes where it is no, {len(missed)} missed"


def test_many_answers_come_worst_first_and_stay_a_small_page():
    targets, values = case(400, 101)
    found = made(targets, values)
    shown = [cells[5]["value"] for cells in found.content["cells"]]
    assert shown == sorted(shown)
    held = sum(len(each.false_yes) + len(each.missed) for each in found.content["by_answer"])
    assert 0 < held <= MOST_PICTURES
    assert made(*case(8, 300)).content["by_answer"] == []


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("right", [True, False])
def test_all_right_all_wrong_and_one_row(count, right):
    targets = np.tile([[1.0, 0.0]], (count, 1))
    found = made(targets, (targets if right else 1 - targets).astype(np.float32))
    assert found.data["accuracy"] == right
    assert bool(found.content["by_answer"]) != right
    assert (": 0 of its" in found.headline) != right
    second = found.data["answers"][1]
    assert second["average_precision"] is second["recall_interval"] is second["roc_area"] is None


def test_answers_that_no_photo_has_are_said():
    found = made(np.zeros((3, 2)), np.full((3, 2), 0.9, np.float32))
    assert found.headline.endswith("no photo has any of them")
    assert found.charts == ()
    assert found.content["numbers"][1][0] == "–"


def test_equal_probabilities_are_no_better_than_chance():
    found = made([[1.0], [0.0]] * 5, np.full((10, 1), 0.7, np.float32))
    assert column(found, "roc_area") == [0.5]


def test_another_task_has_none_and_no_numbers_are_refused_and_names_are_printable():
    targets, values = case(6, 5)
    assert section(material_of(targets, values)) is None
    found = made(1 - targets, values, classes=HOSTILE, names=[*HOSTILE, "last"], there=False)
    texts = [
        text
        for each in found.content["by_answer"]
        for p in (*each.false_yes, *each.missed)
        for text in (p.name, p.caption)
    ]
    assert all(text.isprintable() for text in (*texts, found.headline))
    values[2, 1] = np.nan
    with pytest.raises(
        DataError, match="1 of 6 rows have an answer that is NaN or infinite, the first is 'row 2'"
    ):
        made(targets, values)
