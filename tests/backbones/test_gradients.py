"""Every network can be trained: gradients of its layers and of whole networks, against what does not share the code."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.support import compiled_quickly, keras, scaled_error
from jax import lax

from featcache.backbones.chain import Backbone
from featcache.backbones.nn.basic import GlobalAveragePool
from featcache.backbones.nn.convolution import (
    adaptive_average_pool,
    average_pool,
    convolve,
    explicit_padding,
    max_pool,
)
from featcache.backbones.registry import families


@pytest.fixture(autouse=True)
def _float32_products():
    # GPUs would multiply in TF32 otherwise, and every tolerance below is for more.
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(params=["cpu", "elsewhere"])
def lowering(request, monkeypatch) -> str:
    """Both lowerings that an operation has, on whatever the tests run on."""
    chosen = "cpu" if request.param == "cpu" else "default"
    monkeypatch.setattr(lax, "platform_dependent", lambda *args, **branches: branches[chosen](*args))
    return request.param


def whole(rng: np.random.Generator, *shape: int, most: int = 2) -> np.ndarray:
    """Whole numbers as float32: sums of their products are exact in any order, below 2²⁴."""
    return rng.integers(-most, most + 1, shape).astype(np.float32)


def pulled_back(function: Callable[..., jax.Array], slope: Any, *args: Any) -> list[np.ndarray]:
    """Gradients of ``sum(slope · function(*args))`` by each argument."""

    def run(*args: Any) -> Any:
        value, back = jax.vjp(function, *args)
        return back(jnp.asarray(slope, value.dtype))

    return [np.asarray(gradient) for gradient in jax.jit(run, compiler_options=compiled_quickly())(*args)]


# Convolutions -----------------------------------------------------------------------------------------------

PADDINGS = ("same", "symmetric", "valid", ((0, 2), (1, 0)))


def direct(x: jax.Array, kernel: jax.Array, *, strides: tuple[int, int], padding: Any) -> jax.Array:
    """XLA's own convolution, whose gradient is JAX's."""
    pads = explicit_padding(padding, x.shape[1:3], kernel.shape[:2], strides)
    groups = x.shape[-1] // kernel.shape[2]
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=layout, feature_group_count=groups
    )


def assert_convolution_is_trained_alike(x: np.ndarray, kernel: np.ndarray, **form: Any) -> None:
    slope = whole(np.random.default_rng(2), *jax.eval_shape(partial(direct, **form), x, kernel).shape)
    got = pulled_back(partial(convolve, **form), slope, x, kernel)
    want = pulled_back(partial(direct, **form), slope, x, kernel)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=str(form))
        assert np.abs(ours).max() > 3


DEPTHWISE = {
    "3, same": (3, (1, 1), "same"),
    "3, stepwise, symmetric": (3, (2, 2), "symmetric"),
    "3, stepwise, uneven": (3, (2, 1), ((0, 2), (1, 0))),
    "5, stepwise, same": (5, (2, 2), "same"),
    "5, valid": (5, (1, 1), "valid"),
    "7, same": (7, (1, 1), "same"),
}
REST = [
    (size, strides, padding)
    for size in (3, 5, 7)
    for strides in ((1, 1), (2, 2), (2, 1), (3, 3))
    for padding in PADDINGS
]


@pytest.mark.parametrize(
    ("size", "strides", "padding"),
    [
        *(pytest.param(*form, id=name) for name, form in DEPTHWISE.items()),
        *(pytest.param(*form, marks=pytest.mark.slow) for form in REST if form not in DEPTHWISE.values()),
    ],
)
def test_depthwise_gradients_are_those_of_the_grouped_convolution(size, strides, padding):
    rng = np.random.default_rng(0)
    x, kernel = whole(rng, 2, 11, 8, 5), whole(rng, size, size, 1, 5)
    assert_convolution_is_trained_alike(x, kernel, strides=strides, padding=padding)


def test_depthwise_gradients_where_the_map_is_smaller_than_the_kernel():
    rng = np.random.default_rng(0)
    x, kernel = whole(rng, 3, 1, 2, 4), whole(rng, 3, 3, 1, 4)
    assert_convolution_is_trained_alike(x, kernel, strides=(2, 2), padding="same")


@pytest.mark.parametrize(
    ("size", "strides", "padding"), [(3, (2, 2), "same"), (3, (2, 2), "symmetric"), (4, (4, 4), "valid")]
)
def test_gradients_of_an_images_patches_are_those_of_the_convolution(size, strides, padding):
    rng = np.random.default_rng(0)
    x, kernel = whole(rng, 2, 12, 9, 3), whole(rng, size, size, 3, 6)
    assert_convolution_is_trained_alike(x, kernel, strides=strides, padding=padding)


@pytest.mark.parametrize(("size", "strides"), [(3, (2, 2)), (5, (1, 1))])
def test_depthwise_gradients_of_bfloat16(size, strides):
    """Exact but for the one rounding at the end: no sum of these has more than 8 bits but the kernel's own."""
    rng = np.random.default_rng(0)
    x, kernel = whole(rng, 2, 11, 9, 4), whole(rng, size, size, 1, 4, most=1)
    form = {"strides": strides, "padding": "same"}
    slope = whole(rng, *jax.eval_shape(partial(direct, **form), x, kernel).shape, most=1)
    halves = (jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16))
    got = pulled_back(partial(convolve, **form), slope, *halves)
    want = pulled_back(partial(direct, **form), slope, x, kernel)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_array_equal(ours, theirs.astype(jnp.bfloat16))


