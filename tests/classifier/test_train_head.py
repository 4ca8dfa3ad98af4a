"""Which rows train, validate and test; what is measured and recorded; what is refused."""

import inspect
from dataclasses import fields

import numpy as np
import pytest
from helpers.feature_caches import RECIPE, accept_any_number, blobs, feature_cache
from scipy import optimize, special
from sklearn import metrics as sklearn
from sklearn.metrics import log_loss

from featcache import Classifier, train_head
from featcache.classifier import evaluation
from featcache.classifier import train_head as module
from featcache.classifier.calibration import PRIOR_DEVIATION
from featcache.classifier.train_head import Settings
from featcache.classifier.view_features import feature_table
from featcache.core.schema import Setting
from featcache.errors import DataError, MissingFileError, UnknownNameError, UsageError
from featcache.heads.feature_table import StreamedTable
from featcache.splits.selection import SplitSpec, select_rows

EPOCHS = 25


@pytest.fixture
def cache(tmp_path):
    """60 training and 30 test rows, no validation split."""
    features, labels = blobs(90)
    return feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 60 + ["test"] * 30)


@pytest.mark.parametrize("head", ["linear", "ridge", "knn"])
def test_a_head_that_reads_its_rows_from_the_cache_is_that_of_rows_in_memory(large, monkeypatch, head):
    own = {"output": None, "head": head, "seed": 3} | ({"epochs": 4} if head == "linear" else {})
    in_memory = train_head(large, **own)
    read: list[int] = []

    def streamed(cache, rows, layer, views=1):
        read.append(len(rows))
        table = feature_table(cache, rows, layer, views, memory=1)
        assert isinstance(table, StreamedTable)
        return table

    monkeypatch.setattr(module, "feature_table", streamed)
    from_cache = train_head(large, **own)
    assert len(read) >= 1
    assert from_cache.metrics == in_memory.metrics
    for name, value in in_memory.parameters.items():
        np.testing.assert_array_equal(from_cache.parameters[name], value)


def test_answers_that_are_read_in_blocks_are_those_of_all_rows_at_once(large, monkeypatch):
    classifier = train_head(large, output=None, head="prototype")
    whole = classifier.evaluate(large)
    monkeypatch.setattr(evaluation, "_BLOCK_BYTES", 4 * 12 * 7)  # 7 rows of 12 numbers
    parts = classifier.evaluate(large)
    # A product of 7 rows is summed in another order than one of 120.
    np.testing.assert_allclose(parts.images.probabilities, whole.images.probabilities, atol=1e-6)
    assert (parts.accuracy, parts.unlike) == (whole.accuracy, whole.unlike)


# Training ---------------------------------------------------------------------------------------------------


