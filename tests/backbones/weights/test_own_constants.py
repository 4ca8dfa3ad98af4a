"""Keras networks that normalise inside, by other values than those published."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.near_network import (
    dense,
    keras_base,
    loaded,
)
from helpers.support import keras

from featcache.backbones import load
from featcache.errors import WeightsError

pytestmark = pytest.mark.usefixtures("near_is_known")

# Keras: networks that normalise inside


def _normalising(mean: float, variance: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image, base = keras().Input((8, 8, 3)), keras_base()
        layer = keras().layers.Normalization(name="normalization")
        x = keras().layers.GlobalAveragePooling2D()(base(layer(image)))
        model = keras().Model(image, dense(5, name="dense")(x))
        layer.adapt_mean.assign(np.full(layer.adapt_mean.shape, mean))
        layer.adapt_variance.assign(np.full(layer.adapt_variance.shape, variance))
        model.save_weights(path)

    return write


@dataclass
class Constants:
    mean: float
    variance: float
    part: str
    expected: tuple[float, float]
    said: str


@pytest.mark.parametrize(
    "case",
    [
        Constants(0.5, 0.25, "", (0.5, 0.25), ""),
        Constants(0, 1, "", (0, 1), "taken as the transforms (mean 0, 0, 0, std 1, 1, 1 of 0..1)"),
        Constants(0.3, 0.04, "#normalization", (0.3, 0.2), "(mean 0.3, 0.3, 0.3, std 0.2, 0.2, 0.2 of 0..1)"),
        Constants(
            0.3,
            0.04,
            "#normalization.imagenet",
            (0.3, 0.1),
            "(mean 0.3, 0.3, 0.3, std 0.1, 0.1, 0.1 of 0..1)",
        ),
    ],
)
def test_constants_of_a_normalising_network_are_transforms(tmp_path, case):
    path = tmp_path / "w.weights.h5"
    _normalising(case.mean, case.variance)(path)
    network, told = loaded("near.keras", f"{path}{case.part}")
    assert case.said in told[0]
    assert len(told) == 1 + bool(case.said)
    np.testing.assert_allclose(
        (network.transforms.mean[0], network.transforms.std[0]), case.expected, rtol=1e-6
    )


def test_other_constants_are_refused_with_both_meanings(tmp_path):
    path = tmp_path / "w.weights.h5"
    _normalising(0.3, 0.04)(path)
    with pytest.raises(WeightsError) as caught:
        load("near.keras", weights=path)
    assert str(caught.value) == (
        f"{path} normalises its input by values of its own (normalization.mean is 0.3, 0.3, 0.3; "
        "normalization.variance is 0.04, 0.04, 0.04), not by those of near.keras. To take them as the transforms, "
        f"choose how the network was built: with weights=None, --weights {path}#normalization; with "
        "weights='imagenet', which divides by the root of ImageNet's deviation once more, "
        f"--weights {path}#normalization.imagenet"
    )
