"""Every lowering of a convolution, and the other layers, against loops in float64 and against Keras."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.support import compiled_quickly, keras, scaled_error
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from featcache.backbones.chain import Backbone
from featcache.backbones.nn.basic import BatchNorm, Conv, ConvNorm, Dense, GlobalAveragePool, Serial, relu6
from featcache.backbones.nn.convolution import FEW_CHANNELS, convolve, explicit_padding

LAYOUT = ("NHWC", "HWIO", "NHWC")

# name: (input channels, channels that a filter sees, output channels); any kernel size goes with each.
KINDS = {
    "depthwise": (6, 1, 6),
    "few channels": (3, 3, 5),
    "direct": (FEW_CHANNELS + 1, FEW_CHANNELS + 1, 4),
    "grouped": (6, 2, 9),
    "depthwise with multiplier": (3, 1, 6),
    "one channel": (1, 1, 4),
}


@pytest.fixture(autouse=True)
def _float32_products():
    # GPUs would multiply in TF32 otherwise, and every tolerance below is for float32.
    with jax.default_matmul_precision("highest"):
        yield


def random_pair(kind: str, size, kernel_size, seed: int, batch: int = 2) -> tuple[np.ndarray, np.ndarray]:
    channels, fan_in, features = KINDS[kind]
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, *size, channels)).astype(np.float32)
    return x, rng.normal(size=(*kernel_size, fan_in, features)).astype(np.float32)


def loops(x: np.ndarray, kernel: np.ndarray, strides, pads) -> np.ndarray:
    """The definition of a (grouped) cross-correlation, in float64."""
    x, kernel = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0))), kernel.astype(np.float64)
    kh, kw, fan_in, features = kernel.shape
    groups = x.shape[-1] // fan_in
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], (kh, kw), strides, strict=True))
    y = np.zeros((len(x), rows, columns, features))
    for row in range(rows):
        for column in range(columns):
            top, left = row * strides[0], column * strides[1]
            window = x[:, top : top + kh, left : left + kw]
            for feature in range(features):
                group = feature // (features // groups)
                seen = window[..., group * fan_in : (group + 1) * fan_in]
                y[:, row, column, feature] = (seen * kernel[..., feature]).sum((1, 2, 3))
    return y


def assert_convolved(actual, x, kernel, strides, pads) -> None:
    """Equal within what float32 allows for a sum of n products, in whatever order it is summed.

    That is n · 2⁻²⁴ · Σ|x·k| for each output (Higham, Accuracy and Stability, section 3.1); n + 1 leaves room
    for the rounding of n itself.
    """
    expected = loops(x, kernel, strides, pads)
    terms = np.prod(kernel.shape[:3]) + 1
    bound = terms * 2.0**-24 * loops(np.abs(x), np.abs(kernel), strides, pads)
    assert actual.shape == expected.shape
    assert actual.dtype == jnp.float32
    np.testing.assert_array_less(np.abs(np.asarray(actual, np.float64) - expected), bound + 1e-30)


# ---- convolution, numbers


def tensorflow_same(size, kernel_size, strides):
    """XLA's own rule for the word SAME, which is TensorFlow's."""
    return tuple(lax.padtype_to_pads(size, kernel_size, strides, "SAME"))


def torch_symmetric(kernel_size):
    """What a PyTorch model writes as ``padding=k // 2``: 0, 1, 2, 3 for kernels of 1, 3, 5, 7."""
    return tuple(({1: 0, 3: 1, 5: 2, 7: 3}[k],) * 2 for k in kernel_size)


def compiled(**settings):
    """Jitted `convolve`: one short compilation for each shape, where running it op by op takes several."""
    return jax.jit(partial(convolve, **settings), compiler_options=compiled_quickly())


convolutions = {
    "kind": st.sampled_from(list(KINDS)),
    "size": st.tuples(st.integers(1, 9), st.integers(1, 9)),
    "kernel_size": st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 3, 5, 7])),
    "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "padding": st.sampled_from(["same", "symmetric"]),
}


