"""DenseNet beside Keras and torchvision."""

import re

import numpy as np
import pytest
from helpers.golden import assert_equals_golden, kept
from helpers.golden import assert_mapping_is_strict as assert_torch_mapping_is_strict
from helpers.keras_oracle import (
    KerasCase,
    assert_built_as_keras,
    assert_equals_keras,
    assert_mapping_is_strict,
)

from featcache.backbones.families.resnet import blocks
from featcache.backbones.registry import family_of, resolve
from featcache.backbones.weights.key_mapping import KeyTable

D121, D169, D201 = (
    KerasCase(
        f"densenet{depth}.keras_in1k",
        lambda applications, shape, top, name=f"DenseNet{depth}": getattr(applications, name)(
            include_top=top, weights=None, input_shape=shape, pooling="avg", classifier_activation=None
        ),
    )
    for depth in (121, 169, 201)
)


def key_table(name: str) -> KeyTable:
    weights = resolve(name)
    return family_of(weights).key_tables[weights.layout](weights.config)


@pytest.mark.one_by_default
@pytest.mark.parametrize("run", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_densenet121_equals_torchvision(run, tmp_path):
    repeats = resolve("densenet121.tv_in1k").config.repeats
    # torchvision gathers the layers' outputs in a list: the whole map shows at the end of a dense block only.
    inner = [f"{name}_concat" for b, layer, name in blocks(repeats) if layer < repeats[b] - 1]
    assert_equals_golden("densenet121.tv_in1k", tmp_path, runs=[run], uncovered=[*inner, "relu", "pool"])


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(D121, (32, 32), tmp_path)
    assert_torch_mapping_is_strict("densenet121.tv_in1k", tmp_path)


def test_names_in_the_published_torchvision_files():
    table = key_table("densenet121.tv_in1k")
    of_2017 = {
        name: re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name)
        for name in kept("densenet121.tv_in1k")["tensors"]
    }
    assert of_2017["features.denseblock1.denselayer2.norm1.weight"].endswith("denselayer2.norm.1.weight")
    for new, old in of_2017.items():
        now, then = (table.translate(name, np.zeros(3)) for name in (new, old))
        assert now is not None
        assert then is not None
        assert now[0] == then[0]


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        # conv1/conv, as the reader gives it
        ("conv1_conv.kernel", "conv1_relu.conv.kernel"),
        ("conv1_bn.gamma", "conv1_relu.norm.scale"),
        ("fc1000.kernel", "logits.kernel"),
    ],
)
def test_names_in_the_published_keras_files(published, ours):
    translated = key_table("densenet121.keras_in1k").translate(published, np.zeros(3))
    assert translated is not None
    assert translated[0] == ours


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "top"), [(".h5", False), (".weights.h5", True)])
def test_the_shallowest_equals_keras(suffix, top, tmp_path):
    assert_equals_keras(D121, (224, 224) if top else (65, 97), tmp_path, suffix=suffix, top=top)


@pytest.mark.slow
def test_the_deepest_equals_keras(tmp_path):
    assert_equals_keras(D201, (65, 97), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
def test_the_one_between_has_the_shapes_of_keras():
    assert_built_as_keras(D169, (65, 97))
