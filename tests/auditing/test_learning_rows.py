"""Very many rows: a draw of them that leaves no class out, heads that learn from it, and what they say of all."""

from pathlib import Path

import numpy as np
import pytest
from helpers.audited import flipped, made_classes
from helpers.feature_caches import feature_cache
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from featcache.auditing.labels import held_out as held_out_module
from featcache.auditing.labels.held_out import held_out
from featcache.auditing.labels.wrong_labels import find_wrong_labels
from featcache.auditing.learning_rows import draw_undone, drawn_evenly
from featcache.auditing.material import Audited


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 3))
def test_a_draw_is_as_large_as_may_be_and_takes_no_more_of_a_small_class_than_of_others(
    labels: list[int], most: int, seed: int
) -> None:
    strata = np.array(labels)
    drawn = drawn_evenly(strata, most, seed)
    assert (np.diff(drawn) > 0).all()
    has, got = (np.bincount(own, minlength=6) for own in (strata, strata[drawn]))
    share = got.max()
    np.testing.assert_array_equal(got, np.minimum(has, share))
    there = int((has > 0).sum())
    assert len(drawn) <= max(most, there)
    # One more of each would be too many, unless all are there.
    assert len(drawn) == len(strata) or np.minimum(has, share + 1).sum() > most
    np.testing.assert_array_equal(drawn, drawn_evenly(strata, most, seed))


def test_logits_of_a_draw_are_those_of_all_rows_once_it_is_undone() -> None:
    random = np.random.default_rng(0)
    y = (random.random(60_000) < 0.1).astype(int)
    x = random.normal(size=(len(y), 3)) + np.array([0.8, -0.5, 0.0]) * y[:, None]
    drawn = drawn_evenly(y, 8_000, 0)
    whole = LogisticRegression(C=1e6).fit(x, y)
    some = LogisticRegression(C=1e6).fit(x[drawn], y[drawn])
    shift = draw_undone(y, drawn, 2)
    bias = some.intercept_[0] + shift[1] - shift[0]
    assert abs(some.intercept_[0] - whole.intercept_[0]) > 1.5  # log 9 = 2.2, what the draw changes
    # Of 4,000 rows a class: the standard error of a bias is about 1 / sqrt(4000 * .2), 0.035.
    assert abs(bias - whole.intercept_[0]) < 0.15
    np.testing.assert_allclose(some.coef_, whole.coef_, atol=0.15)


def test_heads_that_learnt_from_a_draw_judge_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = made_classes(3000, apart=4.0)
    keep = (labels > 0) | (np.arange(3000) % 60 == 0)  # the first class is rare: 50 of 2,050
    features, labels = features[keep], labels[keep]
    wrong, which = flipped(labels, 0.03)
    rows = Audited(feature_cache(tmp_path / "a.h5", features, wrong, ["train"] * len(labels)))
    everything = held_out(rows)
    assert everything.learnt == len(rows)
    monkeypatch.setattr(held_out_module, "MOST_LEARNT", 900)
    monkeypatch.setattr(held_out_module, "_BLOCK_BYTES", 4 * 12 * 101)
    again = Audited(rows.cache)
    some = held_out(again)
    assert 800 < some.learnt <= 900
    np.testing.assert_array_equal(some.fold_of, everything.fold_of)
    np.testing.assert_array_equal(some.judged, everything.judged)
    np.testing.assert_allclose(some.probabilities.sum(axis=1), 1, atol=1e-5)
    # The draw may choose the next penalty, a factor of 3: probabilities are softer or sharper, and classes the same but
    # for photos between two of them.
    assert np.abs(some.probabilities - everything.probabilities).mean() < 0.05
    assert (some.probabilities.argmax(axis=1) == everything.probabilities.argmax(axis=1)).mean() > 0.97
    found = find_wrong_labels(again)
    first = {entry.row for entry in found.entries[: len(which)]}
    assert len(first & set(which.tolist())) >= 0.9 * len(which)
    assert (
        f"learnt from {some.learnt} photos, drawn evenly over the classes, and judged all 2,050"
        in found.meaning
    )
    assert found.figures["learnt_from"] == some.learnt


def test_labels_of_which_a_photo_may_have_several_are_judged_by_heads_of_a_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = made_classes(600)
    has = np.stack([labels == 0, labels != 2], axis=1).astype(np.float32)
    cache = feature_cache(
        tmp_path / "a.h5", features, has, ["train"] * 600, classes=("a", "b"), task="answers"
    )
    everything = held_out(Audited(cache))
    monkeypatch.setattr(held_out_module, "MOST_LEARNT", 300)
    some = held_out(Audited(cache))
    assert some.learnt <= 300 < everything.learnt
    assert some.probabilities.shape == (600, 2)
    assert np.abs(some.probabilities - everything.probabilities).mean() < 0.03
