"""Inception-v3 beside Keras, torchvision and timm."""

from dataclasses import replace

import jax
import pytest
from flax import nnx
from helpers import golden, keras_oracle
from helpers.drawing import images
from helpers.golden import assert_equals_golden
from helpers.keras_oracle import TOLERANCE, KerasCase, assert_equals_keras

from featcache.backbones.families.inception_v3 import Config, build
from featcache.backbones.imagenet_classes import class_names
from featcache.backbones.registry import resolve

INCEPTION = KerasCase(
    "inception_v3.keras_in1k",
    lambda applications, shape, top: applications.InceptionV3(
        include_top=top, weights=None, input_shape=shape, classifier_activation=None, pooling="avg"
    ),
    # The stem's layers have automatic names.
    same={
        "activation": "Conv2d_1a_3x3",
        "activation_1": "Conv2d_2a_3x3",
        "activation_2": "Conv2d_2b_3x3",
        "max_pooling2d": "MaxPool_3a_3x3",
        "activation_3": "Conv2d_3b_1x1",
        "activation_4": "Conv2d_4a_3x3",
        "max_pooling2d_1": "MaxPool_5a_3x3",
        "global_average_pooling2d": "pool",  # where there is no top
    },
)


# The default run compares with timm, below.
@pytest.mark.slow
def test_without_its_top_equals_keras(tmp_path):
    assert_equals_keras(INCEPTION, (107, 86), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
def test_with_its_top_equals_keras(tmp_path):
    assert_equals_keras(INCEPTION, (299, 299), tmp_path)


@pytest.mark.slow
def test_equals_timm(tmp_path):
    assert_equals_golden("inception_v3.tf_in1k", tmp_path, runs=[1])


@pytest.mark.slow
def test_equals_timm_at_its_own_size(tmp_path):
    assert_equals_golden("inception_v3.tf_in1k", tmp_path, runs=[0])


@pytest.mark.slow
def test_equals_torchvision(tmp_path):
    # Torchvision's average is still a map, of one pixel.
    assert_equals_golden("inception_v3.tv_in1k", tmp_path, runs=[0], uncovered=["pool"])


@pytest.mark.slow
def test_counting_the_padding_makes_a_difference(tmp_path):
    loaded = golden.loaded_from_file("inception_v3.tf_in1k", tmp_path)
    without = nnx.split(nnx.eval_shape(lambda: build(Config(norm_scale=True), None)))[0]
    run = golden.kept("inception_v3.tf_in1k")["runs"][1]
    actual = keras_oracle.run_ours(replace(loaded, graphdef=without), images(*run["size"]), ["mixed0"])
    assert golden.difference(actual["mixed0"], run["points"]["Mixed_5b"]) > 10 * TOLERANCE


@pytest.mark.slow
def test_mapping_of_keras_files_is_strict(tmp_path):
    keras_oracle.assert_mapping_is_strict(INCEPTION, (75, 75), tmp_path)


@pytest.mark.slow
def test_mapping_of_torch_files_is_strict(tmp_path):
    golden.assert_mapping_is_strict("inception_v3.tf_in1k", tmp_path)


def test_the_auxiliary_classifier_is_left_out(tmp_path):
    name = "inception_v3.tv_in1k"
    assert "AuxLogits.fc.weight" in golden.kept(name)["tensors"]
    assert not any("Aux" in tensor for tensor in golden.loaded_from_file(name, tmp_path).tensors)


def test_torchvision_undoes_its_own_normalisation():
    # transform_input: x · (std / 0.5) + (mean − 0.5) / 0.5 of what its transforms give, which is −1 to 1.
    assert (
        resolve("inception_v3.tv_in1k").transforms.mean
        == resolve("inception_v3.keras_in1k").transforms.mean
        == (0.5, 0.5, 0.5)
    )


def test_tf_slim_counts_a_background_class():
    def logits(x: jax.Array) -> jax.Array:
        return build(Config(classes=1001), None)(x, taps=["logits"])["logits"]

    shape = jax.eval_shape(logits, jax.ShapeDtypeStruct((2, 75, 75, 3), "float32")).shape
    assert shape == (2, len(class_names(1001)))
