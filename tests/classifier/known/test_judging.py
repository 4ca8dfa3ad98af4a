"""What is said of photos unlike any that was seen, and of sets of classes; what cannot be promised is refused."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import Classifier, train_head
from featcache.cli.commands.predict import line
from featcache.cli.commands.predict_files import PredictionFiles
from featcache.core.argument_types import named_as_options
from featcache.errors import UsageError

ROWS = 600


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A classifier whose 120 held-out rows suffice for 99 %, and its cache."""
    features, labels = blobs(ROWS)
    folder = tmp_path_factory.mktemp("judging")
    cache = feature_cache(folder / "x.h5", features, labels, ["train"] * 600)
    return train_head(cache, output=folder / "c", head="logistic", c=0.1, test="none"), cache


@pytest.fixture(scope="module")
def others(known, tmp_path_factory):
    """A cache of two known rows and two that point away from all."""
    _, cache = known
    x = cache.features(np.arange(ROWS))
    # Opposite to the nearest of what was seen: as far as can be.
    rows = np.concatenate([x[:2], -x.mean(axis=0, keepdims=True).repeat(2, axis=0)])
    return feature_cache(tmp_path_factory.mktemp("others") / "y.h5", rows, [0, 1, 0, 1], ["test"] * 4)


def test_what_points_away_from_all_is_unlike_and_unknown(known, others):
    classifier, _ = known
    found = classifier.predict(others)
    assert [each.unlike for each in found] == [False, False, True, True]
    assert all(each.unknown for each in found[2:])
    want = classifier.known.familiarity.distance(others.features(np.arange(4)))
    np.testing.assert_array_equal(np.float32([each.distance for each in found]), want)
    assert all(each.set is None for each in found)
    assert line(found[2]).endswith("unknown (unlike anything seen)")
    assert classifier.evaluate(others, "test").unlike == 2
    # The promise can be changed when it is used: nine of ten known ones are nearer.
    assert classifier.known.farthest(0.9) < classifier.known.farthest()


def test_known_rows_are_called_unlike_as_seldom_as_promised(known):
    classifier, _ = known
    distances = classifier.known.familiarity.distances.values
    assert len(distances) == 120
    # ⌈121 · 0.99⌉ = 120: the farthest held-out row is still known.
    assert classifier.known.farthest() == distances[119]
    assert classifier.known.farthest(0.9) == distances[108]
    assert classifier.known.why_never_unlike() is None


def test_sets_are_of_the_head_that_held_out_rows_judged(known, others):
    classifier, _ = known
    assert classifier.judged is not None
    found = classifier.predict(others, set_level=0.9)
    p = classifier.before_refit().probabilities(others.features(np.arange(4)))
    least = -classifier.known.right.values[108]  # ⌈121 · 0.9⌉ = 109
    for each, row in zip(found, p, strict=True):
        assert set(each.set) == {name for name, q in zip(classifier.classes, row, strict=True) if q >= least}
    assert "{" + ", ".join(found[0].set) + "}" in line(found[0])
    assert found[2].unlike
    assert found[2].set is not None
    assert line(found[2]).endswith("unknown (unlike anything seen)")  # no promise is about it
    empty = replace(found[0], set=())
    assert line(empty).endswith("{no class is likely enough}")


def test_an_unsure_answer_names_two_classes(known, others):
    classifier, _ = known
    first = replace(classifier.predict(others)[0], unknown=True, probabilities=(0.5, 0.4, 0.1))
    one, two, _ = first.classes
    assert line(first).endswith(f"unknown (not sure: {one} 50.0 % or {two} 40.0 %)")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"set_level": 1.5}, "set_level 1.5: expected above 0 and below 1"),
        (
            {"set_level": 0.999},
            "needs 999 held-out photos, and this classifier has 120; ask for at most 0.9917",
        ),
        (
            {"known_share": 0.999},
            "needs 999 held-out photos, and this classifier has 120; ask for at most 0.9917",
        ),
        ({"set_level": 0.9, "tta": True}, "calibrated on, the plain image; .* the mean of several views"),
    ],
)
def test_what_cannot_be_promised_is_refused(known, others, asked, why):
    with pytest.raises(UsageError, match=why):
        known[0].predict(others, **asked)
    most = {"set_level": 0.9917, "known_share": 0.9917}
    assert known[0].predict(others, **most)[0].set is not None


def test_an_error_names_the_option_as_the_command_has_it(known, others):
    for asked, name in (({"set_level": 1.5}, "--set"), ({"known_share": 1.5}, "--known-share")):
        with named_as_options(), pytest.raises(UsageError, match=rf"^{name} 1\.5: expected above 0"):
            known[0].predict(others, **asked)


def test_a_classifier_that_knows_nothing_says_why(known, others):
    classifier = replace(known[0], known=type(known[0].known)(no_familiarity="so it is", no_sets="so it is"))
    for asked in ({"set_level": 0.9}, {"known_share": 0.9}):
        with pytest.raises(UsageError, match="so it is"):
            classifier.predict(others, **asked)
    found = classifier.predict(others)
    assert [(each.unlike, each.distance) for each in found] == [(False, None)] * 4
    assert classifier.evaluate(others, "test").unlike is None


def test_calibrating_again_moves_both_thresholds(known):
    classifier, cache = known
    rows = np.arange(50)
    again = classifier.calibrated(cache.features(rows), cache.labels[rows])
    assert again.known.familiarity.distances.count == again.known.right.count == 50
    want = classifier.known.familiarity.distance(cache.features(rows))
    np.testing.assert_array_equal(again.known.familiarity.distances.values, np.sort(want))
    p = again.before_refit().probabilities(cache.features(rows))
    own = p[np.arange(50), cache.labels[rows]]
    np.testing.assert_array_equal(again.known.right.values, np.sort(-own))


def test_a_loaded_classifier_and_a_table_say_the_same(known, others, tmp_path):
    classifier, cache = known
    loaded = Classifier.load(cache.path.parent / "c")
    asked = {"set_level": 0.9, "top": 2}
    assert loaded.predict(others, **asked) == classifier.predict(others, **asked)
    files = PredictionFiles("classes", loaded.classes, 1, tmp_path / "t.csv", None)
    files.sets = True
    with files:
        for each in loaded.predict(others, **asked):
            files.add(each)
    header, *rows = (tmp_path / "t.csv").read_text().splitlines()
    assert header == "file,class,probability,unknown,error,unlike,set"
    assert [row.split(",")[5] for row in rows] == ["false", "false", "true", "true"]