def test_a_head_learns_and_its_scores_are_those_of_scikit_learn(cache, tmp_path):
    classifier = train_head(cache, output=tmp_path / "head", epochs=EPOCHS, learning_rate=0.05)
    rows = select_rows(cache, SplitSpec())
    # Validation rows judge the head before it has learnt from them.
    for split, own, part in (
        ("val", classifier.before_refit(), rows.val),
        ("test", classifier, rows.test),
    ):
        probabilities = own.probabilities(cache.features(part)).astype(np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32's sums are 1 to 1e-7 only
        got = classifier.metrics[split]
        assert got["accuracy"] == sklearn.accuracy_score(cache.labels[part], probabilities.argmax(1))
        want = sklearn.log_loss(cache.labels[part], probabilities)
        np.testing.assert_allclose(got["loss"], want, rtol=1e-5)  # float32 probabilities
    assert classifier.metrics["test"]["accuracy"] > 0.8

    training = classifier.training
    losses = training["history"]["val_loss"]
    assert len(losses) == training["epochs_run"] <= EPOCHS
    assert training["best_epoch"] == 1 + int(np.argmin(losses))
    # The recorded loss of the best epoch is that of the head that was kept; rounded to 6 digits.
    plain = train_head(cache, output=None, epochs=EPOCHS, learning_rate=0.05, calibrate=False)
    np.testing.assert_allclose(plain.metrics["val"]["loss"], min(losses), rtol=1e-4)
    assert training["validation"] == "0.2 of train, stratified, seed 0"
    assert Classifier.load(tmp_path / "head").training == training


def test_everything_that_made_the_head_is_recorded(cache):
    classifier = train_head(cache, output=None, epochs=EPOCHS, learning_rate=0.05, seed=7)
    assert classifier.backbone == "mobilenet_v2.tv_in1k"
    assert (classifier.layer, classifier.fingerprint) == ("pool", RECIPE.fingerprint("pool"))
    assert classifier.recipe == RECIPE.to_json()
    assert classifier.classes == ("ant", "bee", "cat")
    given = {field.name: classifier.training[field.name] for field in fields(Settings)}
    wanted = vars(Settings(epochs=EPOCHS, learning_rate=0.05, weight_decay=0.1, seed=7))
    assert given == wanted | {"hidden": list(wanted["hidden"])}  # as JSON knows it
    assert classifier.provenance["cache"] == str(cache.path.resolve())
    assert classifier.provenance["rows_sha256"] == cache.identity["rows"]["sha256"]


def test_the_same_seed_gives_the_same_head(cache):
    first, again, other = (train_head(cache, output=None, epochs=EPOCHS, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.parameters["kernel"], again.parameters["kernel"])
    # Fitted again on all rows, which are one batch, both are the same; other rows were held out before.
    np.testing.assert_allclose(first.parameters["kernel"], other.parameters["kernel"], atol=1e-5)
    assert np.abs(first.judged["kernel"] - other.judged["kernel"]).max() > 1e-4


# How sure it may be -----------------------------------------------------------------------------------------

UNSURE = {"head": "ridge", "l2": 1.0}
"""Its outputs are near 0 and 1: as logits they say little, however right they are."""


@pytest.fixture
def large(tmp_path):
    """400 rows: 160 to learn from, 120 of validation, 120 to test."""
    features, labels = blobs(400)
    splits = ["train"] * 160 + ["val"] * 120 + ["test"] * 120
    return feature_cache(tmp_path / "large.h5", features, labels, splits)


def test_the_temperature_is_the_one_that_makes_the_validation_rows_likeliest(large):
    classifier = train_head(large, output=None, reject_accuracy=0.8, refit=False, **UNSURE)
    plain = train_head(large, output=None, calibrate=False, refit=False, **UNSURE)
    val, test = ({"x": large.arrays(part)[0], "y": large.arrays(part)[1]} for part in ("val", "test"))

    def loss(beta: float) -> float:
        own = log_loss(val["y"], special.softmax(beta * np.float64(plain.logits(val["x"])), axis=1))
        return own + np.log(beta) ** 2 / (2 * PRIOR_DEVIATION**2 * len(val["y"]))

    found = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9})
    calibration = classifier.calibration
    assert calibration.temperature == pytest.approx(1 / found.x, rel=1e-4)  # a minimum is flat
    assert calibration.temperature < 0.5
    assert calibration.count == 120
    assert calibration.error_after < calibration.error_before
    # Scores are those of calibrated probabilities, and no prediction has changed.
    want = special.softmax(np.float64(plain.logits(test["x"])) / calibration.temperature, axis=1)
    assert classifier.metrics["test"]["loss"] == pytest.approx(log_loss(test["y"], want), rel=1e-4)
    assert classifier.metrics["test"]["loss"] < plain.metrics["test"]["loss"]
    assert classifier.metrics["test"]["accuracy"] == plain.metrics["test"]["accuracy"]
    assert calibration.error_after == pytest.approx(classifier.metrics["val"]["calibration_error"])
    assert calibration.error_before == pytest.approx(plain.metrics["val"]["calibration_error"])
    assert calibration.threshold is not None
    kept = classifier.evaluate(large, "val").rejection
    assert kept == calibration.rejection, "the validation rows themselves"


def test_every_row_calibrates_once_and_none_is_said(cache):
    few, none = (train_head(cache, output=None, epochs=EPOCHS, val_fraction=share) for share in (0.2, 0.0))
    assert few.calibration.count == none.calibration.count == 60
    plain = train_head(cache, output=None, epochs=EPOCHS, val_fraction=0.0, refit=False)
    assert plain.calibration.note == "no rows were held out to calibrate with"
    plain = train_head(cache, output=None, epochs=EPOCHS, calibrate=False)
    assert plain.calibration.note == "it was not asked for"


@pytest.mark.parametrize("accuracy", [0, 1, 1.5, float("nan")])
def test_an_accuracy_that_cannot_be_promised_is_refused_before_training(cache, accuracy):
    with pytest.raises(UsageError, match=r"reject_accuracy .*: expected above 0 and below 1, such as 0\.99"):
        train_head(cache, output=None, reject_accuracy=accuracy)


