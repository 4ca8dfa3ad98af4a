"""VGG beside Keras and torchvision."""

import pytest
from helpers.golden import assert_equals_golden
from helpers.keras_oracle import KerasCase, assert_equals_keras, assert_mapping_is_strict

from featcache.backbones import load
from featcache.errors import UsageError

VGG16 = KerasCase(
    "vgg16.keras_in1k",
    lambda applications, shape, top: applications.VGG16(
        include_top=top, weights=None, input_shape=shape, classifier_activation=None
    ),
)
VGG19 = KerasCase(
    "vgg19.keras_in1k",
    lambda applications, shape, top: applications.VGG19(
        include_top=top, weights=None, input_shape=shape, classifier_activation=None
    ),
)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
@pytest.mark.parametrize("case", [VGG16, VGG19], ids=lambda case: case.name)
@pytest.mark.slow
def test_vgg_without_its_top_equals_keras(case, suffix, tmp_path):
    assert_equals_keras(case, (75, 96), tmp_path, suffix=suffix, top=False)


def test_vgg11_without_its_top_equals_torchvision(tmp_path):
    assert_equals_golden("vgg11.tv_in1k", tmp_path, runs=[1], without=r"classifier\..*")


# Most of their time goes into half a gigabyte for the dense layers.


@pytest.mark.slow
@pytest.mark.parametrize("case", [VGG16, VGG19], ids=lambda case: case.name)
def test_vgg_with_its_top_equals_keras(case, tmp_path):
    assert_equals_keras(case, (224, 224), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11.tv_in1k", "vgg13.tv_in1k", "vgg16.tv_in1k", "vgg19.tv_in1k"])
def test_vgg_with_its_top_equals_torchvision(name, tmp_path):
    assert_equals_golden(name, tmp_path, uncovered=["flatten"])


@pytest.mark.slow
def test_the_top_of_keras_takes_one_size_only():
    network = load("vgg16", weights="random", image_size=96)
    assert network.feature_shapes(network.layers(["pool"])) == {"block5_pool:avg": (512,)}
    with pytest.raises(
        UsageError, match="need maps of 7×7, and these images give 3×3; use images of 224×224"
    ):
        network.layers(["logits"])


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(VGG16, (32, 32), tmp_path)
