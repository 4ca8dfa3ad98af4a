"""Bounds of held-out scores against a slow count of ranks."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.classifier.known import thresholds
from featcache.classifier.known.thresholds import HeldOutScores, require_share, rows_needed
from featcache.errors import UsageError


@given(st.integers(1, 400), st.integers(1, 99), st.integers(0, 2**32 - 1))
def test_the_bound_is_the_order_statistic_of_the_rank(count, hundredths, seed):
    values = np.random.default_rng(seed).normal(size=count).astype(np.float32)
    rank = ceil(Fraction(hundredths, 100) * (count + 1))
    want = None if rank > count else float(sorted(values)[rank - 1])
    assert HeldOutScores.of(values).bound(hundredths / 100) == want


@given(st.integers(1, 500), st.integers(1, 99), st.integers(1, 60))
def test_of_kept_scores_the_bound_is_the_first_that_is_not_too_small(count, hundredths, kept):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thresholds, "MOST_KEPT", kept)
        values = np.random.default_rng(count).permutation(count) + 1.0
        scores = HeldOutScores.of(values)
    assert len(scores.values) == min(count, kept)
    rank = ceil(Fraction(hundredths, 100) * (count + 1))
    # Values are their own ranks: the largest is always kept.
    want = None if rank > count else float(min(v for v in scores.values if v >= rank))
    assert scores.bound(hundredths / 100) == want


@pytest.mark.parametrize(("share", "rows"), [(0.99, 99), (0.95, 19), (0.9, 9), (0.5, 1)])
def test_the_rows_needed_are_the_fewest_with_a_bound(share, rows):
    assert rows_needed(share) == rows
    assert HeldOutScores.of(np.arange(rows)).bound(share) == rows - 1
    assert HeldOutScores.of(np.arange(rows - 1)).bound(share) is None


def test_no_rows_have_no_bound():
    assert HeldOutScores.of(np.zeros(0)).bound(0.5) is None


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share):
    with pytest.raises(UsageError, match=r"known_share .*: expected above 0 and below 1"):
        require_share("known_share", share)
