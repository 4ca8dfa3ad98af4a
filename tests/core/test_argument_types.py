"""Arguments of another type are refused by name, with what was given and what was expected."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

import featcache
from featcache.core.argument_types import checked_types, named_as_options, plain_value, require_type, spelled
from featcache.errors import UsageError
from featcache.finetuning.settings import read_rates
from featcache.heads.settings import Settings

PATH = str | os.PathLike[str] | None


@pytest.mark.parametrize(
    ("hint", "right", "wrong", "expected"),
    [
        (int, [3, np.int64(3)], ["3", 3.0, True, None, [3], np.float32(3)], "a whole number"),
        (float, [3, 0.5, np.float32(0.5)], ["0.5", True, None, 1j], "a number"),
        (float | None, [None, 1], ["none"], "a number or None"),
        (bool, [True, np.True_], [1, "yes", None], "true or false"),
        (str, ["a"], [5, b"a", Path("a")], "text"),
        (PATH, ["a", Path("a"), None], [5, b"a"], "text, a path or None"),
        (Sequence[int], [[1], (), (np.int64(2),)], ["12", 1, [1.5], ["a"]], "a list of whole numbers"),
        (tuple[int, ...], [(1, 2)], [(True,)], "a list of whole numbers"),
        (Sequence[str | os.PathLike[str]], [["a", Path("b")]], ["a", Path("b"), [3]], "a list of texts or paths"),
        (Any, [object()], [], ""),
        ("LoadedBackbone", [5], [], ""),
        (int | dict[str, int], ["unknown hints are left to the function"], [], ""),
    ],
)  # fmt: skip
def test_types(hint, right, wrong, expected):
    for value in right:
        require_type("rows", value, hint)
    for value in wrong:
        with pytest.raises(UsageError) as caught:
            require_type("rows", value, hint)
        assert str(caught.value).endswith(f": expected {expected}")
        assert str(caught.value).startswith("rows ")


def test_a_long_value_is_told_short():
    with pytest.raises(UsageError, match=r"^rows '.{5,20}\.\.\..{5,20}': expected a whole number$"):
        require_type("rows", "x" * 10_000, int)


def test_only_given_arguments_are_checked_and_the_function_stays_what_it_is():
    @checked_types(but=("free",))
    def function(first: int, *rest: int, free: int = "x", most_rows: int | None = None, **others: int):  # type: ignore
        """Say so."""
        return first, rest, free, most_rows, others

    assert function(1, "2", free="y", other="z") == (1, ("2",), "y", None, {"other": "z"})
    assert (function.__name__, function.__doc__) == ("function", "Say so.")
    with pytest.raises(UsageError, match=r"^most_rows '3': expected a whole number or None$"):
        function(1, most_rows="3")  # type: ignore
    with pytest.raises(TypeError, match=r"missing a required argument: 'first'|positional argument: 'first'"):
        function()  # type: ignore


def test_numbers_of_numpy_become_pythons():
    found = (
        plain_value((np.int64(3), 2)),
        plain_value(np.float32(0.5)),
        plain_value("a"),
        plain_value(np.zeros(2)),
    )
    assert found[:3] == ((3, 2), 0.5, "a")
    assert [type(value) for value in (*found[0], found[1])] == [int, int, float]
    assert isinstance(found[3], np.ndarray)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: featcache.train_head("x.h5", epochs="10"), "epochs '10': expected a whole number"),
        (lambda: featcache.train_head("x.h5", hidden="ab"), "hidden 'ab': expected a list of whole numbers"),
        (lambda: featcache.train_head("x.h5", head=5), "head 5: expected text or None"),
        (lambda: featcache.finetune("x", learning_rate="a"), "learning_rate 'a': expected a number"),
        (lambda: featcache.finetune("x", workers=1.5), "workers 1.5: expected a whole number or None"),
        (lambda: featcache.sweep("x.h5", seeds="x"), "seeds 'x': expected a whole number"),
        (lambda: featcache.sweep(5), "caches 5: expected text, a path or a list of texts or paths"),
        (lambda: featcache.extract("photos", batch_size="x"), "batch_size 'x': expected a whole number or None"),
        (lambda: featcache.extract("photos", layers=5), "layers 5: expected a list of texts"),
        (lambda: featcache.train_head("x.h5", class_weights=5), "class_weights 5: expected none, balanced, or a"),
        (lambda: featcache.train_head("x.h5", hidden="256"), "hidden '256': expected a list of whole numbers"),
        (lambda: featcache.sweep("x.h5", shots=[]), "shots []: expected numbers above 0 and 'all'"),
        (lambda: featcache.sweep("x.h5", trials=0), "trials 0: expected 1 or more"),
        (lambda: featcache.finetune(5), "classifier 5: expected text, a path or a Classifier"),
        (lambda: featcache.finetune("x", on_progress=5), "on_progress 5: expected a function or None"),
        (lambda: featcache.finetune("x", dataset=5), "dataset 5: expected text, a path, a Dataset or None"),
        (lambda: featcache.plan_finetuning("x", on_progress=5), "on_progress 5: expected a function or None"),
        (lambda: featcache.load_backbone(5), "name 5: expected text"),
        (lambda: featcache.open_dataset(5), "spec 5: expected text, a path or a Dataset"),
        (lambda: featcache.FeatureCache(5), "path 5: expected text or a path"),
        (lambda: featcache.Classifier.load(None), "folder None: expected text or a path"),
        (lambda: featcache.open_arrays([], [], classes=5), "classes 5: expected a list of texts or None"),
        (lambda: featcache.extract("photos", backbone=5), "backbone 5: expected a name such as mobilenet_v2"),
        (lambda: featcache.plan_extraction("photos", workers="2"), "workers '2': expected a whole number or None"),
        (lambda: featcache.check_dataset("photos", workers="2"), "workers '2': expected a whole number or None"),
    ],
)  # fmt: skip
def test_public_functions_refuse_before_anything_is_read(call, says):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(says)


def test_one_value_is_a_list_of_one():
    @checked_types()
    def function(hidden: Sequence[int], names: Sequence[str] | None = None, caches: str | Sequence[str] = ""):
        return hidden, names, caches

    assert function(256, "pool", "a") == ((256,), ("pool",), "a")
    assert function([256, 128], ["pool"], ["a"]) == ([256, 128], ["pool"], ["a"])


def test_one_width_and_one_layer_mean_what_they_say(tmp_path):
    features, labels = blobs(40)
    cache = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 30 + ["val"] * 10)
    made = featcache.train_head(cache, output=None, head="mlp", hidden=8, epochs=1)
    assert made.training["hidden"] == [8]
    with pytest.raises(featcache.FeatcacheError, match="no dataset folder photos"):
        featcache.extract("photos", layers="pool")


def test_rates_are_texts_or_a_mapping():
    assert read_rates("block*=1e-4") == read_rates({"block*": 1e-4}) == (("block*", 1e-4),)
    for wrong in (5, None, b"a=1"):
        with pytest.raises(UsageError, match=r"^rates .*: expected a mapping such as \{'head': 1e-3"):
            read_rates(wrong)  # type: ignore
    for pair in (["a=b"], ["=1"], [3], {"a": "b"}, {"a": None}):
        with pytest.raises(UsageError, match=r"^rate .*: expected PATTERN=RATE, such as 'block_1\*=1e-4'"):
            read_rates(pair)  # type: ignore


def test_rows_that_are_no_numbers_are_refused(tmp_path):
    features, labels = blobs(4)
    cache = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 4)
    for wrong in ("a", {}, [None], object()):
        with pytest.raises(UsageError, match=r"^rows .*: expected numbers of rows, int \[n\]$"):
            cache.features(wrong)  # type: ignore


def test_names_are_spelled_as_their_user_wrote_them():
    """The same refusals for a function and for a command, and for the function again."""
    refusals = {
        "batch_size": (lambda: Settings(batch_size="32"), "{} '32': expected a whole number"),
        "learning_rate": (lambda: Settings(learning_rate=-1), "{} -1: expected above 0"),
        "class_weights": (
            lambda: Settings(class_weights="balance"),
            "no {} 'balance'; did you mean 'balanced'?",
        ),
    }
    for name, (call, told) in refusals.items():
        option = f"--{name.replace('_', '-')}"
        for expected, around in ((name, nullcontext), (option, named_as_options), (name, nullcontext)):
            with around(), pytest.raises(UsageError) as refused:
                call()
            assert str(refused.value).startswith(told.format(expected))


def test_an_option_of_another_name_than_its_argument_is_named_as_it_is_typed():
    assert spelled("set_level") == "set_level"
    with named_as_options():
        assert spelled("set_level") == "--set"
        assert spelled("known_share") == "--known-share"
