"""A loaded backbone: its layers, its recipe, and the one compiled function for each request."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from helpers.support import lite0, scaled_error

from featcache.backbones import load
from featcache.backbones.chain import Backbone
from featcache.backbones.input_size import with_size
from featcache.backbones.layer import Layer
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.nn.basic import Conv, Dense, GlobalAveragePool
from featcache.backbones.weights.readers import read_tensors
from featcache.errors import UnknownNameError, UsageError

# Small and not square, so that swapped axes would show; all of Lite0's strides divide neither side.
SMALL = lite0().transforms.with_size(40, 56)

# Networks of the tests are smaller than anything that features are taken from.
pytestmark = pytest.mark.filterwarnings("ignore:image size .* was trained on:RuntimeWarning")


@cache
def random_mobilenet() -> LoadedBackbone:
    return load("mobilenet_v2", weights="random")


def pictures(count: int, height: int = 40, width: int = 56) -> np.ndarray:
    """Noise over a different gradient each: uint8[count, height, width, 3]."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 1, width)[None, None, :, None] * np.arange(1, count + 1)[:, None, None, None]
    noise = rng.uniform(0, 1, (count, height, width, 3))
    return (120 * slope % 200 + 55 * noise).astype(np.uint8)


def features(loaded, texts, images, *, transforms=SMALL, **options) -> dict[str, np.ndarray]:
    layers = loaded.layers(texts, transforms)
    outputs = loaded.function(layers, transforms=transforms, **options)(loaded.state, images)
    assert all(value.dtype == jnp.float32 for value in outputs.values())
    return {name: np.asarray(value) for name, value in outputs.items()}


# ---- layers


def test_layers_are_parsed_with_their_default_pooling():
    texts = [
        "block3a",
        "block3a:max",
        "block2b_expand_relu:flatten",
        "top_activation:map",
        "avg_pool",
        "logits",
    ]
    layers = lite0().layers(texts, SMALL)
    assert [str(layer) for layer in layers] == [
        "block3a:avg",
        "block3a:max",
        "block2b_expand_relu:flatten",
        "top:map",
        "pool",
        "logits",
    ]


def test_feature_shapes():
    layers = lite0().layers(["block3a", "block2b_expand_relu:flatten", "top:map", "pool", "logits"], SMALL)
    # 40×56 halves to 20×28, 10×14 (blocks 2), 5×7 (blocks 3), 3×4, 2×2, always rounded up.
    assert lite0().feature_shapes(layers, SMALL) == {
        "block3a:avg": (40,),
        "block2b_expand_relu:flatten": (10 * 14 * 24 * 6,),
        "top:map": (2, 2, 1280),
        "pool": (1280,),
        "logits": (1000,),
    }


@pytest.mark.parametrize(
    ("texts", "error", "text"),
    [
        (["block3a:avgg"], UsageError, "layer 'block3a:avgg': no pooling 'avgg'; did you mean 'avg'"),
        (["pool:avg"], UsageError, "layer pool:avg: its output is a vector of 1280 already; ask for pool"),
        (["logits:max"], UsageError, "its output is a vector of 1000 already"),
        (["block3a:none"], UsageError, r"its output is a map \(5, 7, 40\); ask for block3a:map"),
        (["block3"], UnknownNameError, "no stage 'block3' in this network; did you mean 'block3"),
        (["blok3a"], UnknownNameError, "did you mean 'block3a'"),
        (["block_13_expand_relu"], UnknownNameError, "no stage 'block_13_expand_relu'"),
        (["pool", "pool"], UsageError, "layers pool, pool name the same one twice; give each once"),
        (["pool", "avg_pool"], UsageError, "layers pool, avg_pool name the same one twice"),
        (["block3a", "pool", "block3a:avg"], UsageError, "name the same one twice"),
        ([], UsageError, "no layer was asked for"),
    ],
)
def test_layers_that_cannot_be_meant(texts, error, text):
    with pytest.raises(error, match=text):
        lite0().layers(texts, SMALL)


