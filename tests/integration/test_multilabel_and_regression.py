"""Heads that give answers or numbers: trained from a cache, kept, scored and asked, against scikit-learn."""

import json
import re

import numpy as np
import pytest
from helpers.feature_caches import feature_cache
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featcache import Classifier, sweep, train_head
from featcache.classifier.prediction import read_values
from featcache.cli import main
from featcache.cli.commands.predict import lines
from featcache.errors import UsageError
from featcache.splits.selection import SplitSpec, select_rows

SPLITS = ["train"] * 160 + ["val"] * 40 + ["test"] * 80
ROWS = len(SPLITS)
NAMES = ("sea", "sky")
SHUFFLED = np.random.default_rng(9).permutation(ROWS)


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(3, [1, 5, 0.2, 1, 1, 1], (ROWS, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def numbers(features):
    """Two numbers of very different size, mostly linear in the features."""
    noise = np.random.default_rng(1).normal(size=(ROWS, 2))
    slopes = np.array([[1, 0], [0.5, 20], [0, 300], [0, 0], [-1, 0], [0, 5]])
    return (features @ slopes + noise * [0.1, 10] + [0, 5000]).astype(np.float32)


@pytest.fixture(scope="module")
def answers(features):
    """Two answers that a line tells, with a little noise; neither, one, or both are yes."""
    noise = np.random.default_rng(2).normal(0, 0.3, (ROWS, 2))
    standard = (features - 3) / [1, 5, 0.2, 1, 1, 1]
    return (standard[:, :2] + 0.5 * standard[:, 2:4] + noise > [0.5, -0.2]).astype(np.float32)


@pytest.fixture
def of_numbers(tmp_path, features, numbers):
    return feature_cache(tmp_path / "n.h5", features, numbers, SPLITS, classes=NAMES, task="numbers")


@pytest.fixture
def of_answers(tmp_path, features, answers):
    return feature_cache(tmp_path / "a.h5", features, answers, SPLITS, classes=NAMES, task="answers")


# Numbers ----------------------------------------------------------------------------------------------------


def test_numbers_are_learnt_as_scikit_learn_learns_them(of_numbers, features, numbers, tmp_path):
    classifier = train_head(of_numbers, output=tmp_path / "kept", l2=3.0, refit=False)
    oracle = make_pipeline(StandardScaler(), Ridge(3.0)).fit(features[:160], numbers[:160])
    want = oracle.predict(features[200:])
    assert (classifier.head, classifier.task, classifier.classes) == ("ridge", "numbers", NAMES)
    # The same closed form, in single precision, of numbers around 5000.
    np.testing.assert_allclose(classifier.values(features[200:]), want, rtol=1e-5)
    scores = classifier.metrics["test"]
    assert scores["r2"] == pytest.approx(oracle.score(features[200:], numbers[200:]), abs=1e-5)
    again = Classifier.load(tmp_path / "kept")
    np.testing.assert_array_equal(again.values(features[:5]), classifier.values(features[:5]))
    found = again.evaluate(of_numbers)
    assert (found.r2, found.mae, found.count) == (scores["r2"], scores["mae"], 80)
    assert [own.name for own in found.numbers] == list(NAMES)
    assert again.calibration.note == "a temperature is fitted to classes, and these are numbers"


@pytest.mark.one_by_default
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_descent_learns_numbers_of_any_unit(of_numbers, head):
    classifier = train_head(
        of_numbers, output=None, head=head, learning_rate=3e-2, hidden=[16], batch_size=32
    )
    assert classifier.training["loss"] == "squared"
    # Noise is a hundredth of the variance of either number, whatever its unit.
    assert classifier.metrics["test"]["r2"] > 0.95


def test_numbers_are_no_probabilities(of_numbers, features):
    classifier = train_head(of_numbers, output=None)
    with pytest.raises(UsageError, match=r"gives numbers \(sea, sky\), not probabilities; use values\(\)"):
        classifier.probabilities(features)
    assert not classifier.unknown(classifier.values(features)).any()


# Answers ----------------------------------------------------------------------------------------------------


def test_answers_are_learnt_one_by_one(of_answers, features, answers, tmp_path):
    # Without validation rows, all steps are taken: the optimum of each answer's own cross-entropy.
    settings = {"optimizer": "lbfgs", "epochs": 300, "scaling": "standard"}
    classifier = train_head(of_answers, output=tmp_path / "kept", val="none", **settings)
    said = classifier.probabilities(features[200:])
    oracle = [
        make_pipeline(StandardScaler(), LogisticRegression(C=np.inf)).fit(features[:160], answers[:160, own])
        for own in range(2)
    ]
    want = np.stack([own.predict_proba(features[200:])[:, 1] for own in oracle], axis=1)
    # Both stop where a step changes little, on either side of the optimum.
    np.testing.assert_allclose(said, want, atol=5e-3)
    assert (classifier.head, classifier.training["loss"], classifier.task) == ("linear", "sigmoid", "answers")
    found = Classifier.load(tmp_path / "kept").evaluate(of_answers)
    assert found.accuracy == pytest.approx(np.mean((said > 0.5) == answers[200:]))
    assert found.to_json()["answers"][1]["support"] == answers[200:, 1].sum()


@pytest.mark.slow
def test_the_order_of_a_caches_answers_does_not_matter(of_answers, features, answers, tmp_path):
    classifier = train_head(of_answers, output=None, learning_rate=1e-2)
    turned = feature_cache(
        tmp_path / "t.h5", features, answers[:, ::-1], SPLITS, classes=NAMES[::-1], task="answers"
    )
    assert classifier.evaluate(turned) == classifier.evaluate(of_answers)


def test_validation_rows_are_drawn_from_every_stratum(tmp_path, features, answers):
    splits = ["train"] * 200 + ["test"] * 80
    cache = feature_cache(tmp_path / "s.h5", features, answers, splits, classes=NAMES, task="answers")
    rows = select_rows(cache, SplitSpec(val_fraction=0.25))
    kinds = answers @ [1, 2]
    for kind in range(4):
        of_kind = np.flatnonzero(kinds[:200] == kind)
        # A quarter of each of the four combinations, to the nearest whole number.
        assert abs(np.isin(of_kind, rows.val).sum() - len(of_kind) / 4) <= 0.5


@pytest.mark.slow
def test_averages_over_views_are_means_of_what_each_view_says(tmp_path, features, answers, numbers):
    views = np.stack([features, features + 0.3], axis=1)
    for task, targets in (("answers", answers), ("numbers", numbers)):
        cache = feature_cache(
            tmp_path / f"{task}.h5", views, targets, SPLITS, classes=NAMES, task=task, views=2
        )
        classifier = train_head(cache, output=None, tta=True)
        want = (classifier.values(views[:, 0]) + classifier.values(views[:, 1])) / 2
        np.testing.assert_allclose(classifier.values(views, tta=True), want, rtol=1e-5)
        assert (
            classifier.evaluate(cache).to_json() | classifier.metrics["test"]
            == classifier.evaluate(cache).to_json()
        )


# Refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "options", "says"),
    [
        (
            "numbers",
            {"head": "logistic"},
            "no head 'logistic' for a regression task; known: ridge, linear, mlp",
        ),
        ("answers", {"head": "knn"}, "no head 'knn' for a multilabel task; known: linear, mlp"),
        ("answers", {"loss": "softmax"}, "no loss 'softmax' for a multilabel task; known: sigmoid"),
        ("answers", {"class_weights": "balanced"}, "class weights 'balanced' are for exclusive classes"),
    ],
)
def test_what_cannot_learn_them(of_numbers, of_answers, task, options, says):
    with pytest.raises(UsageError, match=says):
        train_head({"numbers": of_numbers, "answers": of_answers}[task], output=None, **options)


def test_caches_that_know_other_things(of_numbers, of_answers, tmp_path, features, answers):
    classifier = train_head(of_answers, output=None)
    with pytest.raises(
        UsageError, match=r"n\.h5 has regression targets; this classifier's task is multilabel"
    ):
        classifier.evaluate(of_numbers)
    other = feature_cache(
        tmp_path / "o.h5", features, answers, SPLITS, classes=("sea", "sand"), task="answers"
    )
    with pytest.raises(
        UsageError, match=r"o\.h5 has no targets sky, which this classifier predicts; it holds sea, sand"
    ):
        classifier.evaluate(other)


# Sweeps -----------------------------------------------------------------------------------------------------


def test_a_sweep_over_numbers_ranks_by_r2(of_numbers, features, numbers, tmp_path):
    found = sweep(of_numbers, output=tmp_path / "s", head="ridge", l2="1,1000")
    assert found.task == "numbers"
    for entry in found.leaderboard:
        oracle = make_pipeline(StandardScaler(), Ridge(entry.key.settings.l2))
        oracle.fit(features[:160], numbers[:160])
        # Single precision, and numbers in units of their deviation.
        assert entry.accuracy == pytest.approx(oracle.score(features[160:200], numbers[160:200]), abs=1e-4)
    best = found.leaderboard[0].key.settings.l2
    assert found.chosen.test is not None
    kept = Classifier.load(found.classifier)
    single = train_head(of_numbers, output=None, l2=best)
    # The saved head gives numbers in their own units.
    np.testing.assert_allclose(kept.values(features), single.values(features), rtol=1e-5)
    assert kept.metrics["test"]["r2"] == pytest.approx(found.chosen.test.mean, abs=1e-4)


def test_a_sweep_over_answers_ranks_by_right_ones(of_answers, features, answers, tmp_path):
    found = sweep(of_answers, output=tmp_path / "s", learning_rate="1e-4,1e-2", epochs="30", seeds=2)
    assert [s.key.settings.loss for s in found.leaderboard] == ["sigmoid", "sigmoid"]
    kept = Classifier.load(found.classifier)
    right = (kept.probabilities(features[200:]) > 0.5) == answers[200:]
    assert found.chosen.test is not None
    assert found.chosen.test.values[0] == pytest.approx(right.mean(), abs=1e-6)
    assert found.to_json()["task"] == "answers"
    assert kept.metrics["val"]["accuracy"] == pytest.approx(
        ((kept.before_refit().probabilities(features[160:200]) > 0.5) == answers[160:200]).mean()
    )


def test_folds_judge_every_row_of_numbers_once(of_numbers, tmp_path):
    found = sweep(of_numbers, output=tmp_path / "s", head="ridge", folds=4, l2="1,1e6")
    assert [s.key.settings.l2 for s in found.leaderboard] == [1, 1e6]
    assert found.leaderboard[0].trials == 4
    (contender,) = found.chosen.contenders
    assert contender.against.told_apart
    assert "val" not in Classifier.load(found.classifier).metrics


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"head": "ridge,knn"}, "no head 'knn' for a regression task; known: ridge, linear, mlp"),
        ({"head": "linear", "loss": "softmax"}, "no loss 'softmax' for a regression task; known: squared"),
        ({"shots": "5,all"}, r"shots are training examples of each class, and .*n\.h5 holds numbers"),
    ],
)
def test_sweeps_that_numbers_do_not_have(of_numbers, tmp_path, axes, says):
    with pytest.raises(UsageError, match=says):
        sweep(of_numbers, output=tmp_path / "s", **axes)


