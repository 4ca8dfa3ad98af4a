"""What an audit of very many rows does otherwise: smaller draws, less evidence, and it says how long it takes."""

from pathlib import Path

import numpy as np
import pytest
from helpers.audited import flipped, made_classes
from helpers.feature_caches import feature_cache

from featcache.auditing import audit as audit_module
from featcache.auditing import duration, evidence, outliers
from featcache.auditing.audit import LISTS, audit
from featcache.auditing.duration import expected_seconds, multiplications
from featcache.auditing.labels import confident
from featcache.auditing.labels.confident import label_quality
from featcache.auditing.material import Audited
from featcache.auditing.smallest import smallest
from featcache.core.progress import Progress


@pytest.mark.parametrize("classes", [2, 7])
def test_labels_are_judged_as_by_cleanlab_whatever_the_blocks(
    monkeypatch: pytest.MonkeyPatch, classes: int
) -> None:
    from cleanlab import count, filter, rank

    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 600)
    truth, _ = flipped(labels, 0.1)
    logits = random.normal(size=(600, classes)) + 3 * np.eye(classes)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities[:40] = 1 / classes  # all as probable: no label is wrong for that
    monkeypatch.setattr(confident, "_BLOCK_BYTES", 8 * classes * 70)
    found = label_quality(labels, probabilities)
    np.testing.assert_array_equal(
        found.wrong, filter.find_label_issues(
            labels, probabilities, filter_by="confident_learning", n_jobs=1, min_examples_per_class=0
        ),
    )  # fmt: skip
    assert 10 < found.wrong.sum() < 200
    np.testing.assert_array_equal(found.joint, count.estimate_joint(labels, probabilities))
    assert found.confident == count.compute_confident_joint(labels, probabilities, calibrate=False).sum()
    np.testing.assert_array_equal(
        found.quality, rank.get_label_quality_scores(labels, probabilities, method="self_confidence")
    )


def test_of_very_many_photos_draws_are_smaller_and_fewer_entries_come_with_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [outliers.compared(rows) for rows in (1, 100_000, 200_000, 10**6)] == [4000, 4000, 2000, 1000]
    assert [evidence.shown(rows) for rows in (1, 100_000, 200_000, 10**6)] == [1000, 1000, 500, 200]
    features, labels = made_classes(240)
    rows = Audited(feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 240))
    monkeypatch.setattr(evidence, "LEAST_SHOWN", 7)
    monkeypatch.setattr(evidence, "COMPARISONS", 240 * 9)
    near = evidence.nearest_as_evidence(rows, np.arange(20))
    assert [len(own) for own in near] == [3] * 9 + [0] * 11


def test_how_long_it_takes_is_said_beforehand_where_that_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = made_classes(240)
    cache = feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 240)
    assert expected_seconds(Audited(cache), LISTS) == 0
    told: list[Progress] = []
    audit(cache, only="imbalance,outliers", on_progress=told.append)
    assert not any(own.expected_s for own in told)
    monkeypatch.setattr(duration, "LONG", 100)
    monkeypatch.setattr(duration, "_rate", lambda width: 1000.0)
    told.clear()
    audit(cache, only="imbalance,outliers", on_progress=told.append)
    # 80 photos of each class with each other, and all with all for their evidence; twice that for what is beside it.
    products = 12 * (3 * 80 * 80 + 240 * evidence.shown(240))
    assert multiplications(Audited(cache), ["outliers"]) == products
    assert [own.expected_s for own in told if own.expected_s] == [2 * products / 1000]
    assert told[0].expected_s > audit_module._WORTH_SAYING
    assert "outliers" in {own.stage for own in told}


def test_the_estimate_grows_with_the_rows_and_not_with_their_square(tmp_path: Path) -> None:
    class Many:
        """A stand-in of which only the size is asked."""

        task, width, classes = "multiclass", 1280, ("a", "b")

        def __init__(self, count: int) -> None:
            self.count, self.labels = count, np.arange(count) % 2

        def __len__(self) -> int:
            return self.count

    half, whole = (multiplications(Many(count), LISTS) for count in (500_000, 1_000_000))
    assert half < whole < 2.5 * half


@pytest.mark.parametrize("width", [6, 31, 700, 1000])
def test_the_smallest_numbers_of_rows_are_those_of_a_sort(width: int) -> None:
    random = np.random.default_rng(width)
    values = random.integers(0, 400, (50, width)).astype(np.float32)  # with equal ones
    values[0] = np.inf
    for count in (1, 6):
        np.testing.assert_array_equal(smallest(values, count), np.sort(values, axis=1)[:, :count])
