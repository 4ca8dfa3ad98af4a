"""Scores that a guess reaches, and training that ended too soon."""

import math

import numpy as np
import pytest
from helpers.feature_caches import feature_cache

import featcache
from featcache.checks.scores import below_chance, unfinished


@pytest.mark.parametrize(("accuracy", "told"), [(0.0, True), (0.2, True), (0.21, False), (math.nan, False)])
def test_what_a_guess_reaches_is_told(accuracy, told):
    found = below_chance(accuracy, 5, "the test rows")
    assert [each.code for each in found] == ["below-chance"] * told
    if told:
        assert (
            f"right in {100 * accuracy:.1f} % of the test rows, which is no better than a guess among 5 classes "
            "(20.0 %)" in (found[0].message)
        )


@pytest.mark.parametrize(
    ("best", "losses", "told"),
    [
        (100, [2.0] * 89 + [1.0] * 10 + [0.9], True),
        (100, [2.0] * 89 + [1.0] * 10 + [0.99], False),  # the last tenth improved it by 1 %
        (99, [2.0] * 89 + [1.0] * 10 + [0.9], False),
        (100, [], False),  # no validation rows
        (100, [None] * 100, False),
    ],
)
def test_training_that_was_still_improving_is_told(best, losses, told):
    found = unfinished(best, 100, losses)
    assert [each.code for each in found] == ["unfinished"] * told
    if told:
        assert "the last of 100 epochs was the best on the validation rows" in found[0].message
        assert "--epochs 400" in found[0].message


@pytest.fixture
def cache(tmp_path):
    """Labels of the test rows that contradict those of the training rows."""
    random = np.random.default_rng(0)
    labels = np.arange(150) % 3
    x = (6 * np.eye(3)[labels] + random.normal(size=(150, 3))).astype(np.float32)
    told = np.where(np.arange(150) < 120, labels, (labels + 1) % 3)
    return feature_cache(tmp_path / "x.h5", x, told, ["train"] * 120 + ["test"] * 30)


@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
def test_a_classifier_and_a_sweep_of_few_shots_say_so(cache, tmp_path):
    made = featcache.train_head(cache, output=None, epochs=3, learning_rate=0.1)
    told = {found["code"]: found["message"] for found in made.training["warnings"]}
    assert (
        "of the test rows, which is no better than a guess among 3 classes (33.3 %)" in told["below-chance"]
    )
    assert "the last of 3 epochs was the best" in told["unfinished"]
    swept = featcache.sweep(cache, output=tmp_path / "sweep", head="prototype", shots="1,all")
    assert [text for text in swept.warnings if text.startswith("1 shot of each class: right in")]
    assert [text for text in swept.warnings if text.startswith("right in")]


def test_few_photos_have_enough_epochs(tmp_path):
    random = np.random.default_rng(0)
    labels = np.arange(100) % 3
    x = random.normal(size=(100, 20)).astype(np.float32) + np.eye(3, 20, dtype=np.float32)[labels]
    few = feature_cache(tmp_path / "few.h5", x, labels, ["train"] * 100)
    made = featcache.train_head(few, output=None, head="linear")
    assert made.training["epochs"] == 5000
    assert 100 < made.training["best_epoch"] < 5000