def test_one_leaderboard_is_of_one_task(of_numbers, of_answers, tmp_path):
    with pytest.raises(
        UsageError, match=r"has other classes than .*one leaderboard needs the same validation"
    ):
        sweep([of_numbers, of_answers], output=tmp_path / "s")


# What people see --------------------------------------------------------------------------------------------


def test_commands_print_answers_and_numbers(of_answers, of_numbers, tmp_path, capsys):
    assert (
        main(
            [
                "train-head",
                str(of_answers.path),
                "-o",
                str(tmp_path / "ca"),
                "--lr",
                "1e-2",
                "--scaling",
                "standard",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "linear on mobilenet_v2.tv_in1k pool, 2 answers" in out
    assert re.match(
        r".*/ca: \d+\.\d % of the answers right .* test photos\), mean average precision 9\d\.\d %", out
    )
    assert main(["evaluate", str(tmp_path / "ca")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[2].split() == ["answer", "average", "precision", "precision", "recall", "f1", "yes"]
    assert [line.split()[0] for line in out[3:]] == list(NAMES)
    assert main(["train-head", str(of_numbers.path), "-o", str(tmp_path / "cn")]) == 0
    assert re.match(r".*/cn: R² 0\.9", capsys.readouterr().out)
    assert main(["evaluate", str(tmp_path / "cn"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)["result"]
    assert value["numbers"][0].keys() == {"name", "mae", "rmse", "r2"}


def test_predictions_say_answers_and_numbers():
    own = {"classes": ("sea", "sky", "tree"), "threshold": 0.0}
    said = read_values("a.jpg", np.array([0.2, 0.9, 0.6], np.float32), task="answers", top=2, **own)
    assert (said.answers, said.classes, said.numbers) == (("sky", "tree"), ("sky", "tree"), None)
    assert lines([said], shown=2) == ["a.jpg  sky, tree  (sky 90.0 %, tree 60.0 %)"]
    none = read_values("a.jpg", np.array([0.2, 0.4, 0.1], np.float32), task="answers", top=1, **own)
    assert lines([none]) == ["a.jpg  none  (sky 40.0 %)"]
    counted = read_values("b.jpg", np.array([1.5, -2, 3e7], np.float32), task="numbers", top=1, **own)
    assert (counted.numbers, counted.probabilities, counted.answers) == ((1.5, -2.0, 3e7), (), None)
    assert lines([counted]) == ["b.jpg  sea 1.5, sky -2, tree 3e+07"]
