"""EfficientNetV2 beside Keras, torchvision and timm."""

from typing import Any

import numpy as np
import pytest
from helpers.configs import effect_of
from helpers.drawing import images
from helpers.golden import assert_equals_golden, difference, kept, loaded_from_file
from helpers.golden import assert_mapping_is_strict as assert_torch_mapping_is_strict
from helpers.keras_oracle import (
    TOLERANCE,
    KerasCase,
    assert_built_as_keras,
    assert_equals_keras,
    assert_mapping_is_strict,
    run_ours,
)

from featcache.backbones.registry import resolve


def _keras(applications: Any, shape: tuple[int, int, int], top: bool, variant: str) -> Any:
    return getattr(applications, f"EfficientNetV2{variant.upper()}")(
        include_top=top,
        weights=None,
        input_shape=shape,
        pooling=None if top else "avg",
        classifier_activation=None,
    )


def _case(variant: str) -> KerasCase:
    """The network with what it does to pixels: what comes back to normalised images, by our transforms."""
    transforms = resolve(f"efficientnet_v2_{variant}").transforms
    mean, std = (np.float32(values) for values in (transforms.mean, transforms.std))
    return KerasCase(
        f"efficientnet_v2_{variant}.keras_in1k",
        lambda applications, shape, top: _keras(applications, shape, top, variant),
        raw=lambda x: (x * std + mean) * 255,
    )


# The default run compares the first stages with torch, below.
@pytest.mark.slow
def test_b0_equals_keras(tmp_path):
    assert_equals_keras(_case("b0"), (75, 131), tmp_path)


@pytest.mark.slow
def test_b0_equals_keras_at_its_own_size(tmp_path):
    assert_equals_keras(_case("b0"), (224, 224), tmp_path, suffix=".h5")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["b3", "s", "m"])
def test_larger_ones_equal_keras(variant, tmp_path):
    assert_equals_keras(_case(variant), (70, 45), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["b1", "b2", "l"])
def test_others_have_the_shapes_of_keras(variant):
    assert_built_as_keras(_case(variant), (70, 45))


@pytest.mark.slow
def test_s_equals_torchvision(tmp_path):
    # torchvision's pooled map keeps two axes of length 1.
    assert_equals_golden("efficientnet_v2_s.tv_in1k", tmp_path, runs=[0], uncovered=["pool"])


@pytest.mark.slow
def test_b0_equals_timm(tmp_path):
    assert_equals_golden("efficientnet_v2_b0.in1k", tmp_path)


# The first of each kind of block; all tensors are mapped, and the rest of the network is Keras' but for padding.
@pytest.mark.parametrize(
    ("name", "points"),
    [
        (
            "efficientnet_v2_s.tv_in1k",
            [
                "features.0",
                "features.1.0",
                "features.1",
                "features.2.0.block.0",
                "features.2.0",
                "features.3.0",
            ],
        ),
        (
            "efficientnet_v2_b0.in1k",
            ["bn1", "blocks.0.0", "blocks.1.0.bn1", "blocks.1.1", "blocks.3.0.se", "blocks.3.0"],
        ),
    ],
)
def test_it_begins_as_in_torch(name, points, tmp_path):
    run = kept(name)["runs"][0]
    actual = run_ours(loaded_from_file(name, tmp_path), images(*run["size"]), points)
    for point in points:
        assert difference(actual[point], run["points"][point]) < TOLERANCE, point


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(_case("b0"), (32, 32), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_v2_s.tv_in1k", "efficientnet_v2_b0.in1k"])
def test_torch_mapping_is_strict(name, tmp_path):
    assert_torch_mapping_is_strict(name, tmp_path)


@pytest.mark.parametrize("change", [{"padding": "symmetric"}, {"epsilon": 1e-5}])
def test_comparison_tells_the_sources_apart(change):
    """What another source does otherwise, alone, is far above the tolerance."""
    assert effect_of(change, "efficientnet_v2_b0", "stem") > 2 * TOLERANCE
