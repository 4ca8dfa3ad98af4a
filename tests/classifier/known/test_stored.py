"""What is known comes back from a folder to the bit; what does not fit is refused, and earlier classifiers load."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import Classifier, train_head
from featcache.classifier.known.familiarity import Familiarity
from featcache.classifier.known.stored import DISTANCES, RIGHT, SAMPLE, known_tensors
from featcache.classifier.known.thresholds import HeldOutScores
from featcache.classifier.loading import tensors_of
from featcache.core.classifier_folder import DOCUMENT, write_folder
from featcache.errors import IntegrityError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    features, labels = blobs(120)
    cache = feature_cache(
        tmp_path_factory.mktemp("known") / "x.h5", features, labels, ["train"] * 90 + ["test"] * 30
    )
    return train_head(cache, output=None, head="logistic", c=0.1)


def document_of(classifier, folder) -> dict:
    document = json.loads((classifier.save(folder) / DOCUMENT).read_text("utf-8"))
    return {key: value for key, value in document.items() if not key.endswith("sha256") or key[0] == "l"}


def test_what_is_known_is_kept_to_the_bit(trained, tmp_path):
    loaded = Classifier.load(trained.save(tmp_path / "c"))
    want, got = known_tensors(trained.known), known_tensors(loaded.known)
    assert set(got) == {SAMPLE, DISTANCES, RIGHT}
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name], value)
    assert (loaded.known.right.count, loaded.known.no_sets) == (18, "")
    assert set(loaded.parameters) == set(trained.parameters)


def test_a_classifier_of_before_knows_nothing_and_says_so(trained, tmp_path):
    document = document_of(trained, tmp_path / "now")
    del document["known"]
    tensors = {name: value for name, value in tensors_of(trained).items() if not name.startswith("known.")}
    write_folder(tmp_path / "before", document, tensors)
    loaded = Classifier.load(tmp_path / "before")
    assert (loaded.known.familiarity, loaded.known.right) == (None, None)
    assert "made before featcache learnt this" in loaded.known.no_familiarity
    assert loaded.known.farthest() is None


def changed(name, change):
    return lambda tensors: {**tensors, name: change(tensors[name])}


def with_one(value, number):
    value = value.copy()
    value.flat[-1] = number
    return value


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda tensors: {n: v for n, v in tensors.items() if n != RIGHT}, "expected .*known.right"),
        (lambda tensors: {**tensors, "known.more": np.zeros(2)}, "it holds .*known.more"),
        (changed(SAMPLE, lambda v: v.astype(np.float32)), r"known.sample is float32 .*expected float16"),
        (changed(SAMPLE, lambda v: with_one(v, np.nan)), "not of norm 1"),
        (changed(SAMPLE, lambda v: 3 * v), "not of norm 1"),
        (changed(SAMPLE, lambda v: np.repeat(v, 100, axis=0)), "more than 800"),
        (changed(SAMPLE, lambda v: np.eye(7, dtype=np.float16)), "is 7 wide"),
        (changed(DISTANCES, lambda v: v[::-1]), "not ascending"),
        (changed(DISTANCES, lambda v: with_one(v, np.nan)), "not ascending"),
        (changed(DISTANCES, lambda v: v[:-1]), "expected float32 18"),
        (changed(RIGHT, lambda v: -v), "not ascending from -2 to 0"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(trained, tmp_path, change, why):
    document = document_of(trained, tmp_path / "good")
    write_folder(tmp_path / "bad", document, change(tensors_of(trained)))
    with pytest.raises(IntegrityError, match=rf"head\.safetensors is damaged: .*{why}"):
        Classifier.load(tmp_path / "bad")


@pytest.mark.parametrize("count", [0, -1, "18", 1.5])
def test_counts_that_cannot_be_are_refused(trained, tmp_path, count):
    document = document_of(trained, tmp_path / "good")
    document["known"]["distances"] = count
    write_folder(tmp_path / "bad", document, tensors_of(trained))
    with pytest.raises(IntegrityError, match=r"known\.distances is .*, expected a whole number"):
        Classifier.load(tmp_path / "bad")


def test_many_scores_are_few_bytes(trained, tmp_path):
    many = HeldOutScores.of(np.random.default_rng(0).random(30_000))
    known = replace(trained.known, familiarity=Familiarity(trained.known.familiarity.sample, many))
    loaded = Classifier.load(replace(trained, known=known).save(tmp_path / "c"))
    assert (loaded.known.familiarity.distances.count, len(loaded.known.familiarity.distances.values)) == (
        30_000,
        10_000,
    )
    assert abs(loaded.known.farthest() - 0.99) < 0.005
