"""Inception-ResNet-v2 beside Keras and timm."""

import re

import numpy as np
import pytest
from helpers import golden, keras_oracle
from helpers.golden import assert_equals_golden
from helpers.keras_oracle import KerasCase, assert_equals_keras

from featcache.backbones import load
from featcache.backbones.families.inception_resnet_v2 import FAMILY, Config
from featcache.backbones.weights.key_mapping import convert

INCEPTION_RESNET = KerasCase(
    "inception_resnet_v2.keras_in1k",
    lambda applications, shape, top: applications.InceptionResNetV2(
        include_top=top, weights=None, input_shape=shape, classifier_activation=None, pooling="avg"
    ),
    # The stem's layers have automatic names, and so has the last sum, which no activation follows.
    same={
        "activation": "Conv2d_1a_3x3",
        "activation_1": "Conv2d_2a_3x3",
        "activation_2": "Conv2d_2b_3x3",
        "max_pooling2d": "MaxPool_3a_3x3",
        "activation_3": "Conv2d_3b_1x1",
        "activation_4": "Conv2d_4a_3x3",
        "max_pooling2d_1": "MaxPool_5a_3x3",
        "custom_scale_layer_39": "block8_10",
        "global_average_pooling2d": "pool",  # where there is no top
    },
)


@pytest.mark.slow
def test_without_its_top_equals_keras(tmp_path):
    assert_equals_keras(INCEPTION_RESNET, (107, 86), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
def test_with_its_top_equals_keras(tmp_path):
    assert_equals_keras(INCEPTION_RESNET, (299, 299), tmp_path)


@pytest.mark.slow
def test_equals_timm(tmp_path):
    assert_equals_golden("inception_resnet_v2.tf_in1k", tmp_path, runs=[0])


@pytest.mark.slow
def test_mapping_of_keras_files_is_strict(tmp_path):
    keras_oracle.assert_mapping_is_strict(INCEPTION_RESNET, (75, 75), tmp_path)


@pytest.mark.slow
def test_mapping_of_timm_files_is_strict(tmp_path):
    golden.assert_mapping_is_strict("inception_resnet_v2.tf_in1k", tmp_path)


# From our paths to the layers of the published file, which has TF-slim's names.
PUBLISHED = (
    (r"conv_7b_ac\.(conv|norm)", r"Conv2d_7b_1x1.\1"),
    (r"block(\d+_\d+)\.conv", r"Block\1_Conv2d_1x1"),
    (r"block(\d+_\d+)\.mixed\.", r"Block\1_"),
    (r"mixed_(\w\w)\.", r"Mixed_\1_"),
    (r"logits", "Logits"),
    (r"\.conv$", ""),
    (r"\.norm$", "_BatchNorm"),
)
LEAVES = {"mean": "moving_mean", "var": "moving_variance"}


def published_name(ours: str) -> str:
    """Name of one of our tensors in the published file."""
    module, _, leaf = ours.rpartition(".")
    for pattern, replacement in PUBLISHED:
        module = re.sub(pattern, replacement, module)
    return f"{module}.{LEAVES.get(leaf, 'beta' if module.endswith('_BatchNorm') else leaf)}"


@pytest.mark.slow
def test_the_published_file_is_read_by_its_names_of_tf_slim():
    shapes = {
        name: tensor.shape for name, tensor in load("inception_resnet_v2", weights="random").tensors.items()
    }
    names = {published_name(name): name for name in shapes}
    # From the code that wrote the file.
    assert {
        "Conv2d_4a_3x3.kernel",
        "Mixed_5b_Branch_3_Conv2d_0b_1x1_BatchNorm.moving_variance",
        "Block35_10_Branch_2_Conv2d_0c_3x3_BatchNorm.beta",
        "Mixed_6a_Branch_1_Conv2d_1a_3x3.kernel",
        "Block17_20_Branch_1_Conv2d_0b_1x7.kernel",
        "Mixed_7a_Branch_0_Conv2d_1a_3x3.kernel",
        "Block8_10_Branch_1_Conv2d_0c_3x1.kernel",
        "Block8_10_Conv2d_1x1.bias",
        "Conv2d_7b_1x1_BatchNorm.moving_mean",
        "Logits.kernel",
    } <= names.keys()
    values = {name: np.full(shapes[ours], float(number)) for number, (name, ours) in enumerate(names.items())}
    converted = convert(values, FAMILY.key_tables["keras"](Config()), shapes, origin="published.h5")
    assert {names[name]: float(value.flat[0]) for name, value in values.items()} == {
        name: float(tensor.flat[0]) for name, tensor in converted.items()
    }
