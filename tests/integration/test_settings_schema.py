"""Every setting is declared once: signatures, commands, estimators and sweeps are what the declarations say."""

import ast
import inspect
import typing
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

import featcache
from featcache.cli.app import app
from featcache.cli.arguments.options import SECTIONS
from featcache.core.schema import Limit, Setting, declare, settings_of, spelled_out
from featcache.finetuning import settings as finetuning
from featcache.finetuning.settings import FineTuningArguments, FineTuningSettings
from featcache.heads.settings import HEADS, OPTIMIZERS, SETTINGS, HeadArguments, Settings
from featcache.sweeps.trials import read_axes

PACKAGE = Path(featcache.__file__).parent
# Public functions, which people read, and their commands; all are compared with the declarations below.
WIDE = {"extract", "plan_extraction", "sweep", "command"}
MOST = 20


def parameters(function) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def options(name: str) -> dict:
    """The options of a command by name, without its arguments and --help."""
    command = get_command(app).commands[name]
    return {p.name: p for p in command.params if p.param_type_name == "option" and p.name != "help"}


# Declarations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Settings, FineTuningSettings])
def test_every_field_is_declared_and_its_default_works(cls):
    declared = settings_of(cls)
    assert [field.name for field in fields(cls) if field.name != "training"] == list(declared)
    for name, setting in declared.items():
        assert setting.name == name
        assert setting.panel in SECTIONS
        assert setting.help
        assert not setting.help.endswith(".")
        setting.require_known(setting.default)
        setting.require_within(setting.default)


def test_a_word_setting_has_choices_and_a_number_has_a_limit():
    free = {"train_from", "augment"}  # names of stages; a grammar of its own
    for setting in (*SETTINGS.values(), *finetuning.SETTINGS.values()):
        if setting.kind is str and setting.name not in free:
            assert setting.choices, setting.name
        if setting.kind in (int, float):
            assert setting.limit is not None, setting.name


def test_settings_are_for_heads_and_optimizers_that_there_are():
    for setting in SETTINGS.values():
        assert set(setting.heads) <= set(HEADS)
        assert set(setting.optimizers) <= set(OPTIMIZERS)
    assert set(SETTINGS) - {name for name, setting in SETTINGS.items() if setting.heads} == {
        "head",
        "val_fraction",
        "seed",
    }


@pytest.mark.parametrize(
    ("hint", "kind", "optional"),
    [(int, int, False), (float | None, float, True), (tuple[int, ...], tuple, False), (bool, bool, False)],
)
def test_the_kind_is_that_of_the_value_where_there_is_one(hint, kind, optional):
    setting = Setting(default=None, help="", panel="", hint=hint)
    assert (setting.kind, setting.optional) == (kind, optional)


def test_no_value_is_within_every_limit_where_the_type_allows_none():
    nothing = Limit(lambda value: False, "nothing")
    Setting(default=None, help="", panel="", hint=int | None, limit=nothing).require_within(None)
    with pytest.raises(featcache.FeatcacheError, match=r"^most_rows 3: expected nothing$"):
        Setting(default=1, help="", panel="", hint=int, name="most_rows", limit=nothing).require_within(3)


def test_a_declared_field_is_a_dataclass_field_of_its_default():
    found = declare(Setting(default=3, help="", panel=""))
    assert found.default == 3


