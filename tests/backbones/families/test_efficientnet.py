"""EfficientNet beside Keras, torchvision and timm."""

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
    run_keras,
    run_ours,
    save,
)
from helpers.support import keras, scaled_error

from featcache.backbones.registry import family_of, resolve
from featcache.backbones.weights.key_mapping import convert
from featcache.errors import WeightsError
from featcache.images.transforms import IMAGENET_MEAN, IMAGENET_STD, normalisation

# What the published files hold: in the place of the variance the standard deviation.
NORMALISATION = {
    "normalization.mean": IMAGENET_MEAN,
    "normalization.variance": IMAGENET_STD,
    "normalization.count": (0,),
}


def _keras(applications: Any, shape: tuple[int, int, int], top: bool, number: int) -> Any:
    return getattr(applications, f"EfficientNetB{number}")(
        include_top=top,
        weights=None,
        input_shape=shape,
        pooling=None if top else "avg",
        classifier_activation=None,
    )


B = [
    KerasCase(
        f"efficientnet_b{number}.keras_in1k",
        lambda applications, shape, top, number=number: _keras(applications, shape, top, number),
        # Built without weights, Keras computes with mean 0 and variance 1, whatever is assigned for the file later.
        raw=lambda x: x * 255,
        constants=NORMALISATION,
    )
    for number in range(8)
]


@pytest.mark.slow
def test_b0_equals_keras(tmp_path):
    assert_equals_keras(B[0], (75, 131), tmp_path, suffix=".h5")


@pytest.mark.slow
def test_b0_equals_keras_at_its_own_size(tmp_path):
    assert_equals_keras(B[0], (224, 224), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", [B[1], B[3]], ids=lambda case: case.name)
def test_larger_ones_equal_keras(case, tmp_path):
    assert_equals_keras(case, (70, 45), tmp_path, top=False)


@pytest.mark.slow
@pytest.mark.parametrize("case", [B[2], *B[4:]], ids=lambda case: case.name)
def test_others_have_the_shapes_of_keras(case):
    assert_built_as_keras(case, (70, 45))


@pytest.mark.slow
def test_b0_equals_torchvision(tmp_path):
    # torchvision's pooled map keeps two axes of length 1.
    assert_equals_golden("efficientnet_b0.tv_in1k", tmp_path, runs=[1], uncovered=["pool"])


@pytest.mark.slow
def test_b0_equals_torchvision_at_another_size(tmp_path):
    assert_equals_golden("efficientnet_b0.tv_in1k", tmp_path, runs=[0], uncovered=["pool"])


@pytest.mark.slow
def test_b0_equals_timm(tmp_path):
    assert_equals_golden("efficientnet_b0.ns_jft_in1k", tmp_path)


def test_b0_begins_as_in_timm(tmp_path):
    """The first of each kind of block; all tensors are mapped, and the rest of the network is Keras'."""
    name = "efficientnet_b0.ns_jft_in1k"
    run = kept(name)["runs"][1]
    points = ["bn1", "blocks.0.0.bn1", "blocks.0.0.se", "blocks.0.0", "blocks.1.0", "blocks.1.1"]
    actual = run_ours(loaded_from_file(name, tmp_path), images(*run["size"]), points)
    for point in points:
        assert difference(actual[point], run["points"][point]) < TOLERANCE, point


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(B[0], (32, 32), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["tv_in1k", "ns_jft_in1k"])
def test_torch_mapping_is_strict(tag, tmp_path):
    assert_torch_mapping_is_strict(f"efficientnet_b0.{tag}", tmp_path)


@pytest.mark.parametrize("change", [{"padding": "symmetric"}, {"epsilon": 1e-5}])
def test_comparison_tells_the_sources_apart(change):
    """What torchvision does otherwise, alone, is far above the tolerance."""
    assert effect_of(change, "efficientnet_b0", "stem") > 2 * TOLERANCE


def test_transforms_are_what_keras_does_inside(tmp_path, monkeypatch):
    """Keras' layers before the stem, as it builds and loads them for the published weights."""
    initializers = keras().initializers  # chooses the backend, before anything else of Keras is imported
    from keras.src.applications import efficientnet

    def first_row(weights: str | None) -> Any:
        keras().backend.clear_session()
        return efficientnet.EfficientNet(
            *(1.0, 1.0, 224),
            blocks_args=efficientnet.DEFAULT_BLOCKS_ARGS[:1],
            include_top=False,
            weights=weights,
            weights_name="b0",
            input_shape=(32, 32, 3),
        )

    # All but the normalisation is left at zero: drawing it takes longer than all the rest.
    monkeypatch.setattr(initializers.VarianceScaling, "__call__", lambda _, shape, **__: np.zeros(shape))
    model = first_row(None)
    normalization = model.get_layer("normalization")
    for variable, value in zip(normalization.weights, NORMALISATION.values(), strict=True):
        variable.assign(np.reshape(value, variable.shape))
    path = save(model, tmp_path / "published.h5")
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *_, **__: path)
    model = first_row("imagenet")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    expected = run_keras(model, pixels, ["rescaling_1", "stem_conv_pad"])["rescaling_1"]
    scale, offset = normalisation(resolve("efficientnet_b0").transforms)
    # Three roundings of float32 here, five there.
    assert scaled_error(pixels * scale + offset, expected) < 1e-6


def test_file_with_another_normalisation_is_refused():
    weights = resolve("efficientnet_b0")
    table = family_of(weights).key_tables["keras"](weights.config)
    given = {"normalization_3.mean": np.zeros(3), "normalization_3.variance": np.ones(3)}
    with pytest.raises(
        WeightsError, match=r"2 other than the transforms of these weights \(normalization_3\.mean"
    ):
        convert(given, table, {}, origin="mine.h5")
