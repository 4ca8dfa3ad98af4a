"""The leaderboard of a report: its numbers are the summary's, and its verdicts those of the paired comparisons."""

import numpy as np
import pytest
from helpers.made_sweeps import HOSTILE, contender, entry, material, summary

from featcache.reports.sections.leaderboard import section
from featcache.sweeps.plots import DRAWN

ROWS = np.arange(200)
CHOSEN = np.isin(ROWS % 10, range(9)).astype(float)  # .9
ALIKE = np.where(ROWS < 4, 1 - CHOSEN, CHOSEN)
WORSE = np.where(ROWS < 80, 0.0, CHOSEN)

FIRST, TAKEN, NEAR, FAR, LOST = (
    entry("logistic", {"c": c, "views": None}, score)
    for c, score in (
        (10.0, 0.92),
        (0.1, 0.9),
        (1.0, float(ALIKE.mean())),
        (100.0, float(WORSE.mean())),
        (1e4, None),
    )
)


@pytest.fixture
def made():
    compared = [contender(NEAR, CHOSEN, ALIKE), contender(FAR, CHOSEN, WORSE)]
    test = {"mean": 0.88, "deviation": 0.0, "interval": [0.83, 0.92], "seeds": [0.88], "count": 150}
    return summary(
        [FIRST, TAKEN, NEAR, FAR, LOST], TAKEN, contenders=compared, instead_of=FIRST, test=test, floor=0.4
    )


def test_the_verdicts_are_those_of_the_comparisons_on_the_same_rows(made):
    rows = {row["settings"]["c"]: row for row in section(material(sweep=made)).data["rows"]}
    told = {c: row["verdict"] for c, row in rows.items()}
    assert told == {
        10.0: "highest, not taken",
        0.1: "chosen",
        1.0: "not told apart",
        100.0: "worse",
        1e4: "not compared",
    }
    # Bonett and Price's interval by hand: one more row won by each, then the normal one.
    for c, own in ((1.0, ALIKE), (100.0, WORSE)):
        difference = np.append(own - CHOSEN, [1.0, -1.0])
        half = 1.959964 * difference.std() / np.sqrt(len(difference))
        expected = 0.9 + difference.mean() + np.array([-half, half])
        np.testing.assert_allclose(rows[c]["interval"], expected, atol=1e-6)
        assert (rows[c]["interval"][0] <= 0.9 <= rows[c]["interval"][1]) == (c == 1.0)


def test_the_chart_shows_the_scores_in_order_and_the_whiskers(made):
    found = section(material(sweep=made))
    (board,) = found.charts
    assert board.y.categories == (
        "logistic, c 10",
        "logistic, c 0.1",
        "logistic, c 1",
        "logistic, c 100",
    )
    series = {one.name: one for one in board.series}
    assert list(series["chosen"].x) == [0.9]
    assert board.marked == ((0.9, "chosen"),)
    near = series["not told apart"]
    assert near.low[0] < 0.9 < near.high[0]
    assert "not told apart" in near.texts[0]
    assert series["worse"].high[0] < 0.9
    cells = found.content["cells"]
    assert [row[2]["text"] for row in cells] == ["92.0 %", "90.0 %", "88.0 %", "54.0 %", "diverged"]


def test_it_says_what_was_chosen_and_why(made):
    found = section(material(sweep=made))
    assert found.headline == (
        "Chosen: logistic, c 0.1, validation 90.0 %; 1 of the 2 compared with it is not told apart"
    )
    first, test, floor = found.content["why"]
    assert first.startswith("logistic, c 10 has the highest mean (92.0 %). The chosen one is simpler")
    assert test == "On 150 test rows, read once and for this one only: 88.0 % (95 % interval 83.0–92.0 %)."
    assert "40.0 %" in floor


def test_what_was_no_number_is_unknown(made):
    made["chosen"]["test"] |= {"mean": None, "interval": [None, None]}
    made["chosen"]["contenders"][0]["interval"] = [None, None]
    found = section(material(sweep=made))
    assert any(
        "read once and for this one only: diverged (95 % interval unknown)" in one
        for one in found.content["why"]
    )
    assert [row["interval"] for row in found.data["rows"] if row["verdict"] == "not told apart"] == [None]


def test_of_one_configuration_there_is_nothing_to_compare():
    found = section(material(sweep=summary([TAKEN], TAKEN)))
    assert found.headline == "One configuration was tried: logistic, validation 90.0 %"
    assert found.charts[0].marked == ()
    assert found.content["why"] == [
        "It has the highest mean score on the validation rows.",
        "There were no test rows: its score is the one that it was chosen by, a little too good.",
    ]


def test_the_chosen_one_is_shown_however_far_down_it_is():
    board = [entry("ridge", {"l2": float(l2)}, 0.9 - 0.001 * l2) for l2 in range(40)]
    own = entry("ridge", {"l2": 99.0}, 0.5)
    found = section(material(sweep=summary(board, own)))
    assert len(found.data["rows"]) == 41
    assert len(found.charts[0].y.categories) == DRAWN + 1
    assert found.charts[0].y.categories[-1] == "ridge, l2 99"
    assert found.charts[0].note.endswith(f"Only the first {DRAWN} and the chosen one are drawn.")


def test_scores_of_regression_are_no_shares():
    board = [entry("ridge", {"l2": 1.0}, -0.25), entry("ridge", {"l2": 2.0}, -0.5)]
    found = section(material(sweep=summary(board, board[0], task="numbers")))
    assert "R² -0.250" in found.headline
    assert found.charts[0].x.unit == ""


def test_names_of_classes_stay_what_they_are():
    """Class weights are named by class; templates escape what they show."""
    board = [entry("linear", {"class_weights": name}, 0.9) for name in HOSTILE]
    names = [row["name"] for row in section(material(sweep=summary(board, board[0]))).data["rows"]]
    assert names == [f"linear, class weights {name}" for name in HOSTILE]


def test_without_a_sweep_there_is_none():
    assert section(material()) is None