def test_layer_of_mobilenet_says_did_you_mean():
    with pytest.raises(UsageError, match="layer 'block_6:avgg': no pooling 'avgg'; did you mean 'avg'"):
        random_mobilenet().layers(["block_6:avgg"])


# ---- sizes of the input


def chain_of(stages, size: tuple[int, int] = (32, 32)) -> LoadedBackbone:
    """A backbone of the given stages, with numbers drawn; what is not looked at comes from Lite0."""
    graphdef, state = nnx.split(Backbone(stages))
    rng = np.random.default_rng(0)  # JAX would compile a generator for each shape
    state = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), state)
    pretrained = replace(lite0().pretrained, arch="small", tag="chain", transforms=SMALL.with_size(*size))
    return LoadedBackbone(lite0().family, pretrained, "chain", graphdef, state, {}, None)


class Flat(nnx.Module):
    """Passes a map on as a vector and does not look at its size."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.reshape(len(x), -1)


@cache
def valid_convolutions(kernel: int = 3) -> LoadedBackbone:
    """Each leaves ``(n - kernel) // 2 + 1`` of n pixels, which is 0 and less for small maps."""
    convolutions = {
        f"conv{n}": Conv(inputs, 8, kernel, strides=2, padding="valid", rngs=None)
        for n, inputs in enumerate((3, 8, 8), start=1)
    }
    return chain_of({**convolutions, "pool": GlobalAveragePool(), "logits": Dense(8, 10, rngs=None)})


@pytest.mark.parametrize(
    ("size", "stage", "left"),
    [
        ((14, 14), "conv3", (0, 0, 8)),  # 14, 6, 2, nothing
        ((15, 14), "conv3", (1, 0, 8)),
        ((6, 100), "conv2", (0, 24, 8)),  # 6, 2, nothing
        ((3, 3), "conv2", (0, 0, 8)),
    ],
)
def test_a_size_of_which_nothing_is_left_is_refused(size, stage, left):
    says = (
        rf"small\.chain at {size[0]}×{size[1]} pixels: nothing is left of an image after stage '{stage}', whose "
        rf"output is {re.escape(str(left))}; give a larger image size"
    )
    for layer in ("conv3:avg", "conv3:max", "conv3:map", "pool", "logits"):
        with pytest.raises(UsageError, match=says):
            with_size(valid_convolutions(), size).layers([layer])


def test_the_smallest_size_of_which_something_is_left():
    smallest = with_size(valid_convolutions(), 15)  # 15, 7, 3, 1
    assert smallest.shapes(["conv1", "conv3", "pool"]) == {
        "conv1": (7, 7, 8),
        "conv3": (1, 1, 8),
        "pool": (8,),
    }
    got = features(smallest, ["conv3:flatten", "pool"], pictures(2, 15, 15), transforms=smallest.transforms)
    np.testing.assert_allclose(got["pool"], got["conv3:flatten"], rtol=1e-6)  # the mean of one pixel
    assert np.abs(got["pool"]).min() > 0


def test_a_layer_before_the_stage_that_leaves_nothing_is_served():
    assert with_size(valid_convolutions(), 14).shapes(["conv2"]) == {"conv2": (2, 2, 8)}


@pytest.mark.parametrize("size", [1, 4, 9, 16])
def test_kernels_larger_than_the_map_are_an_error_not_nan(size):
    """Sizes come out below 0, where one lowering of a convolution gives nothing and another raises."""
    network = with_size(valid_convolutions(kernel=7), size)
    with pytest.raises(UsageError, match=r"at (\d+)×\1 pixels: (nothing is left|stage 'conv\d' cannot take)"):
        network.layers(["pool"])


