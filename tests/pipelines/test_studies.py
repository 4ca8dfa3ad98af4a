"""What studies compute by themselves: who is held out, totals, fronts, choices, flips, and their intervals."""

from collections import Counter
from types import SimpleNamespace

import compare_protocols
import few_shot
import label_noise
import layer_study
import numpy as np
import pytest
import study
import zoo_leaderboard
from cached_training import Cached, EveryEpoch
from scipy.stats import ttest_1samp
from study import Clock

from featcache.datasets import Dataset, Record

CLASSES = ("a", "b", "c")


def made(**counts: int) -> Dataset:
    """So many photos of each class in each split."""
    records = [
        Record(f"{split}/{label}/{number}", label, split, lambda: b"")
        for split, count in counts.items()
        for label in range(len(CLASSES))
        for number in range(count)
    ]
    return Dataset("made", "made", CLASSES, records)


# ---- who is held out


def test_validation_is_a_share_of_each_class_of_the_training_photos_and_the_same_each_time():
    data = made(train=10, test=4)
    found = study.with_validation(data, 0.2, seed=3)
    assert [own.id for own in found.records] == [own.id for own in data.records]
    assert Counter((own.split, own.label) for own in found.records) == {
        (split, label): count
        for split, count in {"train": 8, "val": 2, "test": 4}.items()
        for label in range(3)
    }
    again, other = (study.with_validation(data, 0.2, seed=seed).records for seed in (3, 4))
    assert list(again) == list(found.records)
    assert list(other) != list(found.records)


def test_a_val_split_is_for_testing_only_where_nothing_else_is():
    assert set(study.with_test(made(train=2, val=1)).splits) == {"train", "test"}
    kept = made(train=2, val=1, test=1)
    assert study.with_test(kept) is kept


# ---- intervals


def test_an_interval_over_draws_and_photos_is_that_of_either_where_the_other_is_sure():
    assert study.over_draws_and_photos([0.8, 0.8, 0.8], (0.7, 0.85)) == pytest.approx((0.7, 0.85))
    draws = [0.7, 0.8, 0.75, 0.95]
    expected = ttest_1samp(draws, 0).confidence_interval(0.95)
    assert study.over_draws_and_photos(draws, (0.8, 0.8)) == pytest.approx(
        (expected.low, min(expected.high, 1))
    )


def test_an_interval_over_draws_and_photos_holds_the_truth_when_both_are_drawn():
    """Of 400 studies 95 % should; fewer than 92.5 % would be 2.3 standard errors away."""
    random, held = np.random.default_rng(0), 0
    for _ in range(400):
        photos, draws = random.normal(0.8, 0.1, 200), random.normal(0, 0.02, 10)
        right = random.random((10, 200)) < np.clip(photos + draws[:, None], 0, 1)
        of_photos = study.share(right.mean(axis=0))["interval"]
        low, high = study.over_draws_and_photos(right.mean(axis=1).tolist(), tuple(of_photos))
        held += low <= 0.8 <= high
    assert held >= 370


# ---- totals


def test_totals_are_the_measured_epochs_and_beyond_them_the_median_of_those_that_compile_nothing():
    epochs = [9.0, 2.0, 4.0, 3.0]
    assert compare_protocols.total(10, epochs, 5, 1) == 10 + 9 + 5
    assert compare_protocols.total(10, epochs, 5, 4) == 10 + 18 + 5
    assert compare_protocols.total(10, epochs, 5, 100) == 10 + 18 + 96 * 3 + 5


