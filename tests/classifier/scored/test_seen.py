"""Whether the rows that a classifier is scored on trained it, and what it is scored on by default."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import Classifier, sweep, train_head
from featcache.cli import main

SPLITS = ["train"] * 60 + ["test"] * 30


@pytest.fixture
def cache(tmp_path):
    features, labels = blobs(90)
    return feature_cache(tmp_path / "x.h5", features, labels, SPLITS)


@pytest.fixture
def mixed(cache, tmp_path):
    """A head that half of the test split has trained."""
    return train_head(cache, output=tmp_path / "mixed", train="train+test[:50%]", test="test[50%:]", epochs=3)


def test_by_default_it_is_scored_on_what_tested_it(cache, mixed):
    found = mixed.evaluate(cache)
    assert (found.split, found.count, found.seen) == ("test[50%:]", 15, 0)
    assert found.accuracy == mixed.metrics["test"]["accuracy"]
    plain = train_head(cache, output=None, epochs=3).evaluate(cache)
    assert (plain.split, plain.count, plain.seen) == ("test", 30, 0)
    untested = train_head(cache, output=None, epochs=3, test="none").evaluate(cache)
    assert (untested.split, untested.seen) == ("test", 0)


@pytest.mark.parametrize(
    ("split", "seen"), [("test", 15), ("all", 75), ("train[:10]", 10), ("test[50%:]", 0)]
)
def test_rows_that_trained_or_validated_it_are_counted(cache, mixed, split, seen):
    assert mixed.evaluate(cache, split).seen == seen


def test_copies_of_training_images_count_in_another_cache(cache, mixed, tmp_path):
    features, labels = blobs(90)
    other = feature_cache(
        tmp_path / "y.h5", features[50:70], labels[50:70], ["test"] * 20, images=range(50, 70)
    )
    assert mixed.evaluate(other, "test").seen == 20
    strange = feature_cache(tmp_path / "z.h5", features[:9], labels[:9], ["test"] * 9, images=range(200, 209))
    assert mixed.evaluate(strange, "test").seen == 0


def test_they_are_known_after_another_extraction_too(cache, mixed, tmp_path):
    features, labels = blobs(90)
    cache.close()
    # Twenty images less, and half of the rest in other splits.
    rows = np.arange(20, 90)
    again = feature_cache(
        tmp_path / "again.h5", features[rows], labels[rows], ["train", "test"] * 35, images=rows.tolist()
    )
    again.path.replace(tmp_path / "x.h5")
    loaded = Classifier.load(tmp_path / "mixed")
    # Images 20 to 74 trained it; those with odd numbers are tested now.
    assert loaded.evaluate(split="test").seen == len([n for n in range(20, 75) if n % 2])
    (tmp_path / "x.h5").rename(tmp_path / "elsewhere.h5")
    assert loaded.evaluate(tmp_path / "elsewhere.h5", "train").seen == len(range(20, 75, 2))


def test_of_an_older_classifier_nobody_knows(cache, mixed, tmp_path, capsys):
    replace(mixed, seen=None).save(tmp_path / "mixed")
    loaded = Classifier.load(tmp_path / "mixed")
    assert loaded.seen is None
    assert loaded.evaluate(cache).seen is None
    assert main(["evaluate", str(tmp_path / "mixed")]) == 0
    assert "how many of these it has seen is unknown" in capsys.readouterr().err


def test_what_is_remembered_is_no_parameter(cache, mixed, tmp_path):
    loaded = Classifier.load(tmp_path / "mixed")
    assert loaded.parameters.keys() == mixed.parameters.keys() == {"kernel", "bias"}
    assert loaded.seen is not None
    np.testing.assert_array_equal(loaded.seen, mixed.seen)
    # By hand: the first eight bytes of the sha256 of 60 + 15 images.
    assert {row.tobytes() for row in loaded.seen} == {cache.sha256[row, :8].tobytes() for row in range(75)}


def test_the_choice_of_a_sweep_has_seen_all_folds(cache, tmp_path):
    found = sweep(cache, output=tmp_path / "s", head="ridge", l2="1", folds=3)
    kept = Classifier.load(found.classifier)
    assert kept.evaluate(cache, "train").seen == 60
    assert kept.evaluate(cache).seen == 0


def test_answers_are_counted_too(tmp_path):
    features, labels = blobs(90)
    answers = np.eye(3, dtype=np.float32)[labels]
    cache = feature_cache(tmp_path / "a.h5", features, answers, SPLITS, task="answers")
    classifier = train_head(cache, output=None, epochs=3)
    assert (classifier.evaluate(cache).seen, classifier.evaluate(cache, "train").seen) == (0, 60)


def test_the_command_says_so(cache, mixed, tmp_path, capsys):
    assert main(["evaluate", str(tmp_path / "mixed")]) == 0
    assert capsys.readouterr().err == f"to see it: featcache report {tmp_path / 'mixed'}\n"
    assert main(["evaluate", str(tmp_path / "mixed"), "--split", "test"]) == 0
    said = capsys.readouterr()
    assert "15 of these 30 images trained it or chose its epoch" in said.err
    assert main(["evaluate", str(tmp_path / "mixed"), "--split", "test", "--json"]) == 0
    assert '"seen": 15' in capsys.readouterr().out
