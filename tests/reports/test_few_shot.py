"""Score against shots in a report, against the same numbers by hand."""

import numpy as np
from helpers.made_sweeps import line, material

from featcache.reports.sections.few_shot import section

SCORES = {  # by head and shots: a row for each configuration, a column for each seed
    ("logistic", 1): [[0.3, 0.5, 0.4], [0.2, 0.2, 0.2]],
    ("logistic", 10): [[0.6, 0.7, 0.8], [0.71, 0.72, 0.73]],
    ("logistic", None): [[0.9, 0.9, 0.9], [0.8, 0.8, 0.8]],
    ("knn", 1): [[0.45, 0.46, 0.47]],
    ("knn", 10): [[0.5, 0.5, 0.5]],
    ("knn", None): [[0.7, 0.7, None]],
}
LINES = tuple(
    line(head, {"c": float(number)}, score, seed=seed, shots=shots)
    for (head, shots), table in SCORES.items()
    for number, row in enumerate(table)
    for seed, score in enumerate(row)
)
TEST = {"mean": 0.85, "deviation": 0.0, "interval": [0.8, 0.89], "seeds": [0.85], "count": 100}
SWEEP = {
    "task": "classes",
    "shots": [{"shots": 1, "test": None}, {"shots": 10, "test": None}, {"shots": None, "test": TEST}],
}


def texts(found):
    return [tuple(cell["text"] for cell in row) for row in found.content["cells"]]


def test_the_best_configuration_of_each_head_is_drawn_with_its_seeds():
    found = section(material(sweep=SWEEP, lines=LINES))
    assert found.data["shots"] == [1, 10, None]
    own = found.data["heads"]["logistic"]
    np.testing.assert_allclose([one["score"] for one in own], [0.4, 0.72, 0.9])
    np.testing.assert_allclose([one["deviation"] for one in own], [np.std([0.3, 0.5, 0.4], ddof=1), 0.01, 0])
    assert found.data["heads"]["knn"][2] is None  # one seed diverged
    (chart,) = found.charts
    assert chart.x.categories == ("1", "10", "all")
    logistic, knn, test = chart.series
    np.testing.assert_allclose(logistic.low, [0.3, 0.71, 0.9])
    np.testing.assert_allclose(logistic.high, [0.5, 0.73, 0.9])
    assert np.isnan(knn.y[2])
    assert (list(test.x), list(test.y), list(test.low), list(test.high)) == ([2], [0.85], [0.8], [0.89])


def test_it_says_what_more_photos_give():
    found = section(material(sweep=SWEEP, lines=LINES))
    assert found.headline == (
        "1 photo of each class gives 46.0 % (knn), all training rows give 90.0 % (logistic): 44.0 percentage points "
        "more"
    )
    assert texts(found)[0] == (
        "1",
        "40.0 % (30.0–50.0 %)",
        "46.0 % (45.0–47.0 %)",
        "",
    )
    assert texts(found)[2][2:] == ("diverged", "85.0 % (80.0–89.0 %)")


def test_a_test_score_that_was_no_number_is_told_and_not_drawn():
    unknown = {**TEST, "mean": None, "interval": [None, None]}
    found = section(
        material(sweep={"task": "classes", "shots": [{"shots": None, "test": unknown}]}, lines=LINES)
    )
    assert texts(found)[2][-1] == "diverged (unknown)"
    assert list(found.charts[0].series[-1].x) == []


def test_of_one_seed_there_is_no_spread():
    lines = tuple(line(score=score, shots=shots) for shots, score in ((5, 0.6), (20, 0.5)))
    found = section(material(sweep={"task": "classes"}, lines=lines))
    assert [row[1] for row in texts(found)] == ["60.0 %", "50.0 %"]
    assert found.headline == (
        "5 photos of each class give 60.0 % (logistic), 20 give 50.0 % (logistic): 10.0 percentage points less"
    )


def test_where_all_diverged_it_says_so():
    lines = tuple(line(score=None, shots=shots) for shots in (1, None))
    found = section(material(sweep={"task": "classes"}, lines=lines))
    assert found.headline == "Every head diverged"


def test_of_one_number_of_shots_there_is_none():
    assert section(material(sweep=SWEEP, lines=(line(), line(seed=1)))) is None
    assert section(material()) is None
