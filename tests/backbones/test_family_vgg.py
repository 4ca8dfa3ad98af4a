"""VGG beside Keras and torchvision."""

import pytest
from golden import assert_equals_golden
from keras_oracle import KerasCase, assert_equals_keras, assert_mapping_is_strict

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


def test_vgg16_with_its_top_equals_keras(tmp_path):
    assert_equals_keras(VGG16, (224, 224), tmp_path)


@pytest.mark.parametrize("case", [VGG16, VGG19], ids=lambda case: case.name)
def test_vgg_without_its_top_equals_keras(case, tmp_path):
    assert_equals_keras(case, (150, 96), tmp_path, suffix=".h5", top=False)


def test_vgg11_equals_torchvision(tmp_path):
    assert_equals_golden("vgg11.tv_in1k", tmp_path, runs=[1], uncovered=["flatten"])


def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(VGG16, (32, 32), tmp_path)