# Python signatures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "arguments", "settings"),
    [
        (featcache.train_head, HeadArguments, SETTINGS),
        (featcache.finetune, FineTuningArguments, finetuning.SETTINGS),
    ],
    ids=["train_head", "finetune"],
)
def test_a_signature_spells_out_every_setting(function, arguments, settings):
    hints = typing.get_type_hints(arguments)
    own = parameters(function)
    assert list(hints) == list(settings)
    assert [name for name in own if name in hints] == list(hints)
    for name, hint in hints.items():
        setting = settings[name]
        assert own[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert own[name].default == setting.public_default
        if setting.kind is not tuple and name != "class_weights":  # also a mapping, which is kept as text
            assert hint == (setting.hint | None if setting.otherwise else setting.hint), name


def test_what_fine_tuning_takes_is_its_own_or_of_gradient_descent():
    own = settings_of(FineTuningSettings)
    assert own.keys() <= finetuning.SETTINGS.keys()
    others = finetuning.SETTINGS.keys() - own
    descent = {name for name, setting in SETTINGS.items() if "mlp" in setting.heads} | {"seed"}
    # What the head itself is stays as it was trained.
    assert descent - others == {
        *("hidden", "activation", "batch_norm", "loss", "scaling"),
        *("noise", "views"),
    }


def test_the_estimators_take_settings_with_their_defaults():
    classifier = parameters(featcache.HeadClassifier)
    assert classifier.keys() == SETTINGS.keys() - {"views"}
    assert classifier.keys() >= parameters(featcache.HeadRegressor).keys()
    for estimator, otherwise in (
        (featcache.HeadClassifier, {"val_fraction": None, "scaling": "standard"}),
        (featcache.HeadRegressor, {"val_fraction": None, "head": "ridge", "scaling": "standard"}),
    ):
        found = {name: parameter.default for name, parameter in parameters(estimator).items()}
        assert found == {name: SETTINGS[name].default for name in found} | otherwise


def test_a_regressor_takes_all_settings_of_heads_that_predict_numbers():
    numbers = {name for name, setting in SETTINGS.items() if {"linear", "mlp", "ridge"} & set(setting.heads)}
    assert numbers - parameters(featcache.HeadRegressor).keys() == {
        *("loss", "label_smoothing", "class_weights"),  # of classes
        "views",
    }


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: featcache.train_head("x.h5", learning_rat=1),
            "train_head.. got an unexpected .*'learning_rat'",
        ),
        (lambda: featcache.finetune("x", views=3), "finetune.. got an unexpected keyword argument 'views'"),
        (lambda: featcache.train_head(), r"train_head\(\) missing a required argument: 'cache'"),
        (lambda: featcache.HeadClassifier(learning_rat=1), "unexpected keyword argument 'learning_rat'"),
    ],
)
def test_an_argument_that_there_is_not_is_a_type_error(call, says):
    with pytest.raises(TypeError, match=says):
        call()


def test_a_function_receives_every_setting_and_its_own_arguments():
    settings = {
        "size": Setting(default=2, help="", panel=""),
        "word": Setting(default="a", help="", panel="", otherwise="b"),
    }

    class Arguments(typing.TypedDict, total=False):
        size: int
        word: str

    @spelled_out(Arguments, settings, before="last")
    def function(first, *, middle=0, last=9, **settings):
        return first, middle, last, settings

    assert str(inspect.signature(function)) == "(first, *, middle=0, size: int = 2, word: str = None, last=9)"
    assert function(1, size=5) == (1, 0, 9, {"size": 5, "word": None})
    assert function.__name__ == "function"


def test_no_function_takes_more_than_twenty_parameters_but_public_ones_and_commands():
    wide = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if len(every) > MOST:
                    wide.add(node.name)
    assert wide <= WIDE


# Commands ---------------------------------------------------------------------------------------------------


def test_train_head_has_an_option_for_every_setting():
    own = options("train-head")
    for name, setting in SETTINGS.items():
        default = ",".join(map(str, setting.default)) if setting.kind is tuple else setting.public_default
        assert own[name].default == default, name
        assert set(setting.aliases) <= set(own[name].opts)


def test_finetune_has_an_option_for_every_setting():
    own = options("finetune")
    for name, setting in finetuning.SETTINGS.items():
        if name != "rates":  # --rate takes one at a time
            assert own[name].default == setting.public_default, name
    assert "rate" in own


def test_sweep_has_an_option_for_every_axis():
    own = options("sweep")
    axes = read_axes({})
    for name, setting in SETTINGS.items():
        assert (own[name].metavar == "VALUES") == setting.axis, name
        assert (name in axes) == setting.axis
        if setting.axis and not setting.grid:
            assert axes[name].values == (setting.default,)


@pytest.mark.parametrize(
    ("command", "function", "spelled_otherwise"),
    [
        ("train-head", featcache.train_head, {"hidden", "output"}),  # text, and a path
        ("sweep", featcache.sweep, {"output"}),
        ("finetune", featcache.finetune, {"output", "rates"}),
        ("extract", featcache.extract, {"layers", "reuse"}),
    ],
)
def test_a_command_and_its_function_have_the_same_defaults(command, function, spelled_otherwise):
    own, public = options(command), parameters(function)
    shared = (own.keys() & public.keys()) - spelled_otherwise
    assert len(shared) > 15
    for name in shared:
        # Versions of typer differ in what stands for "no default".
        default = own[name].default if isinstance(own[name].default, (str, int, float)) else None
        assert default == public[name].default, name