def test_dense_layers_over_a_map_take_one_size_only():
    network = chain_of({"flat": Flat(), "pool": Dense(32 * 32 * 3, 4, rngs=None)})
    assert network.shapes(["pool"]) == {"pool": (4,)}
    with pytest.raises(
        UsageError, match=r"at 30×32 pixels: stage 'pool' cannot take \(2880,\) \(.+\); give another"
    ):
        with_size(network, (30, 32)).layers(["pool"])


def test_padded_networks_leave_one_pixel_of_the_smallest_images():
    for size in (1, 8):
        small = with_size(lite0(), size)
        assert small.shapes(["top", "pool", "logits"]) == {
            "top": (1, 1, 1280),
            "pool": (1280,),
            "logits": (1000,),
        }
    got = features(small, ["block3a:max"], pictures(2, 8, 8), transforms=small.transforms)["block3a:max"]
    assert np.isfinite(got).all()
    assert np.abs(got[0] - got[1]).max() > 0.01


def test_with_size_keeps_the_backbone_that_has_it_already():
    loaded = lite0()
    assert with_size(loaded, None) is with_size(loaded, "224") is loaded
    other = with_size(loaded, (40, 56))
    assert (other.transforms, loaded.transforms.input_size) == (SMALL, (224, 224))
    assert other.weights_sha256 == loaded.weights_sha256


# ---- the compiled function


def test_poolings_agree_with_the_map():
    texts = ["block1a:map", "block1a:avg", "block1a:max", "block1a:flatten"]
    got = features(lite0(), texts, pictures(2))
    whole = got["block1a:map"]
    assert whole.shape == (2, 20, 28, 16)
    # A mean of 560 float32 numbers in another order: 560 · 2⁻²⁴ = 3.3e-5 at most of the largest of them.
    np.testing.assert_allclose(got["block1a:avg"], whole.mean((1, 2)), atol=3.3e-5 * np.abs(whole).max())
    np.testing.assert_array_equal(got["block1a:max"], whole.max((1, 2)))
    np.testing.assert_array_equal(got["block1a:flatten"], whole.reshape(2, -1))


def test_several_layers_in_one_pass_equal_each_alone():
    images = pictures(2)
    together = features(lite0(), ["block2a", "stem:max"], images)
    for text, name in (("block2a", "block2a:avg"), ("stem:max", "stem:max")):
        # Two programs may round differently: 1e-5 is 168 roundings over 4 layers.
        assert scaled_error(together[name], features(lite0(), [text], images)[name]) < 1e-5


def test_same_request_is_compiled_once(monkeypatch):
    traces: list[str] = []
    apply = Layer.apply

    def counting(self, x):
        traces.append(str(self))
        return apply(self, x)

    loaded = replace(lite0())
    layers = loaded.layers(["stem"], SMALL)
    monkeypatch.setattr(Layer, "apply", counting)  # runs while a function is traced, never afterwards
    function = loaded.function(layers, transforms=SMALL)
    for seed in range(4):
        assert loaded.function(loaded.layers(["stem"], SMALL), transforms=SMALL) is function
        images = np.random.default_rng(seed).integers(0, 256, (3, 40, 56, 3), np.uint8)
        function(loaded.state, images)
    assert traces == ["stem:avg"]
    function(loaded.state, pictures(2))
    assert traces == ["stem:avg"] * 2  # another batch size is another program


def test_other_requests_are_other_functions():
    loaded = lite0()
    stem, block = loaded.layers(["stem", "block1a"], SMALL)
    functions = {
        loaded.function([stem], transforms=SMALL),
        loaded.function([block], transforms=SMALL),
        loaded.function([stem, block], transforms=SMALL),
        loaded.function([stem], transforms=SMALL.with_size(56, 40)),
        loaded.function([stem], transforms=replace(SMALL, mean=(0.5, 0.5, 0.5))),
        loaded.function([stem], transforms=SMALL, compute_dtype="bfloat16"),
    }
    assert len(functions) == 6