def test_no_output_writes_nothing(cache, tmp_path):
    before = sorted(tmp_path.iterdir())
    train_head(cache.path, output=None, epochs=EPOCHS)
    assert sorted(tmp_path.iterdir()) == before


def test_a_step_size_that_diverges_at_once_says_what_to_try(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(Setting, "require_sensible", lambda self, value: None)
    with pytest.raises(DataError, match=r"diverged at once \(learning rate 3e\+38\); try a tenth"):
        train_head(cache, output=tmp_path / "head", epochs=EPOCHS, learning_rate=3e38)
    assert not (tmp_path / "head").exists()


def test_maps_are_flattened(tmp_path):
    features, labels = blobs(90)
    cache = feature_cache(
        tmp_path / "x.h5",
        features.reshape(90, 2, 2, 3),
        labels,
        ["train"] * 60 + ["test"] * 30,
        layer="top:map",
    )
    flat = feature_cache(tmp_path / "flat.h5", features, labels, ["train"] * 60 + ["test"] * 30)
    maps, vectors = (train_head(c, output=None, epochs=EPOCHS) for c in (cache, flat))
    np.testing.assert_array_equal(maps.parameters["kernel"], vectors.parameters["kernel"])
    got = maps.probabilities(features.reshape(90, 2, 2, 3))
    np.testing.assert_array_equal(got, vectors.probabilities(features))


@pytest.mark.parametrize(
    ("backbone", "recorded", "kept"),
    [
        ("mobilenet_v2.tv_in1k", "/w/published.pth", None),
        ("mobilenet_v2.custom", "/w/mine.pth", "/w/mine.pth"),
        ("mobilenet_v2.random", None, "random"),
    ],
)
def test_a_classifier_knows_where_weights_are_that_its_backbones_name_does_not_say(
    tmp_path, backbone, recorded, kept
):
    features, labels = blobs(90)
    splits = ["train"] * 60 + ["test"] * 30
    cache = feature_cache(tmp_path / "x.h5", features, labels, splits, backbone=backbone, weights=recorded)
    assert train_head(cache, output=None, epochs=EPOCHS).weights == kept


# Mistakes ---------------------------------------------------------------------------------------------------


def codes(classifier) -> list[str]:
    return [found["code"] for found in classifier.training["warnings"]]


SPLIT = ["train"] * 160 + ["val"] * 40 + ["test"] * 40
QUICK = {"output": None, "head": "prototype"}


def test_good_rows_have_no_warnings(tmp_path):
    features, labels = blobs(240)
    assert codes(train_head(feature_cache(tmp_path / "x.h5", features, labels, SPLIT), **QUICK)) == []


def test_shuffled_labels_are_found(tmp_path):
    features, labels = blobs(240)
    shuffled = np.random.default_rng(0).permutation(labels)
    classifier = train_head(feature_cache(tmp_path / "x.h5", features, shuffled, SPLIT), **QUICK)
    assert codes(classifier) == ["chance-level"]
    assert "check whether labels are shuffled" in classifier.training["warnings"][0]["message"]


def test_features_that_say_nothing_are_found(tmp_path):
    features, labels = blobs(240)
    features[:, :7] = 3.0
    mostly = train_head(feature_cache(tmp_path / "x.h5", features, labels, SPLIT), **QUICK)
    assert codes(mostly) == ["constant-features"]
    assert "7 of 12 features are constant over 160 training rows" in mostly.training["warnings"][0]["message"]
    features[:] = features[0]
    same = train_head(feature_cache(tmp_path / "y.h5", features, labels, SPLIT), **QUICK)
    # And so is that the head is right no more often than a guess, in validation and test rows.
    assert codes(same)[0] == "same-rows"
    assert set(codes(same)[1:]) <= {"below-chance"}


def test_images_on_both_sides_of_a_split_are_found(tmp_path):
    features, labels = blobs(240)
    images = np.arange(240)
    images[200:203], images[160] = (3, 4, 5), 0  # three test images and one of validation are training images
    features[200:203], labels[200:203] = features[3:6], labels[3:6]
    cache = feature_cache(tmp_path / "x.h5", features, labels.tolist(), SPLIT, images=images.tolist())
    val, test = train_head(cache, **QUICK).training["warnings"]
    assert (val["code"], test["code"]) == ("leak", "leak")
    assert "1 of 40 val rows are copies of train rows (val/160.jpg = train/0.jpg)" in val["message"]
    assert "3 of 40 test rows are copies of train rows (test/200.jpg = train/3.jpg, " in test["message"]


def test_one_image_with_two_labels_is_found(tmp_path):
    features, labels = blobs(240)
    images = [*range(159), 0, *range(160, 240)]
    assert labels[0] == labels[159], "a copy of the same class contradicts nothing"
    cache = feature_cache(tmp_path / "x.h5", features, labels, SPLIT, images=images)
    assert codes(train_head(cache, **QUICK)) == []
    labels[159] = 1
    torn = feature_cache(tmp_path / "y.h5", features, labels, SPLIT, images=images)
    (found,) = train_head(torn, **QUICK).training["warnings"]
    assert found["code"] == "conflicting-labels"
    assert (
        "in train more than once with different labels (train/0.jpg (ant) = train/159.jpg (bee))"
        in found["message"]
    )


def test_rare_classes_are_found_unless_they_are_weighted(tmp_path):
    features, labels = blobs(240)
    rare = np.flatnonzero(labels[:160] == 2)
    five, six = (np.setdiff1d(np.arange(240), rare[many:]) for many in (5, 6))
    caches = [
        feature_cache(
            tmp_path / f"{len(keep)}.h5", features[keep], labels[keep], [SPLIT[row] for row in keep]
        )
        for keep in (five, six)
    ]
    # 54 ants: ten times as many as 5 cats, not as 6.
    (found,) = train_head(caches[0], **QUICK).training["warnings"]
    assert found["code"] == "imbalance"
    assert "class ant has 54 train rows and cat 5, 11 times fewer; use class weights" in found["message"]
    assert codes(train_head(caches[0], class_weights="balanced", **QUICK)) == []
    assert codes(train_head(caches[1], **QUICK)) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [7, 170, 230], ids=["train", "val", "test"])