def test_a_kernels_gradient_of_bfloat16_is_summed_in_float32():
    # 4096 ones: a sum in bfloat16 (8 bits) would stop growing at 256.
    x, kernel = jnp.ones((1, 66, 66, 2), jnp.bfloat16), jnp.zeros((3, 3, 1, 2), jnp.bfloat16)
    _, gradient = pulled_back(partial(convolve, padding="valid"), np.ones((1, 64, 64, 2)), x, kernel)
    np.testing.assert_array_equal(gradient.astype(np.float32), np.full((3, 3, 1, 2), 4096))


def test_gradients_of_many_kernels_at_once():
    """vmap over the kernels, as a caller may train several, and of the gradient inside it."""
    rng = np.random.default_rng(0)
    x, kernels = whole(rng, 2, 6, 5, 3), whole(rng, 4, 3, 3, 1, 3)
    slope = whole(rng, 2, 6, 5, 3)

    def loss(run: Callable[..., jax.Array], kernel: jax.Array) -> jax.Array:
        return jnp.sum(slope * run(x, kernel, strides=(1, 1), padding="same"))

    got, want = (jax.jit(jax.vmap(jax.grad(partial(loss, run))))(kernels) for run in (convolve, direct))
    np.testing.assert_array_equal(got, want)


# Pooling ----------------------------------------------------------------------------------------------------


def different(*shape: int) -> np.ndarray:
    """A map without two equal values: nothing is a tie."""
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "strides", "padding"), [(2, 2, "valid"), (3, 2, "same"), (3, 1, "same"), (3, 2, "valid")]
)
def test_max_pool_gradients_equal_keras(lowering, size, strides, padding):
    x = different(2, 9, 8, 3) - 200  # a zero that pads would win against some
    ours = partial(max_pool, size=size, strides=strides, padding=padding)
    theirs = partial(keras().ops.max_pool, pool_size=size, strides=strides, padding=padding)
    slope = whole(np.random.default_rng(1), *ours(x).shape)
    np.testing.assert_array_equal(*(pulled_back(pool, slope, x)[0] for pool in (ours, theirs)))


def test_max_pool_shares_the_slope_of_equal_values(lowering):
    """Of a tie, all or one may be trained, but together they get what the window does."""
    (gradient,) = pulled_back(partial(max_pool, size=2), np.full((1, 2, 2, 1), 8.0), np.ones((1, 4, 4, 1)))
    windows = gradient.reshape(2, 2, 2, 2).sum((1, 3))
    np.testing.assert_array_equal(windows, np.full((2, 2), 8))


@pytest.mark.parametrize(("size", "strides", "padding"), [(3, 1, "same"), (3, 2, "same"), (2, 2, "valid")])
def test_average_pool_gradients_equal_keras(lowering, size, strides, padding):
    x = different(2, 9, 8, 3)
    ours = partial(average_pool, size=size, strides=strides, padding=padding)
    theirs = partial(keras().ops.average_pool, pool_size=size, strides=strides, padding=padding)
    slope = whole(np.random.default_rng(1), *ours(x).shape)
    got, want = (pulled_back(pool, slope, x)[0] for pool in (ours, theirs))
    # At most nine quotients, each rounded once, in another order: 18 · 2⁻²⁴ of the largest.
    assert scaled_error(got, want) < 18 * 2.0**-24


