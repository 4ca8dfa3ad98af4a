"""What a user keeps: saved, loaded, scored, refused where it does not fit, and never half written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sklearn

from featcache import Classifier, FeatureCache, extract, open_dataset
from featcache.classifier.calibration import Calibration
from featcache.classifier.classifier import DOCUMENT, TENSORS
from featcache.classifier.rejection import Rejection
from featcache.core.identity import Recipe, sha256_json
from featcache.errors import IdentityError, IntegrityError, MissingFileError, StorageError, UsageError
from featcache.heads.probabilities import softmax


@pytest.fixture
def saved(trained, tmp_path) -> Path:
    """A copy of a classifier's folder that a test may damage."""
    return Path(shutil.copytree(trained.folder, tmp_path / "classifier"))


# Saving and loading -----------------------------------------------------------------------------------------


def test_a_loaded_classifier_is_the_saved_one_to_the_bit(trained):
    features = FeatureCache(trained.cache).arrays("all")[0]
    loaded = Classifier.load(trained.folder)
    np.testing.assert_array_equal(loaded.probabilities(features), trained.classifier.probabilities(features))
    for name in ("backbone", "weights", "recipe", "layer", "fingerprint", "head", "classes", "provenance"):
        assert getattr(loaded, name) == getattr(trained.classifier, name)
    assert loaded.metrics == trained.classifier.metrics
    assert loaded.training == trained.classifier.training


def test_the_recorded_recipe_gives_the_recorded_fingerprint(trained):
    loaded = Classifier.load(trained.folder)
    assert (
        Recipe.from_json(loaded.recipe).fingerprint(loaded.layer)
        == loaded.fingerprint
        == FeatureCache(trained.cache).layers["pool"].fingerprint
    )


def test_probabilities_are_the_softmax_of_the_linear_head(trained):
    features = FeatureCache(trained.cache).arrays("test")[0]
    kernel, bias = (np.float64(trained.classifier.parameters[name]) for name in ("kernel", "bias"))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    want = special.softmax(unit @ kernel + bias, axis=1)
    # 1280 float32 products.
    np.testing.assert_allclose(trained.classifier.probabilities(features), want, rtol=1e-4, atol=1e-5)


def test_softmax_of_large_logits_is_finite():
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)


def test_features_of_another_width_are_refused(trained):
    with pytest.raises(UsageError, match="features of width 7; this classifier takes 1280"):
        trained.classifier.probabilities(np.zeros((2, 7)))


@pytest.mark.parametrize("name", ["Möwe", "鷹", "caf\udce9", "two\nlines", 'quote"'])
def test_any_class_name_survives(trained, tmp_path, name):
    replace(trained.classifier, classes=(name, "dog", "owl")).save(tmp_path / "c")
    assert Classifier.load(tmp_path / "c").classes == (name, "dog", "owl")
    document = json.loads((tmp_path / "c" / DOCUMENT).read_text("utf-8"))  # valid for other programs too
    assert document["classes"][0] == name


# Calibration ------------------------------------------------------------------------------------------------


def calibrated(classifier, temperature: float, threshold: float | None = None):
    found = None if threshold is None else Rejection(threshold, 6, 9, 6 / 9, 1.0, 0.7, 0.95)
    return replace(classifier, calibration=Calibration(temperature, 9, 0.2, 0.1, found))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_probabilities_are_of_logits_over_the_temperature(trained, temperature):
    features = FeatureCache(trained.cache).arrays("all")[0]
    classifier = calibrated(trained.classifier, temperature)
    got = classifier.probabilities(features)
    want = special.softmax(np.float64(trained.classifier.logits(features)) / temperature, axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)  # float32 against float64
    plain = trained.classifier.probabilities(features)
    np.testing.assert_array_equal(got.argmax(1), plain.argmax(1))


def test_a_calibration_is_kept(trained, tmp_path):
    classifier = calibrated(trained.classifier, 2.5, 0.6)
    loaded = Classifier.load(classifier.save(tmp_path / "c"))
    assert loaded.calibration == classifier.calibration
    features = FeatureCache(trained.cache).arrays("all")[0]
    probabilities = loaded.probabilities(features)
    np.testing.assert_array_equal(probabilities, classifier.probabilities(features))
    np.testing.assert_array_equal(loaded.unknown(probabilities), [max(row) < 0.6 for row in probabilities])
    assert not trained.classifier.unknown(probabilities).any()