def check_against_the_definition(kind, size, kernel_size, strides, padding):
    x, kernel = random_pair(kind, size, kernel_size, 0)
    pads = tensorflow_same(size, kernel_size, strides) if padding == "same" else torch_symmetric(kernel_size)
    actual = compiled(strides=strides, padding=padding)(x, kernel)
    assert_convolved(actual, x, kernel, strides, pads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_each_lowering_equals_the_definition(kind, padding):
    check_against_the_definition(kind, (8, 7), (3, 5), (2, 3), padding)


@settings(max_examples=15, deadline=None)
@given(**convolutions)
def test_any_shape_equals_the_definition(**shape):
    check_against_the_definition(**shape)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(**convolutions)
def test_many_shapes_equal_the_definition(**shape):
    check_against_the_definition(**shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", ["valid", ((0, 1), (2, 0))])
def test_valid_and_explicit_padding_equal_the_definition(kind, padding):
    x, kernel = random_pair(kind, (7, 6), (3, 3), 0)
    pads = ((0, 0), (0, 0)) if padding == "valid" else padding
    actual = compiled(strides=(2, 1), padding=padding)(x, kernel)
    assert_convolved(actual, x, kernel, (2, 1), pads)


def test_pointwise_with_padding_keeps_the_border_of_zeros():
    x, kernel = random_pair("direct", (3, 3), (1, 1), 0)
    pads = ((1, 1), (0, 2))
    actual = compiled(padding=pads)(x, kernel)
    assert_convolved(actual, x, kernel, (1, 1), pads)
    assert not np.asarray(actual)[:, 0].any()


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [8, 9])
def test_depthwise_equals_keras(size, kernel_size):
    """Integers, so that both sides are exact whatever the order of summation."""
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (2, size, size, 3)).astype(np.float32)
    kernel = rng.integers(-4, 5, (kernel_size, kernel_size, 3, 1)).astype(np.float32)
    expected = keras().ops.depthwise_conv(x, kernel, strides=2, padding="same")
    actual = compiled(strides=(2, 2))(x, kernel.transpose(0, 1, 3, 2))
    np.testing.assert_array_equal(actual, np.asarray(expected))


# ---- convolution, what it is lowered to


def lowered(kind: str, kernel_size: int, strides: int, platform: str) -> str:
    x, kernel = random_pair(kind, (8, 8), (kernel_size, kernel_size), 0)

    def run(x, kernel):
        return convolve(x, kernel, strides=(strides, strides))

    return jax.jit(run).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    ("kind", "kernel_size", "strides", "on_cpu", "elsewhere"),
    [
        ("direct", 1, 1, "dot_general", "dot_general"),
        ("direct", 1, 2, "convolution", "convolution"),
        ("direct", 3, 1, "convolution", "convolution"),
        ("grouped", 3, 1, "convolution", "convolution"),
        ("depthwise", 3, 2, "slice", "convolution"),
        ("few channels", 3, 2, "dot_general", "convolution"),
    ],
)
def test_lowering(kind, kernel_size, strides, on_cpu, elsewhere):
    for platform, operation in (("cpu", on_cpu), ("cuda", elsewhere), ("tpu", elsewhere)):
        text = lowered(kind, kernel_size, strides, platform)
        assert f"stablehlo.{operation}" in text, platform
        assert ("stablehlo.convolution" in text) == (operation == "convolution"), platform


def test_pads_are_not_fused_into_the_shifted_reads():
    assert "optimization_barrier" in lowered("depthwise", 3, 2, "cpu")


# ---- convolution, transformations of JAX


@pytest.mark.parametrize(("kind", "strides"), [("depthwise", 1), ("depthwise", 2), ("few channels", 2)])
def test_gradients_equal_those_of_the_grouped_convolution(kind, strides):
    x, kernel = random_pair(kind, (7, 8), (3, 3), 0)
    pads = tensorflow_same((7, 8), (3, 3), (strides, strides))
    weight = np.random.default_rng(1).normal(size=loops(x, kernel, (strides,) * 2, pads).shape)
    weight = jnp.asarray(weight, jnp.float32)

    def ours(x, kernel):
        return (weight * jnp.tanh(convolve(x, kernel, strides=(strides, strides)))).sum()

    def reference(x, kernel):
        groups = x.shape[-1] // kernel.shape[2]
        y = lax.conv_general_dilated(
            x, kernel, (strides, strides), pads, dimension_numbers=LAYOUT, feature_group_count=groups
        )
        return (weight * jnp.tanh(y)).sum()

    def gradients(function):
        return jax.jit(jax.grad(function, (0, 1)))(x, kernel)

    for actual, expected in zip(gradients(ours), gradients(reference), strict=True):
        # Sums of at most 2·7·8 float32 products in another order: 112 · 2⁻²⁴ = 7e-6 of the largest.
        assert scaled_error(actual, expected) < 7e-6


