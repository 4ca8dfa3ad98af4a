"""The public names, what importing them costs, which part may know which, and one set of defaults."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import featcache
from featcache.classifier.classifier import Classifier
from featcache.cli import main
from featcache.cli.app import app
from featcache.errors import FeatcacheError

HEAVY = ("jax", "flax", "optax", "orbax", "sklearn", "scipy", "numpy", "h5py", "pyarrow", "PIL", "rich")


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the names of the modules that are loaded then."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


# Imports ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import featcache",
        "import featcache; dir(featcache); featcache.__version__; featcache.FeatcacheError",
        "from featcache.cli import main; assert main(['--help']) == 0",
        "from featcache.cli import main; assert main(['extract', '--help']) == 0",
        "from featcache.cli import main; assert main(['--version']) == 0",
    ],
)
def test_these_import_nothing_heavy(code):
    assert not loaded_by(code) & set(HEAVY)


@pytest.mark.parametrize("module", ["heads.model", "solvers.train_loop", "solvers.fit"])
def test_training_knows_no_images_and_no_backbones(module):
    loaded = loaded_by(f"import featcache.{module}")
    assert "jax" in loaded
    unwanted = {
        "PIL",
        "featcache.images.transforms",
        "featcache.images.decoding",
        "featcache.extraction.extract",
    }
    assert not loaded & unwanted
    assert not [name for name in loaded if name.startswith(("featcache.backbones", "featcache.datasets"))]


@pytest.mark.parametrize(
    "module",
    [
        "classifier.train_head",
        "classifier.classifier",
        "cache",
        "metrics.classification",
        "splits.stratified",
        "splits.selection",
        "extraction.planning.plan",
    ],
)
def test_what_works_on_caches_needs_neither_jax_nor_images_to_be_imported(module):
    loaded = loaded_by(f"import featcache.{module}")
    assert not loaded & {"jax", "PIL"}


# Names ------------------------------------------------------------------------------------------------------


def test_every_public_name_resolves():
    assert [name for name in featcache.__all__ if getattr(featcache, name, None) is None] == []
    assert dir(featcache) == sorted(featcache.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'featcache' has no attribute 'extrat'"):
        _ = featcache.extrat  # type: ignore[attr-defined]


def test_functions_stay_functions_when_every_module_is_imported():
    names = [m.name for m in pkgutil.walk_packages(featcache.__path__, "featcache.")]
    assert "featcache.extraction.extract" in names
    for name in names:
        importlib.import_module(name)
    for name in ("extract", "train_head", "open_dataset", "load_backbone"):
        assert inspect.isfunction(getattr(featcache, name)), name
    for name in ("Classifier", "FeatureCache", "Dataset", "Transforms", "Extraction", "FeatcacheError"):
        assert inspect.isclass(getattr(featcache, name)), name


def test_the_version_is_the_distributions():
    from importlib.metadata import version

    assert featcache.__version__ == version("featcache")


@pytest.mark.parametrize(
    ("error", "code", "builtin"),
    [
        ("UsageError", 2, ValueError),
        ("UnknownNameError", 2, LookupError),
        ("DataError", 3, ValueError),
        ("MissingFileError", 3, FileNotFoundError),
        ("WeightsError", 3, ValueError),
        ("IntegrityError", 4, OSError),
        ("IdentityError", 4, OSError),
        ("LockedError", 1, BlockingIOError),
        ("StorageError", 1, OSError),
    ],
)
def test_errors_have_an_exit_code_and_are_the_builtin_that_fits(error, code, builtin):
    from featcache import errors

    kind = getattr(errors, error)
    assert issubclass(kind, featcache.FeatcacheError)
    assert issubclass(kind, builtin)
    assert kind.exit_code == code
    assert str(kind("what, expected, next")) == "what, expected, next"


def test_public_functions_and_classes_say_what_they_are():
    for name in featcache.__all__:
        value = getattr(featcache, name)
        assert name.startswith("__") or (value.__doc__ or "").strip(), name


# One set of defaults ----------------------------------------------------------------------------------------

# Each command with nothing but what it must be given, and the public function that it stands for.
COMMANDS = {
    "extract": (["photos"], "featcache.extraction.extract", "extract"),
    "train-head": (["x.h5"], "featcache.classifier.train_head", "train_head"),
    "evaluate": (["classifier"], "featcache.classifier.classifier", "Classifier.evaluate"),
    "predict": (["classifier", __file__], "featcache.classifier.classifier", "Classifier.stream"),
    "demo": ([], "featcache.cli.commands.demo", "run_demo"),
}
# What a command line cannot write, what belongs to its display, and the argument that these take the place of.
NOT_OPTIONS = {"transforms", "on_progress", "stop", "dataset", "images", "labels", "classes", "splits", "ids"}


class CalledError(FeatcacheError):
    """Stops a command where it calls its public function."""


def recorded_call(command: str, monkeypatch: pytest.MonkeyPatch) -> tuple[inspect.Signature, dict]:
    """Run a command and return the signature of its function and the arguments it was called with."""
    arguments, module, name = COMMANDS[command]
    owner, _, attribute = name.rpartition(".")
    home = getattr(importlib.import_module(module), owner) if owner else importlib.import_module(module)
    signature = inspect.signature(getattr(home, attribute))
    calls = []

    def record(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        calls.append(bound.arguments)
        raise CalledError("recorded")

    monkeypatch.setattr(home, attribute, record)
    loaded = object.__new__(Classifier)
    vars(loaded)["classes"] = ("ant", "bee")
    monkeypatch.setattr("featcache.classifier.classifier.Classifier.load", lambda folder: loaded)
    assert main([command, *arguments]) == CalledError.exit_code
    return signature, calls[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_the_defaults_of_its_function(command, monkeypatch):
    signature, given = recorded_call(command, monkeypatch)
    defaults = {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if parameter.default is not inspect.Parameter.empty and name not in NOT_OPTIONS
    }
    plain = {name: str(v) if isinstance(v, Path) else v for name, v in given.items() if name in defaults}
    assert defaults
    assert plain == defaults


@pytest.mark.parametrize("command", COMMANDS)
def test_every_parameter_of_a_function_is_an_option_or_argument_of_its_command(command, monkeypatch):
    signature, _ = recorded_call(command, monkeypatch)
    callback = next(c.callback for c in app.registered_commands if c.name == command)
    options = set(inspect.signature(callback).parameters)
    options |= {f"{name}s" for name in options}  # --layer may be repeated: the function's `layers`
    options |= {"self", "images"} if command in ("evaluate", "predict") else set()  # classifier, paths
    assert set(signature.parameters) - options <= NOT_OPTIONS
