"""A list of photos to leave out, from the training of a head to every later score of it."""

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import Classifier, train_head
from featcache.classifier.scored.nearest_photos import training_rows
from featcache.classifier.scored.seen import which_seen
from featcache.errors import DataError, UsageError

OUT = (3, 14, 61, 75)
"""Two training and two test rows."""


@pytest.fixture
def cache(tmp_path):
    features, labels = blobs(90)
    return feature_cache(tmp_path / "own.h5", features, labels, ["train"] * 60 + ["test"] * 30)


@pytest.fixture
def listed(cache, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("id,reason\n" + "".join(f"{cache.ids[row]},dark\n" for row in OUT))
    return path


@pytest.fixture
def classifier(cache, listed, tmp_path):
    train_head(cache, output=tmp_path / "head", head="ridge", l2=1, exclude=listed)
    return Classifier.load(tmp_path / "head")


@pytest.mark.parametrize("head", [{"head": "ridge", "l2": 1}, {"head": "logistic", "c": 1}])
def test_a_head_is_what_a_cache_without_these_rows_makes(cache, listed, tmp_path, head):
    kept = [row for row in range(90) if row not in OUT]
    splits = ["train" if row < 60 else "test" for row in kept]
    features, labels = blobs(90)
    never = feature_cache(tmp_path / "never.h5", features[kept], labels[kept], splits, images=kept)
    want = train_head(never, output=None, val="none", calibrate=False, **head)
    found = train_head(cache, output=None, val="none", calibrate=False, exclude=listed, **head)
    for name, values in want.parameters.items():
        np.testing.assert_allclose(found.parameters[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    assert found.metrics["test"]["accuracy"] == want.metrics["test"]["accuracy"]
    assert found.training["left_out"]["rows"] == {"train": 2, "test": 2}
    whole = train_head(cache, output=None, val="none", calibrate=False, **head)
    assert not np.allclose(whole.parameters["kernel"], want.parameters["kernel"], rtol=1e-5, atol=1e-6)


def test_what_it_has_seen_are_the_rows_that_trained(cache, classifier):
    assert classifier.seen is not None
    seen = which_seen(classifier.seen, cache.sha256)
    assert np.flatnonzero(seen).tolist() == [row for row in range(60) if row not in OUT]
    assert training_rows(classifier, cache).tolist() == np.flatnonzero(seen).tolist()
    assert classifier.evaluate(cache, "train", exclude="none").seen == 58


def test_its_own_cache_is_scored_without_them_unless_it_is_asked_for(cache, classifier, listed):
    found = classifier.evaluate()
    assert (found.count, found.note) == (28, "2 of 30 photos are left out, as they were of its training")
    assert found.accuracy == classifier.metrics["test"]["accuracy"]
    assert classifier.evaluate(exclude="none").count == 30
    assert classifier.evaluate(exclude=()).note == ""
    one = classifier.evaluate(exclude=[cache.ids[70], cache.ids[2]])
    assert (one.count, one.note) == (29, "1 of 30 photos are left out, as the list says")
    assert classifier.evaluate(exclude=listed).count == 28
    with pytest.raises(DataError, match=r"exclude: 1 of its 1 ids are of no photo in .*own\.h5: 'x'"):
        classifier.evaluate(exclude=["x"])
    with pytest.raises(
        UsageError, match=r"all 30 rows of test in .*own\.h5 are left out, so that none can be scored"
    ):
        classifier.evaluate(exclude=cache.ids[60:])


def test_another_cache_of_the_same_photos_is_scored_whole_and_that_is_said(cache, classifier, tmp_path):
    features, labels = blobs(90)
    more = feature_cache(tmp_path / "later.h5", features, labels, ["test"] * 90)
    found = classifier.evaluate(more)
    assert (found.count, len({*more.ids} & {*classifier.training["selection"]["exclude"]})) == (90, 2)
    assert found.note == (
        "2 photos that a list left out of its training are scored, as this is another cache (--exclude FILE leaves "
        "them out)"
    )


def test_a_classifier_of_an_earlier_version_is_scored_as_before(cache):
    older = train_head(cache, output=None, head="ridge", l2=1)
    assert "left_out" not in older.training
    assert "exclude" not in older.training["selection"]
    assert (older.evaluate(cache).count, older.evaluate(cache).note) == (30, "")


def test_of_one_photo_the_note_speaks_of_one(cache, tmp_path):
    features, labels = blobs(90)
    more = feature_cache(tmp_path / "later.h5", features, labels, ["test"] * 90)
    without = train_head(cache, output=None, head="ridge", l2=1, exclude=[cache.ids[0]])
    own = feature_cache(tmp_path / "same.h5", features, labels, ["train"] * 90)
    assert cache.ids[0] == own.ids[0]
    assert without.evaluate(own, split="train").note.startswith(
        "1 photo that a list left out of its training is scored, as this is another cache (--exclude FILE leaves it"
    )
    assert without.evaluate(more, split="test").note == ""