def test_a_classifier_from_before_there_was_a_calibration_loads(trained, saved):
    document = json.loads((saved / DOCUMENT).read_text("utf-8"))
    del document["calibration"], document["document_sha256"]
    (saved / DOCUMENT).write_text(json.dumps(document | {"document_sha256": sha256_json(document)}))
    loaded = Classifier.load(saved)
    assert (loaded.calibration.temperature, loaded.calibration.threshold) == (1, None)
    assert "made before classifiers were calibrated" in str(loaded.calibration.note)
    features = FeatureCache(trained.cache).arrays("all")[0]
    np.testing.assert_array_equal(loaded.probabilities(features), trained.classifier.probabilities(features))


def test_an_evaluation_says_how_good_it_is_where_it_is_sure(trained):
    cache = FeatureCache(trained.cache)
    features, labels = cache.arrays("test")
    confidence = np.sort(trained.classifier.probabilities(features).max(axis=1))
    classifier = calibrated(trained.classifier, 1.0, float(confidence[4]))
    got = classifier.evaluate(cache)
    predicted = classifier.probabilities(features)
    sure = predicted.max(axis=1) >= confidence[4]
    assert (got.rejection.accepted, got.rejection.count, got.rejection.coverage) == (8, 12, 8 / 12)
    assert got.rejection.accuracy == sklearn.accuracy_score(labels[sure], predicted[sure].argmax(1))
    assert got.accuracy == trained.classifier.evaluate(cache).accuracy, "the plain accuracy is of all rows"
    assert trained.classifier.evaluate(cache).rejection is None


# Scoring ----------------------------------------------------------------------------------------------------


def test_an_evaluation_is_scikit_learns(trained):
    cache = FeatureCache(trained.cache)
    features, labels = cache.arrays("test")
    probabilities = trained.classifier.probabilities(features).astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32's sums are 1 to 1e-7 only
    got = trained.classifier.evaluate(cache)
    assert (got.split, got.count) == ("test", 12)
    assert got.accuracy == sklearn.accuracy_score(labels, probabilities.argmax(1))
    assert got.accuracy >= 0.75, "the made-up classes can be told apart"
    np.testing.assert_allclose(got.loss, sklearn.log_loss(labels, probabilities), rtol=1e-5)
    np.testing.assert_array_equal(got.confusion, sklearn.confusion_matrix(labels, probabilities.argmax(1)))
    recorded = trained.classifier.metrics["test"]
    assert (recorded["accuracy"], recorded["loss"]) == (got.accuracy, got.loss)


def test_all_splits_together(trained):
    assert trained.classifier.evaluate(trained.cache, split="all").count == 18 + 9 + 12


def test_by_default_the_cache_it_was_trained_on_is_scored(trained, saved):
    loaded = Classifier.load(saved)
    assert loaded.evaluate(split="val").accuracy == trained.classifier.metrics["val"]["accuracy"]
    gone = replace(loaded, provenance={**loaded.provenance, "cache": "/nowhere/photos.h5"})
    with pytest.raises(MissingFileError, match=r"/nowhere/photos\.h5, is gone; name one with --cache"):
        gone.evaluate()


def relabelled(trained, names: tuple[str, ...]):
    """The same photos as a source that counts its classes in another order."""
    data = open_dataset(str(trained.photos))
    records = [
        replace(record, label=names.index(data.classes[record.label]))
        for record in data.records
        if data.classes[record.label] in names
    ]
    return replace(data, classes=names, records=records)


@pytest.mark.parametrize("names", [("owl", "cat", "dog"), ("dog", "cat")], ids=["other order", "fewer"])
def test_classes_are_matched_by_name(trained, network, tmp_path, names):
    other = extract(relabelled(trained, names), backbone=network, output=tmp_path / "other.h5")
    assert other.cache.classes == names
    got = trained.classifier.evaluate(other)
    want = trained.classifier.evaluate(trained.cache)
    assert [c.name for c in got.classes] == ["cat", "dog", "owl"]
    for mine, theirs in zip(got.classes, want.classes, strict=True):
        if mine.name in names:
            assert (mine.recall, mine.support) == (theirs.recall, theirs.support)
        else:
            assert mine.support == 0


def test_a_class_that_the_classifier_does_not_know_is_named(trained, network, tmp_path):
    data = replace(open_dataset(str(trained.photos)), classes=("cat", "dog", "emu"))
    other = extract(data, backbone=network, output=tmp_path / "other.h5")
    with pytest.raises(
        UsageError, match="classes this classifier does not know: emu; it knows cat, dog, owl"
    ):
        trained.classifier.evaluate(other)


