"""What the experiments compute themselves: intervals, paired differences, slices, whose animal is right."""

import numpy as np
import pytest
from e10_mobilenet_variants import neighbours, right_animal, verdict
from frozen_head import paired, slices, summary, wilson
from scipy.stats import binomtest


@pytest.mark.parametrize(("share", "count"), [(0.5, 10), (0.9, 1000), (0.0, 30), (1.0, 160)])
def test_the_interval_of_a_share_is_wilsons(share, count):
    ends = binomtest(round(share * count), count).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson(share, count), (ends.low, ends.high), atol=1e-4)


def test_a_photo_that_several_splits_judge_counts_once_by_its_mean():
    first = (np.array([0, 1, 2]), np.array([True, True, False]), np.array([False, True, False]))
    second = (np.array([0, 3]), np.array([False, True]), np.array([False, False]))
    difference, (low, high) = paired([first, second])
    each = np.array([(1 + 0) / 2, 0, 0, 1])
    half = 1.96 * each.std(ddof=1) / 2
    assert difference == each.mean()
    assert (low, high) == pytest.approx((each.mean() - half, each.mean() + half))


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ((80, 20), ("all[:80%]", "all[80%:100%]", "none")),
        ((72, 18, 10), ("all[:72%]", "all[72%:90%]", "all[90%:]")),
    ],
)
def test_parts_are_cut_one_after_the_other(parts, wanted):
    cuts = slices(parts)
    assert (cuts["train"], cuts["val"], cuts["test"]) == wanted
    assert cuts["shuffle_slices"] is True


def test_ours_is_within_the_interval_of_scikit_learn_or_it_is_not():
    right = np.arange(100) < 90

    def row(theirs: int) -> dict:
        own = {
            "accuracy": 0.9,
            "interval": (0.82, 0.95),
            "photos": 100,
            "rows": np.arange(100),
            "right": right,
        }
        return {**own, "theirs": {"Adam": np.arange(100) < theirs}}

    near, far = (summary([row(theirs)])["scikit_learn"]["Adam"] for theirs in (88, 60))
    assert near["ours_within"]
    assert near["ours_minus_theirs"] == pytest.approx(0.02)
    assert not far["ours_within"]
    assert far["difference_interval"][0] > 0.2


class Answers:
    """A cache of logits that names one class of ImageNet for each photo."""

    classes = ("cat", "dog")
    labels = np.array([0, 0, 1, 1, 1])

    def to_numpy(self, layer):
        assert layer == "logits"
        return np.eye(1000)[
            [281, 151, 151, 268, 269]
        ]  # tabby, Chihuahua; Chihuahua, Mexican hairless, timber wolf


def test_an_answer_is_right_if_it_is_a_breed_of_the_animal():
    assert right_animal(Answers()).tolist() == [True, False, True, True, False]


def test_neighbours_in_the_published_order_are_compared_photo_by_photo():
    def variant(name: str, top1: float, share: float) -> dict:
        right = np.arange(400) < 400 * share
        return {
            "variant": name,
            "imagenet_top1": top1,
            "heads": [{"rows": np.arange(400), "right": right}],
            "species": right,
        }

    rows = [
        variant("a", 41.3, 0.5),
        variant("b", 46.0, 0.6),
        variant("c", 49.0, 0.6),
        variant("d", 50.6, 0.4),
    ]
    found = neighbours(rows)
    assert [each["flowers"]["verdict"] for each in found] == [
        "as published",
        "not told apart",
        "the other way round",
    ]
    assert found[0]["published_difference"] == pytest.approx(0.047)
    assert found[0]["animals"]["difference"] == pytest.approx(0.1)


def test_an_interval_that_holds_nothing_tells_nothing_apart():
    assert [verdict(0.01, 0.2), verdict(-0.2, -0.1), verdict(-0.1, 0.1)] == [
        "as published",
        "the other way round",
        "not told apart",
    ]
