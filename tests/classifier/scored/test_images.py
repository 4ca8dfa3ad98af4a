"""Which images are wrong: against a slow loop, as a table, and in files."""

import csv
import json
import sys

import numpy as np
import pytest

from featcache.classifier.scored.images import ScoredImages
from featcache.errors import MissingExtraError, UsageError

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def images() -> ScoredImages:
    random = np.random.default_rng(4)
    probabilities = random.dirichlet(np.ones(3), 60).astype(np.float32)
    files = tuple(f"{number}.jpg" for number in range(60))
    return ScoredImages(files, CLASSES, random.integers(0, 3, 60), probabilities, threshold=0.6)


def by_a_slow_loop(images: ScoredImages) -> list[tuple]:
    found = []
    for file, truth, shares in zip(images.files, images.truth, images.probabilities.tolist(), strict=True):
        best = max(shares)
        if shares.index(best) != truth:
            found.append((file, CLASSES[truth], CLASSES[shares.index(best)], best, shares[truth], best < 0.6))
    return sorted(found, key=lambda row: row[4])


def test_mistakes_are_those_of_a_slow_loop_the_worst_first(images):
    want = by_a_slow_loop(images)
    assert [tuple(vars(each).values()) for each in images.mistakes()] == want
    assert [each.file for each in images.mistakes(3)] == [row[0] for row in want[:3]]
    assert {row[5] for row in want} == {True, False}


def test_a_csv_file_has_a_row_for_each_mistake(images, tmp_path):
    assert images.write_mistakes(tmp_path / "wrong.csv") == len(images.wrong)
    with (tmp_path / "wrong.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, want in zip(rows, by_a_slow_loop(images), strict=True):
        assert (row["file"], row["truth"], row["guess"]) == want[:3]
        assert row["unknown"] == str(want[5]).lower()
        shares = [float(row[f"probability_{name}"]) for name in CLASSES]
        np.testing.assert_allclose(shares, images.probabilities[images.files.index(row["file"])], rtol=1e-5)
        assert float(row["probability"]) == max(shares)
        assert float(row["truth_probability"]) == shares[CLASSES.index(row["truth"])]


def test_a_json_file_has_an_object_for_each_mistake(images, tmp_path):
    images.write_mistakes(tmp_path / "wrong.json")
    found = json.loads((tmp_path / "wrong.json").read_text())
    assert [(row["file"], row["truth"], row["guess"]) for row in found] == [
        row[:3] for row in by_a_slow_loop(images)
    ]
    for row in found:
        assert list(row["probabilities"]) == list(CLASSES)
        assert row["probability"] == max(row["probabilities"].values())


def test_another_suffix_is_refused(images, tmp_path):
    with pytest.raises(
        UsageError, match=r"errors .*wrong\.txt: expected a file that ends in \.csv or \.json"
    ):
        images.write_mistakes(tmp_path / "wrong.txt")


def test_where_nothing_is_wrong_there_is_a_header(tmp_path):
    right = ScoredImages(("1.jpg",), CLASSES, np.array([2]), np.eye(3, dtype=np.float32)[[2]])
    assert right.write_mistakes(tmp_path / "none.csv") == 0
    assert (
        (tmp_path / "none.csv")
        .read_text()
        .startswith("file,truth,guess,probability,truth_probability,unknown,")
    )


def test_all_of_them_as_a_table(images):
    pytest.importorskip("pandas")
    frame = images.to_frame()
    assert list(frame.columns)[:6] == [
        "file",
        "truth",
        "guess",
        "probability",
        "truth_probability",
        "unknown",
    ]
    assert tuple(frame["file"]) == images.files
    wrong = frame[frame.guess != frame.truth].sort_values("truth_probability")
    assert list(wrong.file) == [row[0] for row in by_a_slow_loop(images)]
    np.testing.assert_array_equal(frame[[f"probability_{name}" for name in CLASSES]], images.probabilities)
    np.testing.assert_array_equal(frame.unknown, images.probabilities.max(axis=1) < 0.6)


def test_without_pandas_it_is_named(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="needs pandas, which is not installed; pip install pandas"):
        images.to_frame()