@pytest.mark.parametrize("padding", ["symmetric", ((0, 1), (2, 0))])
def test_average_pool_gradients_where_padding_counts(lowering, padding):
    """A mean over 2×2 places is a convolution with quarters, which are exact."""
    x = different(2, 5, 6, 3)
    ours = partial(average_pool, size=2, strides=1, padding=padding, count_padding=True)
    quarters = np.full((2, 2, 1, 3), 0.25, np.float32)
    theirs = partial(direct, kernel=quarters, strides=(1, 1), padding=padding)
    slope = whole(np.random.default_rng(1), *ours(x).shape)
    np.testing.assert_array_equal(*(pulled_back(pool, slope, x)[0] for pool in (ours, theirs)))


@pytest.mark.parametrize(("rows", "columns", "size"), [(7, 10, 3), (2, 3, 7), (14, 14, 7)])
def test_adaptive_pool_gradients_are_its_transpose(rows, columns, size):
    """It is linear: what it makes of a map, weighed by slopes, is that map weighed by the gradient."""
    rng = np.random.default_rng(0)
    pool = partial(adaptive_average_pool, size=size)
    for _ in range(3):
        x, slope = rng.normal(size=(2, rows, columns, 3)), rng.normal(size=(2, size, size, 3))
        (gradient,) = pulled_back(pool, slope, x.astype(np.float32))
        pooled = np.asarray(pool(jnp.asarray(x, jnp.float32)), np.float64)
        # Sums of 294 float32 numbers and more, of either sign: 1e-6 of the root of their squares' sum.
        room = 1e-6 * np.linalg.norm(slope) * np.linalg.norm(x)
        np.testing.assert_allclose((gradient * x).sum(), (pooled * slope).sum(), rtol=0, atol=room)


# Whole networks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Small:
    """A family's network, small enough to be differentiated in seconds.

    Parameters
    ----------
    family
        Its name.
    settings
        Of its configuration.
    size
        Side of the images, in pixels.
    step
        Of the difference quotient, as a fraction of each tensor's size. Short where the network has corners (ReLU,
        max pooling), which it must not run over; 1e-8 loses eight digits of float64's fifteen. Long where a mean
        inside is float32 whatever the rest is (squeeze and excitation, layer normalisation): those networks are
        smooth, and float32's 6e-8 is divided by the step.
    tolerance
        Of the quotient: what the step leaves of the digits, and ten times that.
    last
        The stage that is differentiated; the last map if not given.
    """

    family: str
    settings: dict[str, Any] = field(default_factory=dict)
    size: int = 32
    step: float = 1e-8
    tolerance: float = 1e-6
    last: str | None = None


FLOAT32_INSIDE = {"step": 1e-4, "tolerance": 5e-3}

SMALL = {
    # The beginnings, which have all that the rest has and compile in seconds.
    "VGG": Small("vgg", {"repeats": (1, 1, 1, 1, 1)}, size=16, last="block3_pool"),
    "MobileNet": Small("mobilenet_v1", {"alpha": 0.25}, last="conv_pw_4_relu"),
    "ResNet": Small("resnet", {"kernels": (1, 3, 1), "repeats": (1, 1, 1, 1)}, last="conv3_block1_out"),
    "Inception": Small("inception_v3", size=43, last="mixed0"),
    "VGG, all": Small("vgg", {"repeats": (1, 1, 1, 1, 1)}),
    "MobileNet, all": Small("mobilenet_v1", {"alpha": 0.25}),
    "ResNet, all": Small("resnet", {"kernels": (1, 3, 1), "repeats": (1, 1, 1, 1)}),
    "AlexNet": Small("alexnet", size=63),
    "MobileNetV2": Small("mobilenet_v2", {"alpha": 0.35}),
    "MobileNetV3": Small(
        "mobilenet_v3", {"variant": "small", "alpha": 0.25}, **FLOAT32_INSIDE | {"step": 1e-5}
    ),
    "EfficientNet-Lite": Small("efficientnet_lite", {"width": 0.25, "depth": 0.25}),
    "EfficientNet": Small("efficientnet", {"width": 0.25, "depth": 0.25}, **FLOAT32_INSIDE),
    "EfficientNetV2": Small("efficientnet_v2", {"rows": "b", "width": 0.25, "depth": 0.2}, **FLOAT32_INSIDE),
    "DenseNet": Small("densenet", {"repeats": (1, 1, 1, 1)}),
    "ResNet with 3×3 blocks": Small("resnet", {"kernels": (3, 3), "repeats": (1, 1, 1, 1)}),
    "ResNetV2": Small("resnet_v2", {"repeats": (1, 1, 1, 1)}),
    "Inception, all": Small("inception_v3", {"count_padding": True, "norm_scale": True}, size=75),
    "Inception-ResNet": Small("inception_resnet_v2", size=75),
    "Xception": Small("xception", size=48),
    "ConvNeXt": Small("convnext", {"depths": (1, 1, 1, 1), "widths": (8, 16, 16, 24)}, **FLOAT32_INSIDE),
    "ViT": Small(
        "vit",
        {"width": 64, "depth": 1, "patch": 8, "grid": 4, "layer_scale": True, "registers": 2},
        size=40,  # so that positions are interpolated
        last="pool",
        **FLOAT32_INSIDE,
    ),
    "ViT with attention pooling": Small(
        "vit",
        {"width": 64, "depth": 1, "patch": 8, "grid": 4, "pre_norm": True, "pooling": "map"}
        | {"activation": "quick_gelu"},
        last="pool",
        **FLOAT32_INSIDE,
    ),
}
QUICK = ("VGG", "MobileNet", "ResNet")