@pytest.mark.parametrize("kind", ["depthwise", "few channels", "direct"])
def test_vmap_over_images_and_over_kernels(kind):
    x, kernel = random_pair(kind, (5, 6), (3, 3), 0, batch=3)
    kernels = jnp.stack([kernel, 2 * kernel, -kernel])

    def one(image, kernel):
        return convolve(image[None], kernel, strides=(2, 2))[0]

    actual = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(x, kernels)
    single = compiled(strides=(2, 2))
    expected = jnp.stack([single(x, k) for k in kernels], axis=1)
    # The same sums of at most 45 products, perhaps in another order: 45 · 2⁻²⁴ = 2.7e-6.
    assert scaled_error(actual, expected) < 2.7e-6


# ---- padding


def test_same_equals_tensorflow_for_all_small_sizes():
    for size in range(1, 33):
        for kernel_size in range(1, 8):
            for stride in range(1, 5):
                ours = explicit_padding("same", (size, 7), (kernel_size, 3), (stride, 2))
                theirs = tensorflow_same((size, 7), (kernel_size, 3), (stride, 2))
                assert ours == theirs, (size, kernel_size, stride)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_same_equals_keras_correct_pad(kernel_size):
    """keras.applications pads by `correct_pad` before its strided depthwise layers."""
    keras()
    from keras.src.applications.imagenet_utils import correct_pad

    for height in range(kernel_size, 40):
        x = np.zeros((1, height, height + 1, 1))
        ours = explicit_padding("same", x.shape[1:3], (kernel_size, kernel_size), (2, 2))
        assert ours == correct_pad(x, kernel_size), height


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "expected"),
    [
        (224, 3, 2, (0, 1)),
        (225, 3, 2, (1, 1)),
        (224, 7, 2, (2, 3)),
        (224, 1, 2, (0, 0)),
        (7, 3, 1, (1, 1)),
        (33, 5, 2, (2, 2)),
        (34, 5, 2, (1, 2)),
    ],
)
def test_same_pads_these_pixels(size, kernel_size, stride, expected):
    """Keras' own output on a ramp that a one-hot kernel reads: it shows every pixel that the pads moved."""
    x = (np.arange(size, dtype=np.float32) + 1)[None, :, None, None]
    for position in (0, kernel_size - 1):
        kernel = np.zeros((kernel_size, 1, 1, 1), np.float32)
        kernel[position] = 1
        theirs = keras().ops.conv(x, kernel, strides=(stride, 1), padding="same")
        padded = np.pad(x[0, :, 0, 0], expected)
        ours = padded[position::stride][: theirs.shape[1]]
        np.testing.assert_array_equal(np.asarray(theirs)[0, :, 0, 0], ours)
    assert explicit_padding("same", (size, 1), (kernel_size, 1), (stride, 1))[0] == expected


def test_symmetric_pads_half_the_kernel_whatever_the_stride():
    assert explicit_padding("symmetric", (224, 10), (3, 7), (2, 3)) == ((1, 1), (3, 3))


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="padding 'SAME' is none of 'same', 'symmetric', 'valid'"):
        explicit_padding("SAME", (8, 8), (3, 3), (1, 1))


# ---- modules


def filled(module: nnx.Module, seed: int = 0) -> nnx.Module:
    """Give every number of a module a random value; variances stay positive."""
    rng = np.random.default_rng(seed)
    state = nnx.state(module)
    flat = []
    for path, leaf in nnx.to_flat_state(state):
        value = rng.uniform(0.1, 2, leaf.shape) if path[-1] == "var" else rng.normal(size=leaf.shape)
        flat.append((path, leaf.replace(jnp.asarray(value, jnp.float32))))
    nnx.update(module, nnx.from_flat_state(flat))
    return module


@pytest.mark.parametrize("epsilon", [1e-5, 1e-3, 0.1])
def test_batch_norm_equals_keras(epsilon):
    norm = filled(BatchNorm(7, epsilon=epsilon))
    layer = keras().layers.BatchNormalization(epsilon=epsilon)
    layer.build((None, None, None, 7))
    layer.set_weights([norm.scale[...], norm.bias[...], norm.mean[...], norm.var[...]])
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 7)).astype(np.float32)
    # Both round a handful of times, in another order: 8 · 2⁻²⁴ of the largest term.
    factor = np.abs(np.asarray(norm.scale[...]) / np.sqrt(np.asarray(norm.var[...]) + epsilon))
    largest = (np.abs(x) + np.abs(norm.mean[...])) * factor + np.abs(norm.bias[...])
    difference = np.abs(np.asarray(norm(jnp.asarray(x))) - np.asarray(layer(x, training=False)))
    np.testing.assert_array_less(difference, 8 * 2.0**-24 * largest)


