"""The one-standard-error rule against its definition, and what a sweep chooses and says by it."""

import json

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache.cli.commands.sweep import _simpler_line, lines
from featcache.heads.settings import HEADS, Settings
from featcache.metrics.comparison import within_one_error
from featcache.sweeps.leaderboard import LeaderboardEntry
from featcache.sweeps.results import shots_text
from featcache.sweeps.simplest import SIMPLICITY, simplest
from featcache.sweeps.sweep import sweep
from featcache.sweeps.trials import Trial


def entries(scores, settings):
    """A leaderboard of made-up scores ``[K, N]``, best first, and what each row's loss and score are."""
    pairs = list(zip(settings, scores, strict=True))
    own = [LeaderboardEntry(Trial(0, "pool", s), float(v.mean()), 0.0, 0.0, 1, 1) for s, v in pairs]
    table = {entry.key: np.stack([1 - v, v]) for entry, v in zip(own, scores, strict=True)}
    return sorted(own, key=lambda entry: -entry.accuracy), table.__getitem__


def test_the_simplest_within_one_standard_error():
    for seed in range(200):
        random = np.random.default_rng(seed)
        base = random.random(60) < 0.9
        scores = [np.where(random.random(60) < 0.08, ~base, base).astype(float) for _ in range(6)]
        settings = [Settings(head="ridge", l2=10.0**n) for n in range(6)]
        ranked, table = entries(scores, settings)
        best = table(ranked[0].key)[1]
        near = [ranked[0].key.settings.l2]
        for entry in ranked:  # the definition, by hand
            difference = best - table(entry.key)[1]
            if difference.mean() <= np.sqrt(difference.var(ddof=1) / 60) + 1e-9:
                near.append(entry.key.settings.l2)
        assert simplest(ranked, table).key.settings.l2 == max(near)


def test_paired_differences_give_little_away():
    """Two heads that differ on two rows of a hundred are told apart, though either has an error of three rows."""
    right = np.ones(100)
    right[:10] = 0
    other = right.copy()
    other[10:12] = 0
    assert not within_one_error(right, other)
    assert np.sqrt(0.9 * 0.1 / 100) > 0.02
    swapped = right.copy()
    swapped[[0, 1, 10, 11, 12]] = 1, 1, 0, 0, 0  # two won, three lost
    assert within_one_error(right, swapped)


def test_a_loss_that_is_clearly_higher_is_not_near():
    """On few rows accuracies are equal where one head hardly knows anything."""
    ranked, _ = entries([np.ones(20)] * 2, [Settings(head="logistic", c=c) for c in (1.0, 1e-4)])
    losses = {1.0: np.full(20, 0.1), 1e-4: np.linspace(0.5, 0.7, 20)}

    def judged(key):
        return np.stack([losses[key.settings.c], np.ones(20)])

    assert simplest(ranked, judged) is ranked[0]
    losses[1e-4] = np.full(20, 0.1) + np.tile([-0.2, 0.2], 10)
    assert simplest(ranked, judged).key.settings.c == 1e-4


def test_no_kind_is_preferred_to_another():
    settings = [Settings(head="mlp"), Settings(head="prototype"), Settings(head="ridge")]
    ranked, table = entries([np.ones(50)] * 3, settings)
    assert simplest(ranked, table) is ranked[0]


def test_every_head_has_an_order():
    assert set(SIMPLICITY) == set(HEADS)
    orders = {
        "linear": [{"weight_decay": 0.1}, {"learning_rate": 1e-4}, {"learning_rate": 1e-2}],
        "mlp": [{"hidden": (16,)}, {"hidden": (64,), "dropout": 0.5}, {"hidden": (64,)}],
        "logistic": [{"c": 0.01}, {"c": 1.0}],
        "ridge": [{"l2": 100.0}, {"l2": 1.0}],
        "knn": [{"neighbours": 20}, {"neighbours": 5}],
    }
    for head, given in orders.items():
        keys = [SIMPLICITY[head](Settings(head=head, **own)) for own in given]
        assert keys == sorted(keys)
        assert len(set(keys)) == len(keys)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    features, labels = blobs(400)
    features += np.random.default_rng(3).normal(0, 1.5, features.shape).astype(np.float32)
    splits = ["train"] * 160 + ["val"] * 120 + ["test"] * 120
    return feature_cache(tmp_path_factory.mktemp("simplest") / "x.h5", features, labels.tolist(), splits)


def test_a_sweep_takes_the_stronger_penalty_and_says_so(cache, tmp_path):
    result = sweep(cache, output=tmp_path / "out", head="ridge,knn", l2="1e-2:1e4:log7", neighbours=1)
    chosen, first = result.chosen.entry, result.leaderboard[0]
    assert first.key.settings.head == "ridge"
    assert result.chosen.first == first
    assert chosen.key.settings.l2 > first.key.settings.l2
    assert result.chosen.contenders[0].entry == first, "what it is compared with"
    summary = json.loads((result.folder / "summary.json").read_text())["chosen"]
    assert summary["settings"]["l2"] == chosen.key.settings.l2
    assert summary["instead_of"]["settings"]["l2"] == first.key.settings.l2
    text = lines(result)
    shown = [line.split() for line in text if "pool" in line and "chosen" not in line]
    assert [row[3] for row in shown] == ["ridge", "ridge", "knn"], "the best of each kind, and the chosen one"
    assert [row[0].startswith("*") for row in shown] == [False, True, False]
    assert any("the best of each kind of head; 5 more with -v" in line for line in text)
    assert (
        sum("on these rows, and simpler" in line or "so the simpler is taken" in line for line in text) == 1
    )
    assert not any("sd" in line.split() for line in text)
    assert sum("ridge" in line for line in lines(result, verbose=True)) == 8
    two = sweep(cache, output=tmp_path / "two", head="ridge", l2="1", seeds=2)
    assert any("sd" in line.split() for line in lines(two))
    assert two.chosen.first is None


@pytest.mark.parametrize(
    ("accuracies", "told"),
    [
        ((0.42857, 0.42858), "  as good as l2=1 on these rows, and simpler"),
        (
            (0.40, 0.42858),
            "  l2=1 has 42.9 %: within one standard error on these rows, so the simpler is taken",
        ),
    ],
)
def test_why_the_first_is_not_taken(accuracies, told):
    taken, first = (
        LeaderboardEntry(Trial(0, "pool", Settings(head="ridge", l2=l2)), score, 0.0, 1.0, 1, 1)
        for score, l2 in zip(accuracies, (100.0, 1.0), strict=True)
    )
    every = [entry.key.settings for entry in (first, taken)]
    assert _simpler_line(taken, first, every, "multiclass") == told


@pytest.mark.parametrize(
    ("shots", "told"), [(1, "1 shot of each class"), (5, "5 shots of each class"), (None, "all shots")]
)
def test_shots_in_words(shots, told):
    assert shots_text(shots) == told