def test_another_network_shares_no_compiled_function():
    loaded = lite0()
    layers = loaded.layers(["stem"], SMALL)
    other = replace(loaded, graphdef=None)
    assert loaded.function(layers, transforms=SMALL) is not other.function(layers, transforms=SMALL)


def test_unknown_compute_dtype_is_refused():
    with pytest.raises(UsageError, match=r"no compute dtype 'float16'; did you mean .*'bfloat16'"):
        lite0().function(lite0().layers(["stem"], SMALL), compute_dtype="float16")


def test_bgr_turns_the_picture_and_keeps_mean_and_std_by_colour():
    uneven = replace(SMALL, mean=(0.1, 0.4, 0.7), std=(0.2, 0.3, 0.4))
    images = pictures(2)
    bgr = features(lite0(), ["stem"], images, transforms=replace(uneven, channel_order="bgr"))
    by_hand = replace(uneven, mean=uneven.mean[::-1], std=uneven.std[::-1])
    rgb = features(lite0(), ["stem"], images[..., ::-1], transforms=by_hand)
    # The same numbers through the same network; only the order of fused operations may differ.
    assert scaled_error(bgr["stem:avg"], rgb["stem:avg"]) < 1e-6
    straight = features(lite0(), ["stem"], images, transforms=uneven)
    assert scaled_error(bgr["stem:avg"], straight["stem:avg"]) > 0.01


def test_pixels_are_normalised_on_the_device():
    """The network on (x / 255 - mean) / std, computed in float64 outside."""
    loaded, images = lite0(), pictures(2)
    x = (images / 255 - np.array(SMALL.mean)) / np.array(SMALL.std)
    network = jax.jit(lambda state, x: nnx.merge(loaded.graphdef, state)(x, taps=("stem",))["stem"])
    expected = network(loaded.state, x.astype(np.float32))
    # Pixels up to 1 with three roundings each, then a sum of 27 of them: 30 · 2⁻²⁴ = 1.8e-6.
    assert scaled_error(features(loaded, ["stem:map"], images)["stem:map"], expected) < 1.8e-6


def test_bfloat16_is_close_and_float32_outside():
    images = pictures(4)
    exact = features(lite0(), ["block3a"], images)["block3a:avg"]
    rounded = features(lite0(), ["block3a"], images, compute_dtype="bfloat16")["block3a:avg"]
    # bfloat16 rounds by up to 2⁻⁹ = 0.2 %, three times a layer (product, factor, offset); 13 layers that only
    # add up make 8 %. Measured: 3 % here, 5 % at `pool` on photos. Below 0.1 % it would not be bfloat16.
    assert 1e-3 < scaled_error(rounded, exact) < 0.08
    assert rounded.dtype == np.float32


# ---- an image's features do not depend on its neighbours


@pytest.mark.slow
def test_image_alone_and_in_a_batch_gives_the_same_features():
    """Through the whole network; alone means padded with empty images, as extraction pads the last batch."""
    images, transforms = pictures(4, 224, 224), lite0().transforms
    together = features(lite0(), ["pool", "logits"], images, transforms=transforms)
    for number in (0, 3):
        padded = np.concatenate([images[number : number + 1], np.zeros_like(images[:3])])
        alone = features(lite0(), ["pool", "logits"], padded, transforms=transforms)
        np.testing.assert_allclose(alone["pool"][0], together["pool"][number], rtol=0, atol=1e-5)
        assert np.abs(alone["pool"][1] - together["pool"][number]).max() > 0.1


def test_batch_size_does_not_matter():
    """Another batch size is another program, which may round otherwise: 1e-5 of scale over 13 layers."""
    images = pictures(5)
    together = features(lite0(), ["block3a"], images)["block3a:avg"]
    for number in (0, 4):
        alone = features(lite0(), ["block3a"], images[number : number + 1])["block3a:avg"]
        assert scaled_error(alone[0], together[number]) < 1e-5


