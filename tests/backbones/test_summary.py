"""What a summary says of a network, against numbers worked out by hand and by torch; and that it computes nothing."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from featcache.backbones.chain import Backbone
from featcache.backbones.macs import count_macs
from featcache.backbones.nn.basic import BatchNorm, Conv, ConvNorm, Dense, GlobalAveragePool
from featcache.backbones.registry import family_of, pretrained_weights, resolve
from featcache.backbones.summary import BackboneSummary, Counts, describe, summarise
from featcache.errors import UnknownNameError, UsageError

# Multiply-accumulates: half of what torch 2.x's torch.utils.flop_counter counts on torchvision's mobilenet_v2 and
# timm's tf_efficientnet_lite0/1/2. Integers of the same definition, so they have to be equal.
BY_TORCH = {
    "mobilenet_v2.tv_in1k": 300_774_272,
    "efficientnet_lite0.tf_in1k": 385_187_552,
    "efficientnet_lite1.tf_in1k": 600_185_232,
    "efficientnet_lite2.tf_in1k": 859_736_272,
}
IN_DEFAULT_RUN = ("mobilenet_v2.tv_in1k", "efficientnet_lite0.tf_in1k")
# The papers and model cards round and differ in what they leave out.
PUBLISHED = {"mobilenet_v2.tv_in1k": (300e6, 314e6), "efficientnet_lite0.tf_in1k": (385e6, 407e6)}


class Residual(nnx.Module):
    """A stage with a value inside that can be tapped."""

    points = ("wide",)

    def __init__(self) -> None:
        self.widen, self.narrow = Conv(16, 32, rngs=None), Conv(32, 16, use_bias=True, rngs=None)

    def __call__(self, x, record=lambda point, value: value):
        return x + self.narrow(record("wide", jax.nn.relu(self.widen(x))))


def small_chain() -> Backbone:
    stages = {
        "strided": ConvNorm(3, 8, 3, strides=2, epsilon=1e-3, activation=jax.nn.relu, rngs=None),
        "grouped": Conv(8, 12, 3, groups=2, use_bias=True, rngs=None),
        "depthwise": Conv(12, 12, 3, strides=2, groups=12, rngs=None),
        "pointwise": Conv(12, 16, rngs=None),
        "norm": BatchNorm(16, epsilon=1e-3, use_scale=False),
        "residual": Residual(),
        "pool": GlobalAveragePool(),
        "logits": Dense(16, 5, rngs=None),
    }
    return Backbone(stages)


# An image of 9×7, "same" padding: outputs are ceil(9/2) × ceil(7/2) = 5×4, then 3×2.
# Params: kernel, bias, and BatchNorm's scale and bias; statistics: its mean and variance.
# MACs: outputs × kernel pixels × input channels of the group.
BY_HAND = {
    "strided": ((5, 4, 8), 3 * 3 * 3 * 8 + 2 * 8, 2 * 8, 5 * 4 * 8 * 9 * 3),
    "grouped": ((5, 4, 12), 3 * 3 * 4 * 12 + 12, 0, 5 * 4 * 12 * 9 * 4),
    "depthwise": ((3, 2, 12), 3 * 3 * 12, 0, 3 * 2 * 12 * 9),
    "pointwise": ((3, 2, 16), 12 * 16, 0, 3 * 2 * 16 * 12),
    "norm": ((3, 2, 16), 16, 2 * 16, 0),
    "residual": ((3, 2, 16), 16 * 32 + 32 * 16 + 16, 0, 3 * 2 * 32 * 16 + 3 * 2 * 16 * 32),
    "pool": ((16,), 0, 0, 0),
    "logits": ((5,), 16 * 5 + 5, 0, 16 * 5),
}


@pytest.mark.parametrize("abstract", [False, True])
def test_every_stage_equals_what_is_worked_out_by_hand(abstract):
    network = nnx.eval_shape(small_chain) if abstract else small_chain()
    found = summarise(network, (9, 7))
    counted = {s.name: (s.shape, s.counts.params, s.counts.statistics, s.counts.macs) for s in found}
    assert counted == BY_HAND
    assert list(counted) == list(BY_HAND), "in the order of the data"
    points = {stage.name: dict(stage.points) for stage in found}
    assert points == {name: {} for name in BY_HAND} | {"residual": {"residual_wide": (3, 2, 32)}}


def test_shapes_are_those_of_a_real_run():
    network, image = small_chain(), jnp.ones((1, 9, 7, 3))
    values = jax.jit(lambda x: network(x, taps=network.points))(image)
    for stage in summarise(network, (9, 7)):
        for point, shape in {**stage.points, stage.name: stage.shape}.items():
            assert values[point].shape == (1, *shape)


@cache
def described(name: str) -> BackboneSummary:
    return describe(name)


@pytest.mark.one_by_default
@pytest.mark.parametrize("name", IN_DEFAULT_RUN)
def test_known_networks_equal_torch_and_their_tables(name):
    found, weights = described(name), resolve(name)
    assert found.total.macs == BY_TORCH[name] == weights.macs
    assert found.total.params == weights.params
    least, most = PUBLISHED.get(name, (0, np.inf))
    assert least <= found.total.macs <= most
    assert (str(found.layer), found.features, found.left_out) == ("pool", weights.features, None)
    assert found.total.macs - found.to_layer.macs == weights.features * weights.config.classes


@cache
def described_once(build: Any, config: Any, size: tuple[int, int]) -> BackboneSummary:
    """Almost half of all weights share their network and the size of their images with others."""
    same = (
        w for w in pretrained_weights().values() if w.config == config and w.transforms.input_size == size
    )
    return describe(next(weights.name for weights in same if family_of(weights).build is build))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(pretrained_weights()))
def test_every_table_tells_the_params_macs_and_features_of_its_network(name):
    weights = resolve(name)
    found = described_once(family_of(weights).build, weights.config, weights.transforms.input_size)
    assert (found.total.params, found.total.macs) == (weights.params, weights.macs)
    assert found.features == weights.features
    assert found.left_out is None
    assert found.total.macs == BY_TORCH.get(name, weights.macs)


# Counting in programs ---------------------------------------------------------------------------------------

SQUARE = jnp.ones((4, 4))  # one product of two of them is 64


def by_platform(x):
    return jax.lax.platform_dependent(x, cpu=lambda x: x @ x @ x, default=lambda x: x @ x)


PROGRAMS = {
    "matrix product": (lambda x: x @ x, 64),
    "batched product": (lambda x: jnp.einsum("bij,bjk->bik", x.reshape(4, 2, 2), x.reshape(4, 2, 2)), 32),
    "two contracted axes": (lambda x: jnp.tensordot(x, x, 2), 16),
    "elementwise work": (lambda x: jax.nn.softmax(x * x + x), 0),
    "inside jit": (jax.jit(lambda x: x @ x), 64),
    "inside a checkpoint": (jax.checkpoint(lambda x: x @ x), 64),
    "under a custom gradient": (lambda x: jax.nn.silu(jax.nn.relu(x) @ x), 64),
    "a loop of known length": (lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y @ x, x), 3 * 64),
    "the costliest of alternatives": (
        lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x),
        128,
    ),
    "the default of platforms": (by_platform, 64),
    # Scores and mixture of 2 heads: each 3 · 3 · 4 a head.
    "attention": (
        lambda x: jax.nn.dot_product_attention(*[jnp.ones((1, 3, 2, 4))] * 3) + x[0, 0],
        2 * 2 * 36,
    ),
}


@pytest.mark.parametrize(("function", "macs"), PROGRAMS.values(), ids=PROGRAMS)
def test_products_are_counted_wherever_they_stand(function, macs):
    assert count_macs(jax.make_jaxpr(function)(SQUARE)) == macs


@pytest.mark.parametrize("channels", [3, 5])  # the first becomes a product over patches on a CPU
def test_padding_strides_and_platforms_do_not_change_how_a_convolution_is_counted(channels):
    conv = Conv(channels, 6, (3, 5), strides=(2, 1), padding=((1, 0), (2, 3)), rngs=None)
    out = jax.eval_shape(conv, jnp.ones((1, 8, 8, channels))).shape
    assert out == (1, 4, 9, 6)
    assert count_macs(jax.make_jaxpr(conv)(jnp.ones((1, 8, 8, channels)))) == 4 * 9 * 6 * 3 * 5 * channels


# Sizes ------------------------------------------------------------------------------------------------------


def test_another_size_changes_shapes_and_work_but_no_parameters():
    own, other = described("mobilenet_v2.tv_in1k"), describe("MobileNetV2.tv_in1k", image_size="96x160")
    assert other.image_size == (96, 160)
    assert other.stages[0].shape == (48, 80, 32)
    assert other.total.params == own.total.params
    assert other.stages[0].counts.macs == 48 * 80 * 32 * 27
    assert other.features == 1280


def test_dense_layers_that_fit_one_size_are_left_out_with_the_reason():
    found = describe("vgg16.keras_in1k", image_size=150)
    assert (str(found.layer), found.features) == ("block5_pool:avg", 512)
    assert [stage.name for stage in found.stages][-1] == "block5_pool"
    assert found.total == found.to_layer
    # The original's 13 convolutions: Keras' VGG16(include_top=False).count_params().
    assert found.total.params == 14_714_688
    assert found.left_out.startswith(
        "the dense layers of this network need maps of 7×7, and these images give 4×4"
    )


@pytest.mark.parametrize(
    ("name", "size", "error", "text"),
    [
        ("mobilnet_v2", None, UnknownNameError, r"no backbone 'mobilnet_v2'; did you mean 'mobilenet_v2'"),
        ("mobilenet_v2", "big", UsageError, r"image size 'big': expected pixels, as one number"),
        (
            "vgg16.keras_in1k",
            8,
            UsageError,
            r"vgg16\.keras_in1k at 8×8 pixels: nothing is left .* 'block4_pool'",
        ),
    ],
)
def test_what_cannot_be_summarised_is_refused(name, size, error, text):
    with pytest.raises(error, match=text):
        describe(name, image_size=size)


def test_a_chain_that_takes_no_such_image_is_refused_by_its_own_name():
    with pytest.raises(UsageError, match=r"the network at 0×7 pixels: nothing is left"):
        summarise(small_chain(), (0, 7))


# Cost -------------------------------------------------------------------------------------------------------


def test_nothing_is_computed():
    # Raises on the first operation that JAX would run, and on every transfer.
    with jax.no_execution():
        with pytest.raises(RuntimeError, match="no_execution"):
            jnp.ones(3) + 1
        assert describe("efficientnet_lite0").total.params == 4_652_008


def test_the_sums_are_those_of_the_stages():
    found = described("mobilenet_v2.tv_in1k")
    counts = [stage.counts for stage in found.stages]
    assert found.total == Counts(
        *(sum(getattr(c, n) for c in counts) for n in ("params", "statistics", "macs"))
    )
    value = found.to_json()
    assert value["total"] == {"params": 3_504_872, "statistics": 34_112, "macs": 300_774_272}
    assert value["stages"][1] == {
        "name": "expanded_conv",
        "shape": [112, 112, 16],
        # Depthwise 3×3 on 32 channels and its normalisation, then 1×1 to 16 and its own.
        "params": 9 * 32 + 2 * 32 + 32 * 16 + 2 * 16,
        "statistics": 2 * 32 + 2 * 16,
        "macs": 112 * 112 * (9 * 32 + 32 * 16),
        "points": {
            "expanded_conv_depthwise_relu": [112, 112, 32],
            "expanded_conv_project_BN": [112, 112, 16],
        },
    }
    assert family_of(resolve("mobilenet_v2.tv_in1k")) is found.family
