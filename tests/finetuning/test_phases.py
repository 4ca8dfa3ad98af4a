"""Where the chain is cut, and which parameters train in which phase."""

import numpy as np
import pytest
from helpers.tiny_finetuning import tiny_network

from featcache.backbones import load
from featcache.backbones.layer import Layer
from featcache.errors import UnknownNameError, UsageError
from featcache.finetuning.cut import divide, trained_names
from featcache.finetuning.data import FineTuningData
from featcache.finetuning.model import Model
from featcache.finetuning.phases import build_phases
from featcache.finetuning.settings import FineTuningSettings
from featcache.heads.model import HeadArchitecture
from featcache.heads.settings import Settings
from featcache.splits.selection import Selection

HEAD = ("kernel", "bias")


@pytest.fixture(scope="module")
def model() -> Model:
    network = tiny_network()
    return Model(network, Layer("pool", "none"), network.transforms, HeadArchitecture("linear", 3))


def data_of(rows: int = 10, layer: str | None = None) -> FineTuningData:
    nothing = np.zeros(0, np.int64)
    selection = Selection(np.arange(rows), nothing, nothing, "none")
    return FineTuningData(selection, np.zeros(rows, np.int32), (), "", "photos", layer=layer)


def test_training_begins_with_the_named_stage(model):
    division = divide(model, "block_2")
    assert division.frozen == ("block_1",)
    assert division.trained == ("block_2", "block_3", "pool")
    assert division.after == "block_1"


def test_all_and_head_are_the_ends(model):
    assert divide(model, "all").after is None
    assert divide(model, "all").trained == ("block_1", "block_2", "block_3", "pool")
    assert divide(model, "head").trained == ()
    assert divide(model, "head").after == "head"


def test_by_default_the_last_third_trains(model):
    assert divide(model, None).trained == ("pool",)
    assert divide(model, None, cached="block_1").trained == ("block_2", "block_3", "pool")


def test_a_stage_that_does_not_exist_is_refused(model):
    with pytest.raises(UnknownNameError, match=r"no stage 'block_4' to train from; did you mean 'block_"):
        divide(model, "block_4")


def test_a_stage_whose_output_is_cached_cannot_train(model):
    with pytest.raises(
        UsageError,
        match="block_2 cannot train: the cache holds the output of block_2; the first stage that can is block_3, "
        "or cache block_1:map",
    ):
        divide(model, "block_2", cached="block_2")


def test_a_stage_behind_the_head_is_refused():
    network = tiny_network()
    early = Model(network, Layer("block_2", "avg"), network.transforms, HeadArchitecture("linear", 3))
    with pytest.raises(UnknownNameError, match="'block_3' lies behind block_2:avg, where the head is"):
        divide(early, "block_3")
    with pytest.raises(
        UsageError, match="the cache holds block_3, which lies behind the head's layer block_2:avg"
    ):
        divide(early, None, cached="block_3")


def test_running_statistics_are_no_parameters(model):
    names = trained_names(model, divide(model, "block_3"))
    assert sorted(names) == ["block_3.conv.kernel", "block_3.norm.bias", "block_3.norm.scale"]


def test_the_head_comes_first_and_alone(model):
    settings = FineTuningSettings(Settings(epochs=3, batch_size=4), head_epochs=2, head_learning_rate=0.5)
    first, second = build_phases(model, HEAD, divide(model, "block_3"), settings, data_of())
    assert first.rates == {"head.kernel": 0.5, "head.bias": 0.5}
    assert first.after == "head"
    assert first.settings.epochs == 2
    assert second.after == "block_2"
    assert second.rates["block_3.conv.kernel"] == second.rates["head.bias"] == Settings().learning_rate
    assert second.steps_per_epoch == 3


def test_from_a_cut_both_phases_begin_where_it_was_made(model):
    settings = FineTuningSettings(Settings(), head_epochs=1)
    data = data_of(layer="block_1:map")
    first, second = build_phases(model, HEAD, divide(model, "block_3", cached="block_1"), settings, data)
    assert first.after == second.after == "block_1"


def test_a_rate_of_zero_freezes(model):
    settings = FineTuningSettings(Settings(), rates=(("*.norm.*", 0.0), ("*", 0.1)))
    (phase,) = build_phases(model, HEAD, divide(model, "block_3"), settings, data_of())
    assert sorted(phase.rates) == ["block_3.conv.kernel", "head.bias", "head.kernel"]


def test_statistics_move_only_in_stages_that_train(model):
    settings = FineTuningSettings(Settings(), batch_norm="update")
    (phase,) = build_phases(model, HEAD, divide(model, "block_2"), settings, data_of())
    assert phase.moving == ("block_2", "block_3")


@pytest.mark.parametrize("head", ["knn", "prototype"])
def test_heads_without_a_gradient_are_refused(head):
    with pytest.raises(UsageError, match=f"a {head} head has no gradient"):
        FineTuningSettings(Settings(head=head))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_norm": "updated"}, "no batch_norm 'updated'; did you mean 'update'"),
        ({"compute_dtype": "float16"}, "no compute_dtype 'float16'"),
        ({"head_epochs": -1}, "head_epochs -1: expected 0 or more"),
        ({"average": 1.0}, "average 1.0: expected in 0..1"),
        ({"accumulate": 0}, "accumulate 0: expected at least 1"),
        ({"augment": "flop"}, "flop"),
        ({"rates": (("*", -1.0),)}, "rates .*: expected PATTERN=RATE with rates of 0 or above"),
    ],
)
def test_values_that_cannot_work_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        FineTuningSettings(Settings(), **given)


def test_an_optimiser_of_all_rows_is_refused():
    with pytest.raises(UsageError, match="no optimizer 'lbfgs'"):
        FineTuningSettings(Settings(optimizer="lbfgs"))


def test_the_blocks_of_a_transformer_train():
    """Its stages have dots in their names: ``blocks.0``."""
    network = load("vit_tiny_patch16_224", weights="random", image_size=32)
    vit = Model(network, Layer("norm", "cls", 1), network.transforms, HeadArchitecture("linear", 3))
    division = divide(vit, "blocks.11")
    names = trained_names(vit, division)
    assert {vit.stage_of[name] for name in names} == {"blocks.11", "norm"}
    assert len(names) > 10
    assert {vit.stage_of[name] for name in vit.values({})} == {*vit.stages} & set(vit.stage_of.values())
    settings = FineTuningSettings(Settings(), rates=(("blocks.11", 0.1), ("*", 0.2)))
    (phase,) = build_phases(vit, HEAD, division, settings, data_of())
    assert {phase.rates[name] for name in names if vit.stage_of[name] == "blocks.11"} == {0.1}