def test_rows_that_are_no_numbers_are_refused_by_name(tmp_path, monkeypatch, row, bad):
    accept_any_number(monkeypatch)
    features, labels = blobs(240)
    features[row, 3] = bad
    cache = feature_cache(tmp_path / "x.h5", features, labels, SPLIT)
    says = rf"1 of \d+ rows of .*x\.h5, layer pool, hold NaN or infinity \({SPLIT[row]}/{row}\.jpg\); extract again"
    with pytest.raises(DataError, match=says):
        train_head(cache, output=tmp_path / "head", head="linear")
    assert not (tmp_path / "head").exists()


# Refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("learning_rate", 0, "learning_rate 0: expected above 0"),
        ("learning_rate", float("nan"), "learning_rate nan: expected above 0"),
        ("weight_decay", -1, "weight_decay -1: expected 0 or above"),
        ("label_smoothing", 1, r"label_smoothing 1: expected in 0\.\.1"),
        ("batch_size", 0, "batch_size 0: expected at least 1"),
        ("epochs", 0, "epochs 0: expected at least 1"),
        ("patience", 0, "patience 0: expected at least 1"),
        ("val_fraction", 1, r"val_fraction 1: expected in 0\.\.1"),
        ("seed", -1, r"seed -1: expected in 0\.\.2\^32"),
        ("head", "liner", r"no head 'liner' for a multiclass task; did you mean 'linear'\?"),
        ("loss", "squared", "no loss 'squared' for a multiclass task; known: softmax, sigmoid"),
        ("optimizer", "adan", "no optimizer 'adan'; did you mean 'adam' or 'adamw'"),
    ],
)
def test_values_that_cannot_work(cache, setting, value, says):
    with pytest.raises(UsageError, match=says):
        train_head(cache, output=None, **{setting: value})


def test_a_layer_that_the_cache_lacks(cache):
    with pytest.raises(UnknownNameError, match=r"x\.h5 holds no layer 'pol'; did you mean 'pool'"):
        train_head(cache, output=None, layer="pol")


def test_a_missing_cache_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingFileError, match=r"no cache .*none\.h5; make one with: featcache extract"):
        train_head(tmp_path / "none.h5")


def test_settings_have_the_defaults_of_train_head():
    signature = inspect.signature(train_head).parameters
    usual = dict.fromkeys(("head", "loss", "scaling", "epochs", "patience", "weight_decay", "c", "l2"))
    assert {f.name: f.default for f in fields(Settings)} | usual == {
        f.name: signature[f.name].default for f in fields(Settings)
    }
