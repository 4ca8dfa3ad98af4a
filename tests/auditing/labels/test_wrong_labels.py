"""Flipped labels are found, by heads that have not learnt from them; the estimated share of them holds the truth."""

from pathlib import Path

import numpy as np
import pytest
from helpers.audited import NAMES, flipped, flipped_cache, made_classes
from helpers.feature_caches import feature_cache
from sklearn.linear_model import LogisticRegression

from featcache.auditing.labels import held_out as held_out_module
from featcache.auditing.labels.confident import label_quality
from featcache.auditing.labels.held_out import FOLDS, held_out
from featcache.auditing.labels.wrong_labels import find_wrong_labels
from featcache.auditing.material import Audited, TooFewPhotosError
from featcache.errors import UsageError
from featcache.heads.scaling import divisors


def test_flipped_labels_come_first_with_the_right_class_and_photos_that_say_so(tmp_path: Path) -> None:
    cache, wrong = flipped_cache(tmp_path / "a.h5")
    found = find_wrong_labels(Audited(cache))
    first = found.entries[: len(wrong)]
    assert {entry.row for entry in first} == set(wrong.tolist())
    truth = made_classes(240)[1]
    for entry in first:
        assert entry.suggested == NAMES[truth[entry.row]] != entry.label
        assert entry.leave_out == ((entry.row,) if entry.certain else ())
        assert f"labelled {entry.label}" in entry.why
        assert len(entry.resembles) == 3
        assert entry.row not in {near.row for near in entry.resembles}
    certain = {entry.row for entry in found.entries if entry.certain}
    assert certain <= set(wrong.tolist())
    assert len(certain) >= len(wrong) / 2
    low, high = found.figures["interval"]
    assert low <= 0.05 <= high
    assert f"{len(certain)} labels of 240 probably wrong" in found.finding
    scores = [entry.score for entry in found.entries]
    assert scores == sorted(scores, reverse=True)
    assert 0 < len(scores) < 240
    assert sum(own["certain"] for own in found.figures["by_class"].values()) == len(certain)


def test_probabilities_are_those_of_scikit_learn_on_the_same_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out_module, "TOLERANCE", 1e-7)
    features, labels = made_classes(240, apart=2.0)
    rows = Audited(feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 240))
    found = held_out(rows)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for fold in range(FOLDS):
        held = found.fold_of == fold
        own = unit[~held].astype(np.float64)
        spread = divisors("unit", own.var(axis=0), own.mean(axis=0), np.array(float(len(own))))
        oracle = LogisticRegression(C=found.strength, tol=1e-8, max_iter=5000)
        oracle.fit((own - own.mean(axis=0)) / spread, labels[~held])
        expected = oracle.predict_proba((unit[held] - own.mean(axis=0)) / spread)
        # Both stop near the optimum: float32 and a tolerance of 1e-7 leave a few 1e-4.
        np.testing.assert_allclose(found.probabilities[held], expected, atol=2e-3)


def test_a_copy_does_not_tell_the_label_of_its_twin(tmp_path: Path) -> None:
    features, labels = made_classes(240, apart=0.0)  # nothing to learn but the copies
    features[120:], labels[120:] = features[:120], labels[:120]
    images = [*range(120), *range(120)]
    rows = Audited(feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 240, images=images))
    found = held_out(rows)
    assert (found.fold_of[:120] == found.fold_of[120:]).all()
    own = found.probabilities[np.arange(240), labels]
    assert own.mean() == pytest.approx(1 / 3, abs=0.1)