# ---- weights and identity


def test_random_weights_are_marked():
    loaded = random_mobilenet()
    assert loaded.name == "mobilenet_v2.random"
    assert loaded.weights_path is None
    again = load("mobilenet_v2", weights="random")
    assert again.weights_sha256 == loaded.weights_sha256
    kernel = loaded.tensors["block_6.expand.conv.kernel"]
    assert kernel.shape == (1, 1, 32, 192)
    # He et al.: variance 2 / fan-in. 6144 draws estimate a deviation to 1 %; four of that.
    assert kernel.std() == pytest.approx(np.sqrt(2 / 32), rel=0.04)
    assert (loaded.tensors["Conv1_relu.norm.var"] == 1).all()
    assert not loaded.tensors["Conv1_relu.norm.mean"].any()


def test_random_weights_tell_images_apart():
    transforms = random_mobilenet().transforms.with_size(40, 56)
    got = features(random_mobilenet(), ["block_2"], pictures(2), transforms=transforms)["block_2:avg"]
    assert np.isfinite(got).all()
    assert np.abs(got[0] - got[1]).max() > 0.01


def test_state_holds_the_tensors():
    loaded = lite0()
    state = {".".join(map(str, path[1:])): leaf[...] for path, leaf in nnx.to_flat_state(loaded.state)}
    assert state.keys() == loaded.tensors.keys()
    for name, tensor in loaded.tensors.items():
        np.testing.assert_array_equal(state[name], tensor, err_msg=name)


def fingerprints() -> dict[str, str]:
    loaded = lite0()
    tensors = dict(loaded.tensors)
    tensors["stem.conv.kernel"] = np.nextafter(tensors["stem.conv.kernel"], np.float32(9))
    edited = replace(loaded, tensors=tensors)
    return {
        "as it is": loaded.recipe().fingerprint("pool"),
        "layer": loaded.recipe().fingerprint("block3a:avg"),
        "pooling": loaded.recipe().fingerprint("block3a:max"),
        "last bit of a weight": edited.recipe().fingerprint("pool"),
        "size": loaded.recipe(transforms=SMALL).fingerprint("pool"),
        "interpolation": loaded.recipe(
            transforms=replace(loaded.transforms, interpolation="bilinear")
        ).fingerprint("pool"),
        "compute dtype": loaded.recipe(compute_dtype="bfloat16").fingerprint("pool"),
        "stored dtype": loaded.recipe(stored_dtype="float16").fingerprint("pool"),
        "another network": random_mobilenet().recipe().fingerprint("pool"),
    }


def test_fingerprint_changes_with_all_that_decides_the_numbers():
    found = fingerprints()
    assert len(set(found.values())) == len(found)
    assert found == fingerprints()


def test_fingerprint_does_not_depend_on_the_path_or_the_file_format(tmp_path):
    loaded = lite0()
    path = tmp_path / "elsewhere.safetensors"
    safetensors.numpy.save_file(read_tensors(Path(loaded.weights_path)), path)
    again = load("efficientnet_lite0", weights=path)
    assert (loaded.name, again.name) == ("efficientnet_lite0.tf_in1k", "efficientnet_lite0.custom")
    assert again.weights_path == str(path) != loaded.weights_path
    assert again.recipe() == loaded.recipe()
    assert again.recipe().fingerprint("pool") == loaded.recipe().fingerprint("pool")


def test_recipe_says_what_is_computed_in():
    float32, bfloat16 = lite0().recipe(), lite0().recipe(compute_dtype="bfloat16")
    assert (float32.compute_dtype, float32.matmul_precision) == ("float32", "highest")
    assert (bfloat16.compute_dtype, bfloat16.matmul_precision) == ("bfloat16", "default")
    assert float32.arch == "efficientnet_lite0"
    assert float32.transforms == lite0().transforms.to_json()
    assert float32.config["epsilon"] == 1e-3