def test_every_family_is_differentiated():
    assert {small.family for small in SMALL.values()} == {family.name for family in families()}


def last_map(network: Backbone) -> str:
    """The stage before the pooling, or the one whose map is pooled."""
    pool = network.resolve("pool")
    pooled = isinstance(network.stages[pool], GlobalAveragePool)
    return network.order[network.order.index(pool) - pooled]


def drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    leaf = name.rpartition(".")[2]
    if leaf == "kernel":
        return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return rng.uniform(0.5, 1.5, shape) if leaf in ("scale", "var") else 0.3 * rng.normal(size=shape)


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in SMALL]
)
def test_gradients_of_a_network_are_its_slopes(name, monkeypatch):
    """Of a random sum of the last map by every parameter: there, finite, and what a difference quotient says."""
    small = SMALL[name]
    family = next(family for family in families() if family.name == small.family)
    config = type(family.pretrained[0].config)(**small.settings)
    rng = np.random.default_rng(0)
    # Without the other platforms' lowerings, which are compared above, it is traced in half the time.
    monkeypatch.setattr(lax, "platform_dependent", lambda *args, cpu, default: cpu(*args))
    with jax.enable_x64(True):
        network = nnx.eval_shape(lambda: family.build(config, None))
        last = small.last or last_map(network)
        below = network.order[network.order.index(last) + 1 :]
        graphdef, params, rest = nnx.split(network.without(below) if below else network, nnx.Param, ...)

        def fill(state: nnx.State) -> nnx.State:
            flat = nnx.to_flat_state(state)
            values = (jnp.asarray(drawn(str(path[-1]), leaf.shape, rng)) for path, leaf in flat)
            return nnx.from_flat_state(
                [(path, leaf.replace(value)) for (path, leaf), value in zip(flat, values, strict=True)]
            )

        params, rest = fill(params), fill(rest)
        images = jnp.asarray(rng.uniform(-1, 1, (2, small.size, small.size, 3)))

        def value(params: nnx.State) -> jax.Array:
            last_values = nnx.merge(graphdef, params, rest)(images, taps=(last,))[last]
            weights = np.random.default_rng(1).normal(size=last_values.shape)
            return jnp.sum(weights * last_values) / np.sqrt(weights.size)

        # One program for the slopes and for both ends of the quotient: compiling is most of this test.
        differentiated = jax.jit(jax.value_and_grad(value), compiler_options=compiled_quickly())
        gradients = differentiated(params)[1]
        direction = jax.tree.map(lambda p: rng.normal(size=p.shape) * np.sqrt(np.mean(np.square(p))), params)

        def moved(by: float) -> float:
            return float(differentiated(jax.tree.map(lambda p, d: p + by * d, params, direction))[0])

        quotient = (moved(small.step) - moved(-small.step)) / (2 * small.step)
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: float(jnp.vdot(g, d)), gradients, direction)))
    for path, gradient in nnx.to_flat_state(gradients):
        assert np.isfinite(gradient[...]).all(), path
        assert np.abs(gradient[...]).max() > 1e-6, f"nothing would train {path}"
    assert quotient == pytest.approx(slope, rel=small.tolerance)