def test_features_of_another_recipe_are_refused_with_the_difference(trained, network, tmp_path):
    half = extract(trained.photos, backbone=network, dtype="float16", output=tmp_path / "half.h5")
    with pytest.raises(IdentityError) as refused:
        trained.classifier.evaluate(half)
    says = (
        "half.h5 holds other features than this classifier was trained on (stored_dtype: float16 in the cache, float32 "
        f"asked for). Score the photos themselves, featcache evaluate CLASSIFIER {trained.photos}, or make their "
        f"features with its network, featcache extract {trained.photos} --backbone CLASSIFIER --layer pool"
    )
    assert str(refused.value).endswith(says)
    assert refused.value.exit_code == 4


def test_a_cache_without_the_layer_is_refused(trained, network, tmp_path):
    stem = extract(trained.photos, backbone=network, layers=("stem",), output=tmp_path / "stem.h5")
    with pytest.raises(
        IdentityError, match="layers: stem:avg, image:statistics in the cache, pool asked for"
    ):
        trained.classifier.evaluate(stem)


# Damage -----------------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_the_numbers_is_found(saved):
    data = bytearray((saved / TENSORS).read_bytes())
    data[-5] ^= 1
    (saved / TENSORS).write_bytes(data)
    with pytest.raises(
        IntegrityError, match=r"head\.safetensors is missing, damaged or of another classifier"
    ):
        Classifier.load(saved)


def test_missing_numbers_are_found(saved):
    (saved / TENSORS).unlink()
    with pytest.raises(IntegrityError, match=r"head\.safetensors is missing.*train the head again"):
        Classifier.load(saved)


def test_an_edited_document_is_found(saved):
    text = (saved / DOCUMENT).read_text()
    assert text.count('"cat"') == 1
    (saved / DOCUMENT).write_text(text.replace('"cat"', '"cow"'))
    with pytest.raises(IntegrityError, match="does not match its checksum: damaged or edited by hand"):
        Classifier.load(saved)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"format": "featcache-classifier"}', b"1" * 9]
)
def test_a_document_that_is_none_is_damaged(saved, text):
    (saved / DOCUMENT).write_bytes(text)
    with pytest.raises(IntegrityError, match=r"classifier\.json is damaged: not a classifier's document"):
        Classifier.load(saved)


def test_a_newer_version_says_upgrade(saved):
    document = json.loads((saved / DOCUMENT).read_text()) | {"format_version": 2}
    (saved / DOCUMENT).write_text(json.dumps(document))
    with pytest.raises(
        IntegrityError, match="has format version 2, this featcache reads 1: upgrade featcache"
    ):
        Classifier.load(saved)


def test_a_folder_without_a_classifier(tmp_path):
    with pytest.raises(MissingFileError, match=r"no classifier in .*\(no classifier\.json\); train one with"):
        Classifier.load(tmp_path)


# Replacing --------------------------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_not_touched(trained, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("precious")
    (tmp_path / "file").write_text("precious")
    reasons = {
        "photos": "exists and is no classifier; choose another",
        "file": "is a file, expected a folder",
    }
    for name, reason in reasons.items():
        with pytest.raises(UsageError, match=f"{name} {reason}"):
            trained.classifier.save(tmp_path / name)
    assert (tmp_path / "photos" / "a.jpg").read_text() == (tmp_path / "file").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "photos"]


def test_an_empty_folder_and_folders_that_do_not_exist_yet_are_fine(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/below"):
        assert trained.classifier.save(tmp_path / name) == tmp_path / name
        assert Classifier.load(tmp_path / name).classes == ("cat", "dog", "owl")


def test_an_earlier_classifier_is_replaced_whole(trained, saved):
    (saved / "notes.txt").write_text("of the earlier one")
    replace(trained.classifier, classes=("a", "b", "c")).save(saved)
    assert Classifier.load(saved).classes == ("a", "b", "c")
    assert sorted(p.name for p in saved.iterdir()) == [DOCUMENT, TENSORS]
    assert [p.name for p in saved.parent.iterdir()] == [saved.name], "nothing is left beside it"


def test_a_link_stays_and_what_it_leads_to_is_replaced(trained, saved):
    link = saved.with_name("latest")
    link.symlink_to(saved.name)
    replace(trained.classifier, classes=("a", "b", "c")).save(link)
    assert link.is_symlink()
    assert Classifier.load(saved).classes == ("a", "b", "c")


def test_the_working_directory_itself_can_be_the_folder(trained, saved, monkeypatch):
    monkeypatch.chdir(saved)
    replace(trained.classifier, classes=("a", "b", "c")).save(".")
    assert Classifier.load(saved).classes == ("a", "b", "c")


def test_a_place_below_a_file_cannot_be_written(trained, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        StorageError, match=r"output .*/file is a file, expected a folder or nothing; write else"
    ):
        trained.classifier.save(tmp_path / "file" / "c")
