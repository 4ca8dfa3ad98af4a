"""Several sets of tensors in a file: levels of checkpoints, models inside of a Keras model, names with prefixes."""

from typing import Any

import numpy as np
import pytest
from helpers.near_network import (
    assert_features_of,
    dense,
    keras_base,
    load_quietly,
    loaded,
    ones,
    prefixed,
    saved,
    torch_tensors,
)
from helpers.support import keras
from helpers.torch_writer import Checkpoint, checkpoint, legacy, storage, tensor, zipped

from featcache.backbones import load
from featcache.backbones.load_from_classifier import load_recorded
from featcache.errors import WeightsError
from featcache.extraction.spec import ExtractionSpec

pytestmark = pytest.mark.usefixtures("near_is_known")

COUNT = len(torch_tensors())
FEATURES = torch_tensors(None)


# PyTorch: levels of checkpoints


def levels(**of: Any) -> bytes:
    """A checkpoint of torch with arrays at any depth."""
    storages: dict[str, np.ndarray] = {}

    def content(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: content(each) for key, each in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        key = str(len(storages))
        storages[key] = np.ravel(value)
        where = storage(key, value.dtype.name, value.size)
        return tensor(where, value.shape, tuple(step // value.itemsize for step in value.strides))

    return zipped(Checkpoint(content(of), storages))


LIGHTNING = {
    "epoch": 3,
    "global_step": 40,
    "pytorch-lightning_version": "2.4.0",
    "loops": {"fit_loop": {"state_dict": {}}},
    "callbacks": {},
    "optimizer_states": [{"state": {0: {"step": 1.0}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
    "lr_schedulers": [],
    "hparams_name": "kwargs",
    "hyper_parameters": {"lr": 0.1, "arch": "near"},
}
OTHER = torch_tensors(seed=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": torch_tensors(), "epoch": 1}, []),
        (
            {"state_dict": prefixed("module.", torch_tensors())},
            [f"the prefix 'module.' is taken off all {COUNT} names"],
        ),
        ({"ema": torch_tensors()}, ["the weights under 'ema' are taken"]),
        ({"net": torch_tensors(), "acc": 93.1, "epoch": 9}, ["the weights under 'net' are taken"]),
        (
            {"model_state_dict": FEATURES, "optimizer": {"state": {}}},
            ["the weights under 'model_state_dict' are taken"],
        ),
        (
            {**LIGHTNING, "state_dict": {**prefixed("model.", torch_tensors(5)), **ones(loss__weight=(5,))}},
            [
                f"the prefix 'model.' is taken off {COUNT} of {COUNT + 1} names; left out: loss.weight "
                "(no part of near up to 'logits')"
            ],
        ),
        ({"checkpoint": {"net": torch_tensors()}}, ["the weights under 'checkpoint.net' are taken"]),
        (  # self-supervised: the centre of the loss is no other set of weights
            {"encoder": prefixed("backbone.", FEATURES), "loss": ones(center=(1, 8))},
            ["the weights under 'encoder' are taken; the prefix 'backbone.' is taken off all 18 names"],
        ),
        ({"model": torch_tensors(), "ema": torch_tensors()}, []),  # the same twice
        (
            {"state_dict": OTHER, "state_dict_ema": torch_tensors()},
            [
                "the weights under 'state_dict_ema' are taken; those of the last step are --weights w.pth#state_dict"
            ],
        ),
        (
            {"model": prefixed("module.", OTHER), "model_ema": prefixed("module.", torch_tensors())},
            [f"the prefix 'module.' is taken off all {COUNT} names"],
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "-",
)
def test_levels_of_checkpoints(tmp_path, content, said):
    path = tmp_path / "w.pth"
    path.write_bytes(levels(**content))
    network, told = loaded("near", path)
    assert told == [f"w.pth: {line}" for line in said]
    assert_features_of(network, load("near", weights=saved(tmp_path, torch_tensors(), "original")))


@pytest.mark.parametrize(
    ("content", "ways", "parts"),
    [
        (
            {"model": OTHER, "ema": torch_tensors()},
            "those under 'model' or those under 'ema'",
            ["model", "ema"],
        ),
        (
            {"model": OTHER, "ema": {"module": torch_tensors(), "updates": 7}},
            "those under 'model' or those under 'ema.module'",
            ["model", "ema.module"],
        ),
        (
            {"student": OTHER, "teacher": prefixed("backbone.", torch_tensors())},
            "those under 'student' or those under 'teacher.backbone'",
            ["student", "teacher.backbone"],
        ),
        (
            {"state_dict": {**prefixed("teacher.", torch_tensors()), **prefixed("student.", OTHER)}},
            "those under 'state_dict.teacher' or those under 'state_dict.student'",
            ["state_dict.teacher", "state_dict.student"],
        ),
    ],
)
def test_several_sets_that_fit_are_refused_with_what_chooses_each(tmp_path, content, ways, parts):
    path = tmp_path / "w.pth"
    path.write_bytes(levels(**content))
    with pytest.raises(WeightsError) as caught:
        load("near", weights=path)
    options = " or ".join(f"--weights {path}#{part}" for part in parts)
    assert (
        str(caught.value) == f"{path} holds several sets of weights that fit: {ways}; choose one: {options}"
    )
    found = {part: load_quietly("near", f"{path}#{part}") for part in parts}
    for seed, tensors in enumerate((torch_tensors(), OTHER)):
        kernel = tensors["features.1.0.weight"].transpose(2, 3, 1, 0)
        matching = [
            part
            for part, each in found.items()
            if np.array_equal(each.tensors["block_1.conv.kernel"], kernel)
        ]
        assert len(matching) == 1, seed
        assert found[matching[0]].weights_path == f"{path}#{matching[0]}"


def test_a_classifier_of_before_names_the_level_that_was_read_then(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(levels(model=torch_tensors(), ema=OTHER))
    before = load("near", weights=saved(tmp_path, torch_tensors(), "original"))
    assert_features_of(load_recorded("near.custom", str(path)), before)


def test_names_with_and_without_a_prefix_are_two_sets(tmp_path):
    path = saved(tmp_path, {**FEATURES, **prefixed("ema.", torch_tensors(None, seed=1))})
    with pytest.raises(
        WeightsError, match=rf"under 'ema' or the names without a prefix; .*{path}#ema or .*{path}#\.$"
    ):
        load("near", weights=path)
    assert_features_of(
        load_quietly("near", f"{path}#."), load("near", weights=saved(tmp_path, FEATURES, "original"))
    )
    with pytest.raises(
        WeightsError, match=r"w\.safetensors has no weights under 'emma'; did you mean 'ema'\?$"
    ):
        load("near", weights=f"{path}#emma")


def test_a_file_whose_own_name_has_a_sign_is_that_file(tmp_path):
    network, told = loaded("near", saved(tmp_path, torch_tensors(), "run#7"))
    assert (told, network.weights_path) == ([], str(tmp_path / "run#7"))


def test_a_legacy_checkpoint_with_a_prefix(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(legacy(checkpoint(prefixed("module.", torch_tensors()))))
    assert loaded("near", path)[1] == [f"w.pth: the prefix 'module.' is taken off all {COUNT} names"]


@pytest.mark.filterwarnings("ignore:You are saving your model")
def test_two_bases_that_fit_are_refused_with_what_chooses_each(tmp_path):
    image = keras().Input((8, 8, 3))
    bases = [keras_base("left", seed=1), keras_base("right", seed=2)]
    pooled = [keras().layers.GlobalAveragePooling2D()(each(image)) for each in bases]
    model = keras().Model(image, dense(5, name="dense")(keras().layers.Concatenate()(pooled)))
    for name in ("w.keras", "w.h5"):
        path = tmp_path / name
        model.save(path)
        with pytest.raises(
            WeightsError, match=rf"under 'left' or those under 'right'; choose one: --weights {path}#left"
        ):
            load("near.keras", weights=path)
        for base in bases:
            network = load_quietly("near.keras", f"{path}#{base.name}")
            kernel = np.asarray(base.get_layer("block_2_conv").kernel)
            assert network.tensors["block_2.conv.kernel"].tobytes() == kernel.tobytes()


def test_the_part_of_a_file_is_part_of_what_is_asked_for(tmp_path):
    path = saved(tmp_path, torch_tensors())
    digests = {
        ExtractionSpec(backbone="near", layers=("pool",), weights=f"{path}{part}").digest()
        for part in ("", "#ema", "#model")
    }
    assert len(digests - {None}) == 3
