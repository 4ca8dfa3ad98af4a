"""What a sweep keeps of the head that it has chosen: the classifier that train-head makes with the same settings."""

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import Classifier, sweep, train_head


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    features, labels = blobs(400)
    splits = ["train"] * 160 + ["val"] * 120 + ["test"] * 120
    return feature_cache(tmp_path_factory.mktemp("choosing") / "x.h5", features, labels.tolist(), splits)


@pytest.mark.parametrize("refit", [False, True], ids=["judged", "refitted"])
def test_the_chosen_head_is_calibrated_on_rows_that_it_has_not_learnt_from(cache, tmp_path, refit):
    made = sweep(cache, output=tmp_path / "val", head="ridge", l2="1", refit=refit)
    kept = Classifier.load(made.classifier or "")
    alone = train_head(cache, output=None, head="ridge", l2=1.0, refit=refit)
    # The same head from the same rows, in another program: float32's last digits.
    assert kept.calibration.temperature == pytest.approx(alone.calibration.temperature, rel=1e-3)
    assert kept.calibration.temperature < 0.5, "ridge's outputs are no logits"
    assert kept.calibration.count == (280 if refit else 120)
    assert kept.calibration.note == alone.calibration.note
    test = kept.evaluate(cache)
    assert kept.metrics["test"]["loss"] == pytest.approx(test.loss), "scores are of calibrated probabilities"
    assert test.loss == pytest.approx(alone.metrics["test"]["loss"], rel=1e-3)


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    """A cache with statistics that beat its features, a rare class, and a training image among the test images."""
    features, labels = blobs(400)
    rare = np.flatnonzero(labels[:160] == 2)[4:]
    keep = np.setdiff1d(np.arange(400), rare)
    splits = np.array(["train"] * 160 + ["val"] * 120 + ["test"] * 120)[keep]
    statistics = np.pad(features, ((0, 0), (0, 54 - features.shape[1])))[keep]
    noise = np.random.default_rng(1).normal(0, 9, features.shape).astype(np.float32)
    images = np.arange(len(keep))
    images[-1] = 0
    return feature_cache(
        tmp_path_factory.mktemp("flawed") / "x.h5",
        (features + noise)[keep],
        labels[keep].tolist(),
        splits.tolist(),
        statistics=statistics,
        images=images.tolist(),
    )


def rounded(value, name=""):
    """Numbers to about float32's last digits but two; times and places of one run left out."""
    if isinstance(value, dict):
        return {key: rounded(own, key) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(own) for own in value]
    return pytest.approx(value, rel=1e-3, abs=1e-4) if isinstance(value, float) else value


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "given",
    [
        {"head": "ridge", "l2": 1.0},
        pytest.param({"head": "logistic", "c": 1.0}, marks=pytest.mark.slow, id="logistic"),
        {"head": "knn", "neighbours": 5},
        {"head": "linear", "learning_rate": 0.01, "epochs": 3, "batch_size": 32},
    ],
    ids=lambda given: given["head"],
)
@pytest.mark.parametrize("which", ["cache", "flawed"])
def test_the_winner_is_the_classifier_that_train_head_makes(request, tmp_path, given, which):
    cache = request.getfixturevalue(which)
    result = sweep(cache, output=tmp_path / "sweep", **given)
    kept, alone = Classifier.load(result.classifier or ""), train_head(cache, output=None, **given)
    # The same head from the same rows, in another program: the order of float32 sums.
    assert kept.parameters.keys() == alone.parameters.keys()
    for name, value in alone.parameters.items():
        np.testing.assert_allclose(kept.parameters[name], value, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(kept.seen, alone.seen)
    assert kept.metrics == rounded(alone.metrics)
    assert kept.calibration.to_json() == rounded(alone.calibration.to_json())
    # A sweep fits many heads at once, so that none has a time of its own.
    assert kept.training.keys() - alone.training.keys() == {"sweep"}
    assert alone.training.keys() <= kept.training.keys()
    assert kept.training["seconds"] is None
    # Iterations are those of the longest of the heads that were fitted together.
    own = ("seconds", "selection", "history", "validation", "epochs_run")
    same = {key: value for key, value in alone.training.items() if key not in own}
    assert {key: kept.training[key] for key in same} == rounded(same)
    assert alone.training["selection"].items() <= kept.training["selection"].items()
    assert list(result.warnings) == [found["message"] for found in alone.training["warnings"]]
    codes = {found["code"] for found in kept.training["warnings"]}
    if which == "flawed":
        assert codes >= {"below-floor", "tiny-classes", "leak"}
        assert kept.training["image_floor"] == result.chosen.image_floor
        assert kept.training["image_floor"] > kept.metrics["val"]["accuracy"]
    else:
        told = {"unfinished"} if "epochs" in given else set()
        assert (codes, kept.training["image_floor"]) == (told, None)


def test_with_folds_a_classifier_is_warned_of_what_the_folds_showed(flawed, tmp_path):
    """Folds have no validation rows: accuracy and floor are means over them, and only test rows measure the head."""
    result = sweep(flawed, output=tmp_path / "folds", head="ridge", folds=3)
    kept = Classifier.load(result.classifier or "")
    # Trained on fewer rows and measured on others: only what is recorded is the same.
    alone = train_head(flawed, output=None, head="ridge")
    assert kept.training.keys() - alone.training.keys() == {"sweep"}
    assert alone.training.keys() <= kept.training.keys()
    assert kept.training["image_floor"] == result.chosen.image_floor
    assert kept.training["image_floor"] > result.chosen.entry.accuracy
    messages = {found["code"]: found["message"] for found in kept.training["warnings"]}
    assert f"{100 * result.chosen.entry.accuracy:.1f} % of the validation rows" in messages["below-floor"]
    assert "leak" in messages
    assert list(kept.metrics) == ["test"]


def test_the_test_rows_are_read_for_the_winner_alone(cache, tmp_path, monkeypatch):
    from featcache import FeatureCache

    opened, tests = FeatureCache(cache.path), []
    known = set(opened.rows_of("test").tolist())
    read = FeatureCache.features

    def features(self, rows, *given, **more):
        if known & set(np.asarray(rows).tolist()):
            tests.append(more.get("layer", given[0] if given else None))
        return read(self, rows, *given, **more)

    monkeypatch.setattr(FeatureCache, "features", features)
    sweep(opened, output=tmp_path / "out", head="ridge,prototype", l2="0.1,1,10", seeds=2)
    # For the accuracy of all its seeds, and for the scores of the saved one.
    assert tests == ["pool", "pool"]


def test_with_folds_each_row_calibrates_by_the_head_that_did_not_learn_from_it(cache, tmp_path):
    kept = Classifier.load(sweep(cache, output=tmp_path / "folds", head="ridge", folds=3).classifier or "")
    assert kept.training["refitted"] == {"images": 280, "folds": 3}
    assert kept.calibration.count == 280
    assert kept.calibration.temperature < 0.5, "ridge's outputs are no logits"
    x, _ = cache.arrays("test")
    np.testing.assert_allclose(kept.probabilities(x).sum(axis=1), 1, rtol=1e-5)