def in_training(norm: BatchNorm, x: jax.Array, slope: jax.Array, **attributes):
    """Output, gradients of ``sum(slope · output)`` by the map and the parameters, and the moved statistics."""
    graphdef, params, statistics = nnx.split(norm, nnx.Param, nnx.BatchStat)

    def loss(params, x):
        module = nnx.merge(graphdef, params, statistics, copy=True)
        module.set_attributes(batch_statistics=True, **attributes)
        y = module(x)
        return jnp.sum(slope * y), (y, nnx.state(module, nnx.BatchStat))

    (of_params, of_x), (y, moved) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)
    gradients = {str(path[0]): leaf[...] for path, leaf in nnx.to_flat_state(of_params)}
    return y, {"x": of_x, **gradients}, {name: moved[name][...] for name in ("mean", "var")}


@pytest.mark.parametrize("shape", [(3, 4, 5, 7), (6, 7)], ids=["maps", "vectors"])
@pytest.mark.parametrize(("use_scale", "momentum"), [(True, 0.9), (False, 0.99)])
def test_batch_norm_in_training_equals_keras(shape, use_scale, momentum):
    rng = np.random.default_rng(1)
    x, slope = rng.normal(2, 3, shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)
    norm = filled(BatchNorm(shape[-1], epsilon=1e-3, use_scale=use_scale))
    stored = {name: np.asarray(getattr(norm, name)[...]) for name in ("mean", "var")}
    layer = keras().layers.BatchNormalization(epsilon=1e-3, momentum=momentum, scale=use_scale)
    layer.build(shape)
    learnt = [number[...] for number in (norm.scale, norm.bias) if number is not None]
    layer.set_weights([*learnt, *stored.values()])

    def theirs(trained, x):
        kept = [variable.value for variable in layer.non_trainable_variables]
        y, moved = layer.stateless_call(trained, kept, x, training=True)
        return jnp.sum(slope * y), (y, moved)

    trained = [variable.value for variable in layer.trainable_variables]
    (of_trained, of_x), (expected, their_moved) = jax.jit(jax.grad(theirs, (0, 1), has_aux=True))(trained, x)
    their_gradients = {"x": of_x, **dict(zip(["scale"] * use_scale + ["bias"], of_trained, strict=True))}

    y, gradients, moved = in_training(norm, x, slope, momentum=momentum)
    # Sums of at most 60 numbers, a root and a few products, in another order: 100 · 2⁻²⁴ of the largest.
    room = 100 * 2.0**-24
    assert scaled_error(y, expected) < room
    assert gradients.keys() == their_gradients.keys()
    for name, expected_gradient in their_gradients.items():
        assert scaled_error(gradients[name], expected_gradient) < room, name
    for name, expected_moved in zip(("mean", "var"), their_moved, strict=True):
        assert scaled_error(moved[name], expected_moved) < room, name
        assert scaled_error(moved[name], stored[name]) > 0.01, "it moved"
        np.testing.assert_array_equal(getattr(norm, name)[...], stored[name], "outside, nothing moved")


def test_batch_statistics_of_bfloat16_are_float32():
    """A mean of 100 with a deviation of 1: in bfloat16 the values alone are rounded by half a deviation."""
    x = jnp.asarray(np.random.default_rng(1).normal(100, 1, (64, 8, 8, 3)), jnp.bfloat16)
    norm = BatchNorm(3, epsilon=1e-3)
    norm.batch_statistics, norm.momentum = True, 0.0
    y = norm(x)
    exact = np.asarray(x, np.float64).reshape(-1, 3)
    assert (y.dtype, norm.mean[...].dtype, norm.var[...].dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    # 4096 numbers in some order of additions, far better than one after the other.
    np.testing.assert_allclose(norm.mean[...], exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], exact.var(0), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(y, np.float64).reshape(-1, 3).std(0), 1, rtol=2.0**-8)