def test_labels_of_which_a_photo_has_several(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    has = random.random((240, 3)) < 0.4
    features = (has @ np.eye(3, 12) * 6 + random.normal(size=(240, 12))).astype(np.float32)
    features[:, -1] += 6  # of length 1, photos without labels would point anywhere
    given = has.copy()
    given[[3, 50], 1] ^= True
    given[120, 2] ^= True
    cache = feature_cache(tmp_path / "a.h5", features, given, ["train"] * 240, task="answers")
    found = find_wrong_labels(Audited(cache))
    assert {3, 50, 120} <= {entry.row for entry in found.entries[:5]}
    certain = [entry for entry in found.entries if entry.certain and entry.row in (3, 50)]
    assert certain
    for entry in certain:
        names = [name for name, own in zip(NAMES, has[entry.row], strict=True) if own]
        assert entry.suggested == (", ".join(names) or "no label")
        assert entry.why.startswith("has bee" if given[entry.row, 1] else "lacks bee")
    assert "240 photos with 3 labels each" in found.finding
    assert found.figures["by_class"]["bee"]["certain"] >= len(certain)


def test_numbers_are_ranked_by_what_other_photos_say(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(120, 6)).astype(np.float32)
    numbers = np.stack([features[:, 0] * 3 + 10, features[:, 1]], axis=1) + random.normal(size=(120, 2)) * 0.1
    numbers[[7, 70], [0, 1]] += [25, -8]
    cache = feature_cache(
        tmp_path / "a.h5", features, numbers, ["train"] * 120, task="numbers", classes=("age", "size")
    )
    found = find_wrong_labels(Audited(cache))
    assert [entry.row for entry in found.entries[:2]] in ([7, 70], [70, 7])
    by_row = {entry.row: entry for entry in found.entries}
    assert by_row[7].why.startswith("age ")
    assert by_row[70].why.startswith("size ")
    assert by_row[7].suggested.startswith("age ")
    assert float(by_row[7].suggested.split()[1]) == pytest.approx(numbers[7, 0] - 25, abs=1)
    assert not found.certain
    assert "nothing is called certain" in found.meaning


def test_classes_of_few_photos_are_not_judged_and_too_few_refused(tmp_path: Path) -> None:
    features, labels = made_classes(240)
    labels[(labels == 2) & (np.arange(240) > 10)] = 1
    cache = feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 240)
    found = find_wrong_labels(Audited(cache))
    assert found.figures["not_judged"] == ["cat"]
    assert "(cat)" in found.meaning
    assert "cat" not in {entry.label for entry in found.entries}
    few = feature_cache(tmp_path / "b.h5", features[:9], labels[:9], ["train"] * 9)
    with pytest.raises(
        TooFewPhotosError, match="two classes of 5 different photos or more are needed; leave"
    ):
        find_wrong_labels(Audited(few))


def test_an_unlabelled_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Audited(feature_cache(tmp_path / "a.h5", np.ones((4, 2), np.float32), [0, 1, 0, 1], ["train"] * 4))
    monkeypatch.setitem(rows.cache.identity["dataset"], "task", "unlabelled")
    with pytest.raises(UsageError, match="a search for wrong labels needs them"):
        find_wrong_labels(rows)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
def test_the_interval_of_the_share_holds_the_truth(share: float) -> None:
    """Of seeded flips, 40 draws each: a 95 % interval misses more than 5 of 40 with a probability of 1.4 %."""
    held = 0
    for seed in range(40):
        x, truth = made_classes(400, seed=seed, apart=4.0)
        given, _ = flipped(truth, share, seed=seed)
        fold = np.random.default_rng(seed).permutation(400) % 4
        probabilities = np.zeros((400, 3))
        for number in range(4):
            # Linear discriminants: a head of its own, so that this tests the interval and not the solver.
            own = fold != number
            means = np.stack([x[own & (given == label)].mean(axis=0) for label in range(3)])
            logits = x @ means.T - (means**2).sum(axis=1) / 2
            odds = np.exp(0.5 * (logits - logits.max(axis=1, keepdims=True)))
            probabilities[~own] = (odds / odds.sum(axis=1, keepdims=True))[~own]
        low, high = label_quality(given, probabilities).interval()
        held += low <= (given != truth).mean() <= high
    assert held >= 35
