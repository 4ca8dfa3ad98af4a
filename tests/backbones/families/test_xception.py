"""Xception beside Keras and timm."""

from dataclasses import replace

import numpy as np
import pytest
from flax import nnx
from helpers import golden, keras_oracle
from helpers.drawing import draw, images
from helpers.golden import assert_equals_golden
from helpers.keras_oracle import TOLERANCE, KerasCase, assert_equals_keras
from helpers.keras_writer import legacy_file

from featcache.backbones import load
from featcache.backbones.families.xception import Config, build

SUMS = [f"block{number}" for number in range(2, 14)]

XCEPTION = KerasCase(
    "xception.keras_in1k",
    lambda applications, shape, top: applications.Xception(
        include_top=top, weights=None, input_shape=shape, classifier_activation=None, pooling="avg"
    ),
    same={
        "add": "block2",
        **{f"add_{number}": block for number, block in enumerate(SUMS[1:], 1)},
        "global_average_pooling2d": "pool",  # where there is no top
    },
)


@pytest.mark.slow
def test_without_its_top_equals_keras(tmp_path):
    assert_equals_keras(XCEPTION, (107, 86), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
def test_with_its_top_equals_keras(tmp_path):
    assert_equals_keras(XCEPTION, (299, 299), tmp_path)


@pytest.mark.slow
def test_equals_timm(tmp_path):
    # Timm counts blocks otherwise, so that the sums themselves have no name of its own here; its golden holds the
    # ReLU of each.
    errors = assert_equals_golden("xception.tf_in1k", tmp_path, runs=[0], uncovered=SUMS)
    assert {f"block{number}.rep.0" for number in range(2, 13)} <= errors.keys()


@pytest.mark.one_by_default
@pytest.mark.parametrize("field", ["padding", "epsilon"])
def test_what_differs_in_timm_makes_a_difference(field, tmp_path):
    loaded = golden.loaded_from_file("xception.tf_in1k", tmp_path)
    config = replace(loaded.pretrained.config, **{field: getattr(Config(), field)})
    graphdef = nnx.split(nnx.eval_shape(lambda: build(config, None)))[0]
    run = golden.kept("xception.tf_in1k")["runs"][0]
    actual = keras_oracle.run_ours(replace(loaded, graphdef=graphdef), images(*run["size"]), ["block2.rep.5"])
    assert golden.difference(actual["block2.rep.5"], run["points"]["block2.rep.5"]) > 10 * TOLERANCE


@pytest.mark.slow
def test_mapping_of_keras_files_is_strict(tmp_path):
    keras_oracle.assert_mapping_is_strict(XCEPTION, (71, 71), tmp_path)


@pytest.mark.slow
def test_mapping_of_timm_files_is_strict(tmp_path):
    golden.assert_mapping_is_strict("xception.tf_in1k", tmp_path)


# The layers of the published files by their class, in the order of their numbers; see issue 9683 of keras-team/keras.
LAYERS_OF_2016 = {
    "convolution2d": (
        *("block1_conv1_act", "block1_conv2_act"),
        *(f"block{block}.shortcut" for block in (2, 3, 4, 13)),
    ),
    "separableconvolution2d": (
        *(f"block{block}.sepconv{n}" for block in (2, 3, 4) for n in (1, 2)),
        *(f"block{block}.sepconv{n}" for block in range(5, 13) for n in (1, 2, 3)),
        *("block13.sepconv1", "block13.sepconv2", "block14_sepconv1_act", "block14_sepconv2_act"),
    ),
    "batchnormalization": (
        *("block1_conv1_act", "block1_conv2_act"),
        *(f"block{block}.{part}" for block in (2, 3, 4) for part in ("shortcut", "sepconv1", "sepconv2")),
        *(f"block{block}.sepconv{n}" for block in range(5, 13) for n in (1, 2, 3)),
        *("block13.shortcut", "block13.sepconv1", "block13.sepconv2"),
        *("block14_sepconv1_act", "block14_sepconv2_act"),
    ),
}

LEAVES_OF_2016 = {
    "convolution2d": {"conv.kernel": "W"},
    "separableconvolution2d": {
        "depthwise.kernel": "depthwise_kernel",
        "pointwise.kernel": "pointwise_kernel",
    },
    "batchnormalization": {
        "norm.scale": "gamma",
        "norm.bias": "beta",
        "norm.mean": "running_mean",
        "norm.var": "running_std",
    },
}


def names_of_2016() -> dict[str, tuple[str, str]]:
    """Our names to the layer's and the weight's in the published files."""
    names = {
        f"{path}.{ours}": (f"{kind}_{number}", leaf)
        for kind, paths in LAYERS_OF_2016.items()
        for number, path in enumerate(paths, 1)
        for ours, leaf in LEAVES_OF_2016[kind].items()
    }
    return {**names, "logits.kernel": ("dense_2", "W"), "logits.bias": ("dense_2", "b")}


def test_the_published_file_is_read_by_its_names_of_2016(tmp_path):
    shapes = {name: tensor.shape for name, tensor in load("xception", weights="random").tensors.items()}
    expected = {name: draw(name, shape) for name, shape in shapes.items()}
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, (layer, leaf) in names_of_2016().items():
        depthwise = leaf == "depthwise_kernel"
        tensor = expected[name].transpose(0, 1, 3, 2) if depthwise else expected[name]
        layers.setdefault(layer, {})[f"{layer}_{leaf}:0"] = tensor
    actual = load("xception", weights=legacy_file(tmp_path / "published.h5", layers)).tensors
    assert expected.keys() == actual.keys()
    assert all(np.array_equal(actual[name], tensor) for name, tensor in expected.items())
