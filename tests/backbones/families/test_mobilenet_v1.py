"""MobileNet (version 1) beside Keras and timm."""

from dataclasses import replace

import pytest
from helpers import golden
from helpers.configs import effect_of
from helpers.golden import assert_equals_golden
from helpers.keras_oracle import TOLERANCE, KerasCase, assert_equals_keras, assert_mapping_is_strict

from featcache.backbones.registry import resolve

TIMM = "mobilenet_v1_100.ra4_e3600_r224_in1k"


def _keras(alpha: float) -> KerasCase:
    return KerasCase(
        f"mobilenet_v1_{alpha * 100:03.0f}.keras_in1k_224",
        lambda applications, shape, top: applications.MobileNet(
            shape, alpha, include_top=top, weights=None, pooling="avg", classifier_activation=None
        ),
        uncovered=("pool",),  # a map of one pixel there
    )


def _without_top(alpha: float) -> KerasCase:
    return replace(_keras(alpha), same={"global_average_pooling2d": "pool"}, uncovered=())


@pytest.mark.slow
def test_quarter_width_with_its_top_equals_keras(tmp_path):
    assert_equals_keras(_keras(0.25), (128, 128), tmp_path, suffix=".h5")


@pytest.mark.slow
def test_quarter_width_equals_keras_at_an_odd_size(tmp_path):
    """Of 38×51 pixels Keras makes 19×25: it pads as for even sizes whatever the size is."""
    assert_equals_keras(_without_top(0.25), (75, 101), tmp_path, top=False)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.5, 0.75, 1.0])
def test_widths_equal_keras(alpha, tmp_path):
    assert_equals_keras(_keras(alpha), (128, 128), tmp_path)
    assert_equals_keras(_without_top(alpha), (75, 101), tmp_path, suffix=".h5", top=False)


def test_equals_timm(tmp_path):
    assert_equals_golden(TIMM, tmp_path, runs=[1])


@pytest.mark.slow
def test_equals_timm_at_an_even_size(tmp_path):
    assert_equals_golden(TIMM, tmp_path, runs=[0])


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(_keras(0.25), (32, 32), tmp_path)
    golden.assert_mapping_is_strict(TIMM, tmp_path)


@pytest.mark.parametrize(
    "change", [{"padding": "symmetric"}, {"strided_padding": "symmetric"}, {"epsilon": 1e-5}]
)
def test_comparison_tells_the_sources_apart(change):
    """What timm does otherwise, alone, is far above the tolerance after the first five convolutions."""
    assert effect_of(change, "mobilenet_v1_025", "conv_pw_2_relu") > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MobileNet", "mobilenet_v1_100.keras_in1k_224"),
        ("mobilenet_v1", "mobilenet_v1_100.keras_in1k_224"),
        ("mobilenetv1_100.ra4_e3600_r224_in1k", TIMM),
        ("mobilenet_v1_025.keras_in1k_128", "mobilenet_v1_025.keras_in1k_128"),
    ],
)
def test_names_that_people_know(name, expected):
    assert resolve(name).name == expected


def test_files_of_keras_are_named_after_width_and_size():
    assert resolve("mobilenet_v1_100").file.filename == "mobilenet_1_0_224_tf.h5"
    assert resolve("mobilenet_v1_075.keras_in1k_160").file.filename == "mobilenet_7_5_160_tf.h5"
    assert resolve("mobilenet_v1_025.keras_in1k_128").file.filename == "mobilenet_2_5_128_tf.h5"
