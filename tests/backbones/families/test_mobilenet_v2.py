"""MobileNetV2 beside Keras, torchvision and timm."""

import re

import numpy as np
import pytest
from helpers import golden
from helpers.configs import effect_of
from helpers.golden import assert_equals_golden
from helpers.keras_oracle import (
    TOLERANCE,
    KerasCase,
    assert_built_as_keras,
    assert_equals_keras,
    assert_mapping_is_strict,
)

from featcache.backbones.families.mobilenet_v2 import FAMILY, Config
from featcache.backbones.registry import resolve

# Where nothing is added, a block's output is that of its last normalisation.
WITHOUT_SKIP = {"expanded_conv_project_BN": "expanded_conv"} | {
    f"block_{n}_project_BN": f"block_{n}" for n in (1, 3, 6, 10, 13, 16)
}


def _keras(alpha: float) -> KerasCase:
    arch = "mobilenet_v2" if alpha == 1 else f"mobilenet_v2_{alpha * 100:03.0f}"
    return KerasCase(
        f"{arch}.keras_in1k_224",
        lambda applications, shape, top: applications.MobileNetV2(
            shape, alpha, include_top=top, weights=None, pooling="avg", classifier_activation=None
        ),
        same=WITHOUT_SKIP,
    )


@pytest.mark.slow
def test_narrowest_with_its_top_equals_keras(tmp_path):
    errors = assert_equals_keras(_keras(0.35), (96, 96), tmp_path, suffix=".h5")
    assert {"block_13_expand_relu", "block_16_depthwise_relu", "block_15_project_BN"} <= errors.keys()


@pytest.mark.slow
def test_narrowest_equals_keras_at_an_odd_size(tmp_path):
    """Maps of 75×101, 38×51, 19×26, 10×13, 5×7, 3×4: TensorFlow pads even and odd sizes differently."""
    assert_equals_keras(_keras(0.35), (75, 101), tmp_path, top=False)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.0, 1.4])
def test_widths_equal_keras(alpha, tmp_path):
    assert_equals_keras(_keras(alpha), (96, 96), tmp_path)
    assert_equals_keras(_keras(alpha), (75, 101), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.5, 0.75, 1.3])
def test_other_widths_have_the_shapes_of_keras(alpha):
    assert_built_as_keras(_keras(alpha), (75, 101))


def test_equals_torchvision(tmp_path):
    assert_equals_golden("mobilenet_v2.tv_in1k", tmp_path, runs=[1], uncovered=["pool"])


def test_equals_timm(tmp_path):
    assert_equals_golden("mobilenet_v2_050.lamb_in1k", tmp_path, runs=[1])


@pytest.mark.slow
def test_equals_torch_at_an_even_size_and_when_wide(tmp_path):
    assert_equals_golden("mobilenet_v2.tv_in1k", tmp_path, runs=[0], uncovered=["pool"])
    assert_equals_golden("mobilenet_v2_050.lamb_in1k", tmp_path, runs=[0])
    assert_equals_golden("mobilenet_v2_140.ra_in1k", tmp_path)


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(_keras(0.35), (32, 32), tmp_path)
    golden.assert_mapping_is_strict("mobilenet_v2_140.ra_in1k", tmp_path)


@pytest.mark.slow  # every refusal tries the six other weights of this architecture
def test_mapping_of_torchvision_is_strict(tmp_path):
    golden.assert_mapping_is_strict("mobilenet_v2.tv_in1k", tmp_path)


@pytest.mark.parametrize("change", [{"padding": "symmetric"}, {"epsilon": 1e-5}])
def test_comparison_tells_the_sources_apart(change):
    """What torchvision does otherwise, alone, is far above the tolerance."""
    assert effect_of(change, "mobilenet_v2_035.keras_in1k_224", "block_1") > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Conv1.kernel", "Conv1_relu.conv.kernel"),
        ("mobl0_conv_0_depthwise.depthwise_kernel", "expanded_conv.depthwise.conv.kernel"),
        ("bn0_conv_0_bn_depthwise.moving_mean", "expanded_conv.depthwise.norm.mean"),
        ("mobl12_conv_12_expand.kernel", "block_12.expand.conv.kernel"),
        ("bn12_conv_12_bn_project.gamma", "block_12.project.norm.scale"),
        ("mobl0_conv_project.kernel", "expanded_conv.project.conv.kernel"),
        ("bn0_conv_project.beta", "expanded_conv.project.norm.bias"),
        ("bn7_conv_bn_expand.beta", "block_7.expand.norm.bias"),
        ("bn7_conv_depthwise.moving_variance", "block_7.depthwise.norm.var"),
        ("Logits.bias", "logits.bias"),
    ],
)
def test_names_of_2018(theirs, ours):
    """Keras loads its published files by position, and has renamed the layers twice since they were made."""
    table = FAMILY.key_tables["keras"](Config())
    translated = table.translate(theirs, np.zeros((3, 3, 8, 1) if theirs.endswith("kernel") else 8))
    assert translated is not None
    assert translated[0] == ours


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenet_v2", "mobilenet_v2.tv_in1k"),
        ("MobileNetV2", "mobilenet_v2.tv_in1k"),
        ("mobilenetv2_100.ra_in1k", "mobilenet_v2.ra_in1k"),
        ("mobilenetv2_050.lamb_in1k", "mobilenet_v2_050.lamb_in1k"),
        ("mobilenet_v2_140", "mobilenet_v2_140.keras_in1k_224"),
        ("mobilenet_v2_035.keras_in1k_96", "mobilenet_v2_035.keras_in1k_96"),
    ],
)
def test_names_that_people_know(name, expected):
    assert resolve(name).name == expected


def test_files_of_keras_are_named_after_width_and_size():
    for name, end in (("mobilenet_v2.keras_in1k_192", "1.0_192"), ("mobilenet_v2_050", "0.5_224")):
        assert re.fullmatch(rf"mobilenet_v2_weights_tf_.*_kernels_{end}\.h5", resolve(name).file.filename)
