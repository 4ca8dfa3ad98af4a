"""ResNet beside Keras, torchvision and timm."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.drawing import images
from helpers.golden import assert_equals_golden, difference, kept, tensors
from helpers.golden import assert_mapping_is_strict as assert_torch_mapping_is_strict
from helpers.keras_oracle import (
    TOLERANCE,
    KerasCase,
    assert_built_as_keras,
    assert_equals_keras,
    assert_mapping_is_strict,
    run_ours,
)
from safetensors.numpy import save_file

from featcache.backbones.registry import family_of, resolve
from featcache.backbones.weights.loading import load_file

R50, R101, R152 = (
    KerasCase(
        f"resnet{depth}.keras_in1k",
        lambda applications, shape, top, name=f"ResNet{depth}": getattr(applications, name)(
            include_top=top, weights=None, input_shape=shape, pooling="avg", classifier_activation=None
        ),
    )
    for depth in (50, 101, 152)
)


def test_resnet18_equals_torchvision(tmp_path):
    assert_equals_golden("resnet18.tv_in1k", tmp_path, runs=[1], uncovered=["pool"])


def test_resnet50_equals_timm(tmp_path):
    assert_equals_golden("resnet50.a1_in1k", tmp_path, runs=[0])


@pytest.mark.slow
def test_differences_between_the_sources_show(tmp_path):
    path = tmp_path / "timm.safetensors"
    save_file(tensors("resnet50.a1_in1k"), path)
    right = resolve("resnet50.a1_in1k")
    run = kept("resnet50.a1_in1k")["runs"][0]
    for change, point in (({"strided": 1}, "layer2.0"), ({"epsilon": 1e-3}, "act1")):
        wrong = load_file(replace(right, config=replace(right.config, **change)), path, tag="custom")
        actual = run_ours(wrong, images(*run["size"]), [point])
        assert difference(actual[point], run["points"][point]) > TOLERANCE


@pytest.mark.slow
def test_mapping_of_torchvision_is_strict(tmp_path):
    assert_torch_mapping_is_strict("resnet18.tv_in1k", tmp_path)


@pytest.mark.slow
def test_mapping_of_keras_is_strict(tmp_path):
    assert_mapping_is_strict(R50, (32, 32), tmp_path)


def test_the_published_file_calls_the_classifier_probs():
    weights = resolve("resnet50.keras_in1k")
    table = family_of(weights).key_tables["keras"](weights.config)
    translated = table.translate("probs.kernel", np.zeros((2048, 1000)))
    assert translated is not None
    assert translated[0] == "logits.kernel"


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "top"), [(".h5", False), (".weights.h5", True)])
def test_the_shallowest_equals_keras(suffix, top, tmp_path):
    assert_equals_keras(R50, (224, 224) if top else (65, 97), tmp_path, suffix=suffix, top=top)


@pytest.mark.slow
def test_the_deepest_equals_keras(tmp_path):
    assert_equals_keras(R152, (65, 97), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
def test_the_one_between_has_the_shapes_of_keras():
    assert_built_as_keras(R101, (65, 97))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_all_depths_equal_torchvision(depth, tmp_path):
    assert_equals_golden(f"resnet{depth}.tv_in1k", tmp_path, runs=[0], uncovered=["pool"])


@pytest.mark.slow
def test_resnet18_equals_timm(tmp_path):
    assert_equals_golden("resnet18.a1_in1k", tmp_path, runs=[0])
