"""The words of `Settings` are those of the engine, and a value that cannot work is refused by name."""

import math
from dataclasses import fields

import pytest

from featcache.errors import UsageError
from featcache.heads import losses, settings
from featcache.heads import model as heads
from featcache.heads.settings import Settings
from featcache.solvers import fit as fitting
from featcache.solvers import optimizers as optimization
from featcache.solvers import train_loop as training
from featcache.solvers.optimizers import NEUTRAL, Hyperparameters

# What needs no JAX ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "table"),
    [
        (settings.DESCENT + settings.SOLVED, heads.HEADS),
        (settings.SOLVED + settings.NEAREST, fitting._SOLVERS),
        (settings.ACTIVATIONS, heads.ACTIVATIONS),
        (settings.STEPPING, optimization.OPTIMIZERS),
        (settings.SCHEDULES, optimization.SCHEDULES),
        (settings.MONITORS, training.MONITORS),
        (settings.LOSSES, losses.LOSSES),
    ],
    ids=["arrays", "heads", "activations", "optimizers", "schedules", "monitors", "losses"],
)
def test_the_words_are_those_of_the_engine(words, table):
    # In their order too: it is that of the help texts and of "known: …".
    assert list(words) == list(table)


def test_every_hyperparameter_is_a_setting_of_its_name():
    known = {field.name for field in fields(Settings)}
    assert set(Hyperparameters._fields) == set(NEUTRAL)
    assert (
        set(Hyperparameters._fields) - {"last_epoch", "learnt"} <= known
    )  # which whoever fits a head again gives


def test_defaults_that_do_nothing_are_the_neutral_ones():
    default = Settings()
    for name in ("weight_decay", "label_smoothing", "dropout", "momentum", "end", "power", "warmup"):
        assert getattr(default, name) == NEUTRAL[name], name
    for name in ("mixup", "noise", "min_delta", "seed", "learning_rate"):
        assert getattr(default, name) == NEUTRAL[name], name


# Refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("head", "lineer", r"no head 'lineer'; did you mean 'linear'\?"),
        ("activation", "rulu", r"no activation 'rulu'; did you mean 'relu'\?"),
        ("loss", "hinge", "no loss 'hinge'; known: softmax, sigmoid, squared"),
        ("optimizer", "sdg", r"no optimizer 'sdg'; did you mean 'sgd'\?"),
        ("schedule", "cosin", r"no schedule 'cosin'; did you mean 'cosine'\?"),
        ("class_weights", "balance", r"no class_weights 'balance'; did you mean 'balanced'\?"),
        ("monitor", "accuracy", "no monitor 'accuracy'; known: loss, score"),
        ("metric", "cosinus", r"no metric 'cosinus'; did you mean 'cosine'\?"),
    ],
)
def test_a_word_that_nobody_knows_names_the_nearest(name, value, says):
    with pytest.raises(UsageError, match=says):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("hidden", [(), (0,), (64, -1)], "one or more widths of at least 1"),
        ("dropout", [-0.1, 1.0, math.nan], r"in 0\.\.1"),
        ("learning_rate", [0.0, -1.0, math.nan, math.inf], "above 0"),
        ("weight_decay", [-1e-4, math.nan, math.inf], "0 or above"),
        ("label_smoothing", [-0.1, 1.0, math.nan], r"in 0\.\.1"),
        ("momentum", [-0.1, 1.0, math.nan], r"in 0\.\.1"),
        ("end", [-0.1, 1.1, math.nan], r"in 0\.\.1"),
        ("power", [0.0, math.nan, math.inf], "above 0"),
        ("warmup", [-1.0, math.nan, math.inf], "0 or more epochs"),
        ("clip", [0.0, -1.0, math.nan], "above 0"),
        ("mixup", [-1.0, math.nan, math.inf], "0 or above"),
        ("noise", [-1.0, math.nan, math.inf], "0 or above"),
        ("batch_size", [0, -1], "at least 1"),
        ("epochs", [0, -1], "at least 1"),
        ("patience", [0, -1], "at least 1"),
        ("val_fraction", [-0.1, 1.0, math.nan], r"in 0\.\.1"),
        ("seed", [-1, 2**32], r"in 0\.\.2\^32"),
        ("c", [0.0, math.nan, math.inf], "above 0"),
        ("l2", [0.0, math.nan, math.inf], "above 0"),
        ("neighbours", [0], "at least 1"),
        ("temperature", [0.0, math.nan, math.inf], "above 0"),
    ],
)
def test_a_value_that_cannot_work_says_what_is_expected(name, values, expected):
    for value in values:
        with pytest.raises(UsageError, match=rf"^{name} .*: expected {expected}$"):
            Settings(**{name: value})


def test_values_at_the_edge_work():
    Settings(
        dropout=0.0, label_smoothing=0.0, momentum=0.0, end=1.0, warmup=0.0, clip=math.inf, seed=2**32 - 1
    )
    Settings(hidden=(1,), batch_size=1, epochs=1, patience=1, val_fraction=0.0, neighbours=1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"schedule": "exponential"}, r"end 0: the learning rate would be 0 .* such as end 0\.01"),
        ({"min_delta": float("nan")}, "min_delta nan: expected 0 or above"),
        ({"min_delta": -0.1}, r"min_delta -0\.1: expected 0 or above"),
    ],
)
def test_settings_that_would_train_nothing_are_refused(given, says):
    with pytest.raises(UsageError, match=says):
        Settings(**given)