def test_batch_statistics_are_switched_on_for_some_stages_only():
    """As a trainer does it: in a compiled function, on stages by name, whether or not they have such a thing."""
    rngs = nnx.Rngs(0)
    stages = {
        "frozen": ConvNorm(3, 4, epsilon=1e-3, rngs=rngs),
        "trained": Serial(unit=ConvNorm(4, 5, epsilon=1e-3, activation=relu6, rngs=rngs)),
        "pool": GlobalAveragePool(),
    }
    graphdef, state = nnx.split(Backbone(stages))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 5, 3)), jnp.float32)

    @jax.jit
    def run(state, x):
        network = nnx.merge(graphdef, state)
        for name in ("trained", "pool"):
            network.stages[name].set_attributes(batch_statistics=True, raise_if_not_found=False)
        return network(x)["pool"], nnx.state(network, nnx.BatchStat)

    pooled, moved = run(state, x)
    before = {path: leaf[...] for path, leaf in nnx.to_flat_state(nnx.filter_state(state, nnx.BatchStat))}
    after = {path: leaf[...] for path, leaf in nnx.to_flat_state(moved)}
    assert before.keys() == after.keys()
    for path, value in after.items():
        assert bool((value != before[path]).any()) == ("trained" in path), path
    plain = nnx.merge(graphdef, state)(x)["pool"]
    assert scaled_error(pooled, plain) > 0.01, "the batch's own statistics are not the stored ones"


def test_relu6_equals_keras_exactly():
    x = np.array([-np.inf, -7, -0.0, 0, 1e-30, 3, 6, 6.0000005, 1e30, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(relu6(jnp.asarray(x)), np.asarray(keras().ops.relu6(x)))


def test_relu6_passes_gradients_between_0_and_6_only():
    x = jnp.array([-3.0, -0.1, 0.1, 3.0, 5.9, 6.1, 100.0])
    np.testing.assert_array_equal(jax.grad(lambda v: relu6(v).sum())(x), [0, 0, 1, 1, 1, 0, 0])


def test_conv_adds_its_bias():
    conv = filled(Conv(3, 4, (3, 1), strides=(2, 1), padding="symmetric", use_bias=True, rngs=None))
    x, _ = random_pair("few channels", (6, 5), (3, 1), 2)
    without = conv(jnp.asarray(x)) - conv.bias[...]
    expected = loops(x, np.asarray(conv.kernel[...]), (2, 1), ((1, 1), (0, 0)))
    # 9 products and two additions of the bias, which is not larger than 3.
    np.testing.assert_allclose(without, expected, rtol=0, atol=9 * 2.0**-24 * 30)


def test_conv_norm_is_its_parts_in_order():
    unit = filled(ConvNorm(6, 6, 3, strides=2, groups=6, epsilon=1e-3, activation=relu6, rngs=None))
    x = jnp.asarray(random_pair("depthwise", (5, 5), (3, 3), 3)[0])
    expected = relu6(unit.norm(convolve(x, unit.conv.kernel[...], strides=(2, 2))))
    np.testing.assert_array_equal(unit(x), expected)
    unit.activation = None
    assert float(unit(x).min()) < 0


def test_dense_equals_keras():
    dense = filled(Dense(5, 4, rngs=None))
    layer = keras().layers.Dense(4)
    layer.build((None, 5))
    layer.set_weights([dense.kernel[...], dense.bias[...]])
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    # 5 products and a bias: 6 · 2⁻²⁴ of a sum of absolute values below 30.
    np.testing.assert_allclose(dense(jnp.asarray(x)), np.asarray(layer(x)), rtol=0, atol=6 * 2.0**-24 * 30)


def test_pooling_of_bfloat16_sums_in_float32():
    # 4096 values just above 1: a sum in bfloat16 (8 bits) would stop growing at 256.
    x = jnp.full((1, 64, 64, 3), 1.0078125, jnp.bfloat16)
    pooled = GlobalAveragePool()(x)
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_array_equal(pooled.astype(jnp.float32), np.full((1, 3), 1.0078125))


def test_modules_compute_in_the_dtype_of_the_map():
    unit = filled(ConvNorm(3, 4, 3, epsilon=1e-3, activation=relu6, rngs=None))
    conv = filled(Conv(3, 4, 3, use_bias=True, rngs=None))
    x = jnp.ones((1, 4, 4, 3), jnp.bfloat16)
    assert unit(x).dtype == conv(x).dtype == filled(Dense(3, 2, rngs=None))(x).dtype == jnp.bfloat16


@pytest.mark.parametrize("groups", [1, 8])
def test_new_kernels_are_he_normal(groups):
    conv = Conv(64, 64, 3, groups=groups, rngs=nnx.Rngs(0))
    kernel = np.asarray(conv.kernel[...])
    assert kernel.shape == (3, 3, 64 // groups, 64)
    # n draws estimate a deviation to 1 / sqrt(2 n): 5e-3 for 9·8·64 of them; four of that.
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64 // groups)), rel=0.05)
    assert not np.asarray(Conv(64, 64, 3, rngs=None).kernel[...]).any()
