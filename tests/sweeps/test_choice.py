"""What a sweep keeps of the head that it has chosen: how sure it may be, as train-head would have it."""

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import Classifier, sweep, train_head


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    features, labels = blobs(400)
    splits = ["train"] * 160 + ["val"] * 120 + ["test"] * 120
    return feature_cache(tmp_path_factory.mktemp("choosing") / "x.h5", features, labels.tolist(), splits)


def test_the_chosen_head_is_calibrated_on_the_rows_that_judged(cache, tmp_path):
    kept = Classifier.load(sweep(cache, output=tmp_path / "val", head="ridge", l2="1").classifier or "")
    alone = train_head(cache, output=None, head="ridge", l2=1.0)
    # The same head from the same rows, in another program: float32's last digits.
    assert kept.calibration.temperature == pytest.approx(alone.calibration.temperature, rel=1e-3)
    assert kept.calibration.temperature < 0.5, "ridge's outputs are no logits"
    assert kept.calibration.count == 120
    assert kept.calibration.note == alone.calibration.note
    test = kept.evaluate(cache)
    assert kept.metrics["test"]["loss"] == pytest.approx(test.loss), "scores are of calibrated probabilities"
    assert test.loss == pytest.approx(alone.metrics["test"]["loss"], rel=1e-3)


def test_with_folds_no_row_is_left_to_calibrate_with(cache, tmp_path):
    kept = Classifier.load(sweep(cache, output=tmp_path / "folds", head="ridge", folds=3).classifier or "")
    assert (kept.calibration.temperature, kept.calibration.threshold) == (1, None)
    assert kept.calibration.note == "with folds it has learnt from every row"
    x, _ = cache.arrays("test")
    assert not kept.unknown(kept.probabilities(x)).any()
    np.testing.assert_allclose(kept.probabilities(x).sum(axis=1), 1, rtol=1e-5)
