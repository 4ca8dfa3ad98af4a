"""ConvNeXt beside Keras, torchvision and timm."""

from typing import Any

import numpy as np
import pytest
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
from helpers.support import keras

from featcache.images.transforms import IMAGENET_MEAN, IMAGENET_STD


def _named(block: Any) -> Any:
    """Keras' block with a layer for its output, which is a bare sum and could not be asked for by name."""

    def named(*args: Any, name: str, **kwargs: Any) -> Any:
        return lambda x: keras().layers.Activation("linear", name=name)(block(*args, name=name, **kwargs)(x))

    return named


def _keras(applications: Any, shape: tuple[int, int, int], top: bool, size: str) -> Any:
    from keras.src.applications import convnext

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convnext, "ConvNeXtBlock", _named(convnext.ConvNeXtBlock))
        return getattr(applications, f"ConvNeXt{size}")(
            include_top=top,
            weights=None,
            input_shape=shape,
            pooling=None if top else "avg",
            classifier_activation=None,
        )


TINY, SMALL, BASE, LARGE, XLARGE = (
    KerasCase(
        f"convnext_{size.lower()}.keras_in1k",
        lambda applications, shape, top, size=size: _keras(applications, shape, top, size),
        raw=lambda x: (x * np.float32(IMAGENET_STD) + np.float32(IMAGENET_MEAN)) * 255,
    )
    for size in ("Tiny", "Small", "Base", "Large", "XLarge")
)


# The default run compares the first stages with torch, below.
@pytest.mark.slow
def test_tiny_equals_keras(tmp_path):
    assert_equals_keras(TINY, (75, 131), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "top"), [(".h5", True), (".weights.h5", False)])
def test_tiny_equals_keras_at_its_own_size(suffix, top, tmp_path):
    assert_equals_keras(TINY, (224, 224), tmp_path, suffix=suffix, top=top)


@pytest.mark.slow
def test_a_deeper_and_wider_one_equals_keras(tmp_path):
    assert_equals_keras(BASE, (45, 70), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
@pytest.mark.parametrize("case", [SMALL, LARGE, XLARGE], ids=lambda case: case.name)
def test_others_have_the_shapes_of_keras(case):
    assert_built_as_keras(case, (45, 70))


# torchvision and timm keep two axes of length 1 at the pooled map.
@pytest.mark.slow
@pytest.mark.parametrize("tag", ["tv_in1k", "fb_in1k"])
def test_tiny_equals_torch(tag, tmp_path):
    assert_equals_golden(f"convnext_tiny.{tag}", tmp_path, uncovered=["head_gap"])


# All tensors are mapped, and the rest of the network is Keras'.
@pytest.mark.one_by_default
@pytest.mark.parametrize(
    ("tag", "points"),
    [
        ("tv_in1k", ["features.0", "features.1.0", "features.1", "features.2", "features.3.0"]),
        ("fb_in1k", ["stem", "stages.0.blocks.0.conv_dw", "stages.0.blocks.2", "stages.1.downsample"]),
    ],
)
def test_tiny_begins_as_in_torch(tag, points, tmp_path):
    name = f"convnext_tiny.{tag}"
    run = kept(name)["runs"][1]
    actual = run_ours(loaded_from_file(name, tmp_path), images(*run["size"]), points)
    for point in points:
        assert difference(actual[point], run["points"][point]) < TOLERANCE, point


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(TINY, (32, 32), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["tv_in1k", "fb_in1k"])
def test_torch_mapping_is_strict(tag, tmp_path):
    assert_torch_mapping_is_strict(f"convnext_tiny.{tag}", tmp_path)