def test_curves_give_each_arm_its_own_seconds_and_say_what_was_measured():
    def clock(*laps: tuple[float, float]) -> Clock:
        return Clock(laps=list(laps))

    cached = Cached.__new__(Cached)
    cached.extracting = clock((4, 40), (6, 60))
    cached.fitting = {1: clock((1, 10)), 2: clock((2, 20)), 10: clock((5, 50))}
    every = EveryEpoch.__new__(EveryEpoch)
    every.running = clock((8, 80), (7, 70))
    keras = {"start": clock((3, 30)), "epochs": clock((20, 200), (10, 100)), "end": clock((1, 10))}
    rows = compare_protocols.curves(cached, keras, every, clock((2, 20)), measured=2)
    assert [(row["epochs"], row["measured"]) for row in rows] == [(1, True), (2, True), (10, False)]
    keras_arm, every_arm, own = compare_protocols.ARMS
    assert rows[1]["wall"] == {keras_arm: 34, every_arm: 8 + 7 + 2 + 2, own: 6 + 2}
    assert rows[2]["wall"] == {keras_arm: 34 + 8 * 10, every_arm: 15 + 8 * 7 + 2 + 5, own: 5 + 5}
    assert rows[1]["processor"][keras_arm] == 340
    assert rows[1]["wall ratio"] == {keras_arm: 34 / 8, every_arm: 19 / 8}


def test_a_clock_adds_up_its_laps():
    clock = Clock()
    for _ in range(2):
        with clock.running():
            sum(range(1000))
    assert len(clock.laps) == 2
    assert clock.wall == sum(wall for wall, _ in clock.laps) > 0
    assert clock.processor == sum(processor for _, processor in clock.laps)


# ---- choices


def test_the_front_holds_what_no_other_beats_at_its_price():
    random = np.random.default_rng(0)
    rows = [
        {"backbone": str(number), "macs": int(random.integers(1, 9)), "accuracy": random.integers(5) / 4}
        for number in range(40)
    ]

    def beaten(own: dict) -> bool:
        return any(
            other["macs"] <= own["macs"]
            and other["accuracy"] >= own["accuracy"]
            and (other["macs"], other["accuracy"]) != (own["macs"], own["accuracy"])
            for other in rows
        )

    front = [row for row in rows if row["backbone"] in zoo_leaderboard.on_front(rows, "macs")]
    expected = {(row["macs"], row["accuracy"]) for row in rows if not beaten(row)}
    assert {(row["macs"], row["accuracy"]) for row in front} == expected
    assert len(front) == len(expected)


def test_of_layers_that_validate_alike_the_deepest_wins():
    rows = [{"layer": name, "val_accuracy": value} for name, value in (("a", 0.5), ("b", 0.9), ("c", 0.9))]
    assert layer_study.winner(rows) == "c"


def test_layers_are_the_averaged_maps_before_the_pool_and_the_pool():
    shapes = {"stem": (8, 8, 3), "flat": (5,), "block": (4, 4, 9), "pool": (9,), "logits": (1000,)}
    network = SimpleNamespace(
        network=SimpleNamespace(order=tuple(shapes)),
        shapes=lambda stages: {name: shapes[name] for name in stages},
    )
    assert layer_study.layers_of(network) == ["stem:avg", "block:avg", "pool"]


def test_the_best_head_is_validations_and_others_are_compared_with_it_draw_by_draw():
    found = {
        "first": {"1": {"val_accuracy": 0.9, "draws": [0.8, 0.7, 0.9]}},
        "alike": {"1": {"val_accuracy": 0.8, "draws": [0.9, 0.6, 0.9]}},
        "worse": {"1": {"val_accuracy": 0.7, "draws": [0.7, 0.6, 0.81]}},
    }
    best = few_shot.best_heads(found, "1")
    assert best["head"] == "first"
    assert best["not_told_apart"] == ["alike"]
    assert best["ahead_of"]["worse"]["mean"] == pytest.approx(0.29 / 3)


# ---- flips


def test_flips_are_training_labels_only_each_to_another_class_and_all_are_named():
    data = made(train=40, test=10)
    noisy, flips = label_noise.flipped(data, 0.1, seed=1)
    changed = {new.id for new, old in zip(noisy.records, data.records, strict=True) if new.label != old.label}
    assert changed == flips
    assert len(flips) == 12
    assert all(name.startswith("train/") for name in flips)
    assert {own.label for own in noisy.records} == {0, 1, 2}
    assert label_noise.flipped(data, 0.1, seed=2)[1] != flips


def test_recall_is_of_the_flips_and_precision_of_the_named():
    assert label_noise.found_of({"a", "b", "x"}, {"a", "b", "c", "d"}) == {"recall": 0.5, "precision": 2 / 3}
    assert label_noise.found_of(set(), {"a"}) == {"recall": 0.0, "precision": 1.0}
