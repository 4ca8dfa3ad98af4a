"""Keras models with heads of their own, in all of its formats."""

import re
from typing import Any

import numpy as np
import pytest
from helpers.near_network import (
    WIDTHS,
    dense,
    keras_base,
    loaded,
)
from helpers.support import keras

from featcache.backbones import load
from featcache.errors import WeightsError

pytestmark = pytest.mark.usefixtures("near_is_known")

# Keras: models with heads of their own


def _tutorial() -> Any:
    """As Keras' tutorial on transfer learning builds it."""
    layers, image = keras().layers, keras().Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.RandomFlip("horizontal")(image))
    x = layers.GlobalAveragePooling2D()(keras_base()(x, training=False))
    return keras().Model(image, dense(5, name="dense")(layers.Dropout(0.2)(x)))


def _sequential() -> Any:
    layers = keras().layers
    return keras().Sequential(
        [
            keras().Input((8, 8, 3)),
            keras_base(),
            layers.GlobalAveragePooling2D(),
            dense(9, name="d1"),
            dense(5, name="d2"),
        ]
    )


def _flat() -> Any:
    base, layers = keras_base(), keras().layers
    x = layers.BatchNormalization(name="head_bn")(layers.GlobalAveragePooling2D()(base.output))
    return keras().Model(base.input, dense(5, name="out")(layers.Dropout(0.5)(x)))


def _two_models() -> Any:
    """Augmentation and head are models inside too."""
    layers = keras().layers
    augment = keras().Sequential([layers.RandomFlip()], name="augment")
    head = keras().Sequential(
        [layers.GlobalAveragePooling2D(), dense(9, name="h1"), dense(5, name="h2")], name="head"
    )
    return keras().Sequential([keras().Input((8, 8, 3)), augment, keras_base(), head])


def _same_names() -> Any:
    """A second model, of another architecture, has a layer of a name that the base has too."""
    image = keras().Input((8, 8, 3))
    conv = {"kernel_initializer": "zeros", "name": "block_1_conv", "use_bias": False}
    other = keras().Input((8, 8, 3))
    x = keras().layers.Conv2D(2, 1, **conv)(other)
    side = keras().Model(
        other, keras().layers.BatchNormalization(name="bn", scale=False, center=False)(x), name="side"
    )
    pooled = [keras().layers.GlobalAveragePooling2D()(each(image)) for each in (keras_base(), side)]
    return keras().Model(image, dense(5, name="dense")(keras().layers.Concatenate()(pooled)))


DENSE = "dense.kernel, dense.bias"
TUTORIAL = (_tutorial, f"left out: {DENSE}")
SIDE_BN = ", ".join(f"side.bn.{leaf}" for leaf in ("moving_mean", "moving_variance"))
SIDE = (
    _same_names,
    f"the weights under 'base' are taken; left out: {DENSE}, side.block_1_conv.kernel, {SIDE_BN}",
)
FLAT = (
    _flat,
    "left out: head_bn.gamma, head_bn.beta, head_bn.moving_mean, head_bn.moving_variance, out.kernel, … (6 in all)",
)


@pytest.mark.filterwarnings("ignore:You are saving your model")
@pytest.mark.parametrize(
    ("build", "said", "name"),
    [
        (*TUTORIAL, "w.keras"),
        (*TUTORIAL, "w.h5"),
        (*TUTORIAL, "w.weights.h5"),
        (_sequential, "left out: d1.kernel, d1.bias, d2.kernel, d2.bias", "w.keras"),
        (_sequential, "left out: d1.kernel, d1.bias, d2.kernel, d2.bias", "w.h5"),
        (*FLAT, "w.h5"),
        (*FLAT, "w.weights.h5"),
        (_two_models, "left out: h1.kernel, h1.bias, h2.kernel, h2.bias", "w.weights.h5"),
        (*SIDE, "w.keras"),
        (*SIDE, "w.h5"),
    ],
)
def test_keras_models_with_heads_of_their_own(tmp_path, build, said, name):
    path = tmp_path / name
    model = build()
    model.save_weights(path) if name.endswith(".weights.h5") else model.save(path)
    network, told = loaded("near.keras", path)
    (shown,) = (line.removeprefix(f"{path.name}: ").partition(" (no part")[0] for line in told)
    # The order is that of the file's format.
    assert sorted(re.split("[, ]+", shown)) == sorted(re.split("[, ]+", said))
    assert network.network.order[-1] == "pool"
    by_name = {weight.path: np.asarray(weight) for weight in keras_base().weights}
    for number in range(1, len(WIDTHS) + 1):
        for theirs, ours in (
            ("conv/kernel", "conv.kernel"),
            ("bn/gamma", "norm.scale"),
            ("bn/moving_variance", "norm.var"),
        ):
            expected = by_name[f"block_{number}_{theirs}"]
            assert network.tensors[f"block_{number}.{ours}"].tobytes() == expected.tobytes()


def test_a_keras_model_named_by_the_default_of_another_layout(tmp_path):
    path = tmp_path / "w.h5"
    _sequential().save_weights(path.with_suffix(".weights.h5"))
    with pytest.raises(
        WeightsError,
        match=r"has the layout of near\.keras, not of near\.torch; name it as the backbone: near\.k",
    ):
        load("near", weights=path.with_suffix(".weights.h5"))
