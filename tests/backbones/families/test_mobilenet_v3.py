"""MobileNetV3 beside Keras, torchvision and timm."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
from helpers import golden
from helpers.configs import effect_of
from helpers.golden import assert_equals_golden
from helpers.keras_oracle import TOLERANCE, KerasCase, assert_equals_keras, assert_mapping_is_strict

from featcache.backbones.families.mobilenet_v3 import FAMILY, Config, blocks
from featcache.backbones.registry import resolve

KERAS = ("large", "large_075", "large_minimalistic", "small", "small_075", "small_minimalistic")


def _keras(name: str) -> KerasCase:
    variant, _, form = name.partition("_")
    arch = f"mobilenet_v3_{name}"
    return KerasCase(
        f"{arch}.keras_in1k",
        lambda applications, shape, top: getattr(applications, f"MobileNetV3{variant.title()}")(
            shape,
            alpha=0.75 if form == "075" else 1.0,
            minimalistic=form == "minimalistic",
            include_top=top,
            weights=None,
            pooling="avg",
            classifier_activation=None,
        ),
        same=dict(_automatic_names(resolve(arch).config)),
        raw=lambda x: (x + 1) * 127.5,  # the model normalises 0..255 to −1..1 inside
        # Behind the pooling, Keras has maps of one pixel.
        other=("logits",),
        uncovered=("pool", "conv_2_activation"),
    )


def _automatic_names(config: Config) -> Iterator[tuple[str, str]]:
    """Keras' activations, which it counts as it makes them, and blocks without a skip, to our points."""
    numbers = {"RE": count(), "HS": count()}

    def made(kind: str) -> str:
        name, number = {"RE": "re_lu", "HS": "activation"}[kind], next(numbers[kind])
        return f"{name}_{number}" if number else name

    outer = "RE" if config.minimalistic else "HS"
    yield made(outer), "conv_activation"
    for name, (features, row) in blocks(config).items():
        for part in row.parts(features):
            if part == "squeeze":
                made("RE")  # the gate is a ReLU6 of x + 3
            elif part != "project":
                yield made(row.activation), f"{name}_{part}_activation"
        if not row.has_skip(features):
            yield f"{name}_project_bn", name
    yield made(outer), "conv_1_activation"


def _without_top(name: str) -> KerasCase:
    case = _keras(name)
    return KerasCase(case.name, case.build, same=case.same, raw=case.raw)


@pytest.mark.slow
def test_small_with_its_top_equals_keras(tmp_path):
    errors = assert_equals_keras(_keras("small"), (96, 96), tmp_path, suffix=".h5")
    # 11 blocks, of which one has no expansion and two no squeeze-and-excitation; 6 have a skip.
    assert len(errors) == 1 + (10 + 11 + 9 + 11 + 6) + 1 + 1


@pytest.mark.slow
def test_small_equals_keras_at_an_odd_size(tmp_path):
    """Maps of 75×101, 38×51, 19×26, 10×13, 5×7, 3×4: TensorFlow pads even and odd sizes differently."""
    assert_equals_keras(_without_top("small"), (75, 101), tmp_path, top=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in KERAS if name != "small"])
def test_variants_equal_keras(name, tmp_path):
    assert_equals_keras(_keras(name), (224, 224) if name == "large" else (96, 96), tmp_path)
    assert_equals_keras(_without_top(name), (75, 101), tmp_path, suffix=".h5", top=False)


def _hidden(name: str) -> list[str]:
    """Stages that no module shows: torchvision pools to a map of one pixel, timm leaves it so a layer longer."""
    return ["pool"] if name.endswith(".tv_in1k") else ["pool", "conv_2_activation"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small.tv_in1k",
        "mobilenet_v3_small.lamb_in1k",
        "mobilenet_v3_small_075.lamb_in1k",
        "mobilenet_v3_large.tv_in1k",
        "mobilenet_v3_large.ra_in1k",
    ],
)
def test_variants_equal_torch(name, tmp_path):
    assert_equals_golden(name, tmp_path, uncovered=_hidden(name))


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(_keras("small_minimalistic"), (32, 32), tmp_path)
    golden.assert_mapping_is_strict("mobilenet_v3_small.tv_in1k", tmp_path)
    golden.assert_mapping_is_strict("mobilenet_v3_small_075.lamb_in1k", tmp_path)


@pytest.mark.parametrize("change", [{"padding": "symmetric"}, {"epsilon": 1e-5}])
def test_comparison_tells_the_sources_apart(change):
    """What torchvision and timm do otherwise, alone, is far above the tolerance after two blocks."""
    assert effect_of(change, "mobilenet_v3_small.keras_in1k", "expanded_conv_1") > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Conv.kernel", "conv_activation.conv.kernel"),
        ("Conv_BatchNorm.gamma", "conv_activation.norm.scale"),
        ("expanded_conv_depthwise.depthwise_kernel", "expanded_conv.depthwise.conv.kernel"),
        ("expanded_conv_depthwise_BatchNorm.moving_mean", "expanded_conv.depthwise.norm.mean"),
        ("expanded_conv_squeeze_excite_Conv.bias", "expanded_conv.squeeze.reduce.bias"),
        ("expanded_conv_10_squeeze_excite_Conv_1.kernel", "expanded_conv_10.squeeze.expand.kernel"),
        ("expanded_conv_1_expand_BatchNorm.beta", "expanded_conv_1.expand.norm.bias"),
        ("Conv_1.kernel", "conv_1_activation.conv.kernel"),
        ("Conv_1_BatchNorm.moving_variance", "conv_1_activation.norm.var"),
        ("Conv_2.bias", "conv_2_activation.bias"),
        ("Logits.bias", "logits.bias"),
    ],
)
def test_names_of_the_published_files(theirs, ours):
    """Keras renamed its layers (``Conv/BatchNorm``) when it gave up slashes, and loads the files by position."""
    table = FAMILY.key_tables["keras"](Config("small"))
    translated = table.translate(theirs, np.zeros((3, 3, 8, 1) if theirs.endswith("kernel") else 8))
    assert translated is not None
    assert translated[0] == ours


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MobileNetV3Large", "mobilenet_v3_large.keras_in1k"),
        ("MobileNetV3Small", "mobilenet_v3_small.keras_in1k"),
        ("mobilenetv3_large_100.ra_in1k", "mobilenet_v3_large.ra_in1k"),
        ("mobilenetv3_small_075.lamb_in1k", "mobilenet_v3_small_075.lamb_in1k"),
        ("mobilenet_v3_large.tv2_in1k", "mobilenet_v3_large.tv2_in1k"),
    ],
)
def test_names_that_people_know(name, expected):
    assert resolve(name).name == expected
