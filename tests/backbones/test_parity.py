"""The networks compute what their originals compute, layer by layer and number by number.

MobileNetV2 is compared with keras.applications under random weights; the published weights are compared with
onnxruntime, through a golden that is in the repository and, where the shared folder is, on 60 photos.
"""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from support import SHARED, keras, lite0, needs_shared, scaled_error

from featcache.backbones import load
from featcache.backbones.convert import KeyTable, convert
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.mobilenet_v2 import FAMILY, Config
from featcache.transforms import prepare

GOLDENS = Path(__file__).parent / "goldens"
MOBILENET_FILE = SHARED / "weights" / "mobilenet_v2-b0353104.pth"


@pytest.fixture(autouse=True, scope="module")
def _float32_products():
    # GPUs would multiply in TF32 otherwise, and every tolerance below is for float32.
    with jax.default_matmul_precision("highest"):
        yield


# ---- MobileNetV2 against keras.applications, random weights


def keras_leaf(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    names = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
    if name == "depthwise_kernel":  # [kh, kw, C, multiplier]; ours is [kh, kw, 1, C]
        return "kernel", tensor.transpose(0, 1, 3, 2)
    return names.get(name, name), tensor


KERAS = KeyTable(
    modules=(
        ("Conv1", "Conv1.conv"),
        ("bn_Conv1", "Conv1.norm"),
        ("Conv_1", "out_relu.conv"),
        ("Conv_1_bn", "out_relu.norm"),
        ("predictions", "logits"),
        (r"(.*)_(expand|depthwise|project)", "{0}.{1}.conv"),
        (r"(.*)_(expand|depthwise|project)_BN", "{0}.{1}.norm"),
    ),
    leaf=keras_leaf,
)


@pytest.fixture(scope="module")
def mobilenet_of_keras() -> tuple[Any, dict[str, np.ndarray]]:
    """A model for images of 88×100 with random tensors, and these by layer and leaf."""
    with pytest.MonkeyPatch.context() as patch:
        # All of it is overwritten, and drawing it by JAX takes half a minute of compilations.
        patch.setattr(
            keras().initializers.GlorotUniform, "__call__", lambda self, shape, dtype: np.zeros(shape)
        )
        model = keras().applications.MobileNetV2((88, 100, 3), weights=None, classifier_activation=None)
    return model, randomise(model)


def draw(name: str, shape: tuple[int, ...], fan_in: float, rng: np.random.Generator) -> np.ndarray:
    """Numbers far from a new network's, that keep activations within 0..6 most of the time in all layers.

    With a larger gain the maps grow from skip to skip, the clipping at 6 keeps only their smallest digits, and
    rounding errors grow a hundredfold.
    """
    leaf = name.rpartition(".")[2]
    if leaf.endswith("kernel"):
        return rng.normal(0, np.sqrt(1 / fan_in), shape)
    low, high = {"gamma": (0.5, 1.5), "moving_variance": (0.5, 2.0), "beta": (-0.2, 0.8)}.get(
        leaf, (-0.5, 0.5)
    )
    return rng.uniform(low, high, shape)


def randomise(model: Any) -> dict[str, np.ndarray]:
    """Set every tensor of a Keras model to random numbers and return them by layer and leaf."""
    rng = np.random.default_rng(0)
    tensors = {}
    for layer in model.layers:
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        for variable in layer.weights:
            leaf = "depthwise_kernel" if depthwise else variable.name
            name, shape = f"{layer.name}.{leaf}", tuple(variable.shape)
            fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
            tensors[name] = draw(name, shape, fan_in, rng).astype(np.float32)
            variable.assign(tensors[name])
    return tensors


def filled(tensors: dict[str, np.ndarray], config: Config) -> tuple[Any, Any]:
    """Our network with a Keras model's tensors: graph and state."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: FAMILY.build(config, None)))
    flat = [(".".join(map(str, path[1:])), path, leaf) for path, leaf in nnx.to_flat_state(state)]
    ours = convert(tensors, KERAS, {name: tuple(leaf.shape) for name, _, leaf in flat}, origin="keras")
    return graphdef, nnx.from_flat_state([(path, leaf.replace(ours[name])) for name, path, leaf in flat])


def keras_values(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of the layers that our points mean, by Keras' own names."""
    wanted = [layer.name for layer in model.layers if layer.name.endswith(("_relu", "_project_BN", "_add"))]
    wanted += [model.layers[-2].name, "predictions"]
    submodel = keras().Model(model.inputs, [model.get_layer(name).output for name in wanted])
    variables = (
        [v.value for v in submodel.trainable_variables],
        [v.value for v in submodel.non_trainable_variables],
    )
    values, _ = jax.jit(submodel.stateless_call)(*variables, images)
    return dict(zip(wanted, map(np.asarray, values), strict=True))


def test_mobilenet_equals_keras_layer_by_layer(mobilenet_of_keras):
    # Maps of 88×100, 44×50, 22×25, 11×13, 6×7 and 3×4: TensorFlow's padding differs between even and odd.
    images = np.random.default_rng(1).uniform(-1, 1, (2, 88, 100, 3)).astype(np.float32)
    model, tensors = mobilenet_of_keras
    graphdef, state = filled(tensors, Config(padding="same", epsilon=1e-3))
    expected = keras_values(model, images)

    def run(state, x):
        return nnx.merge(graphdef, state)(x, taps=tuple(expected))  # by Keras' names

    # Without optimisation it compiles three times as fast.
    actual = jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})(state, images)
    # The first layer is a sum of 28 products in another order, 28 · 2⁻²⁴ = 2e-6 at most; 52 such layers follow
    # each other, and rounding errors add up at random while normalisation damps them. Measured: 1.4e-6 at most.
    # A wrong pad, epsilon or stride shows as 1e-4 and more (next test).
    errors = {name: scaled_error(actual[name], expected[name]) for name in expected}
    assert {name: error for name, error in errors.items() if error > 1e-5} == {}
    assert {"block_13_expand_relu", "block_16_project_BN", "block_2_add", "out_relu"} <= errors.keys()
    assert len(errors) == 1 + 2 + 16 * 3 + 10 + 3
    # The numbers mean something: no layer is constant, dead or saturated.
    for name, value in expected.items():
        assert value.std() > 0.2, name
        assert np.mean((value <= 0) | (value >= 6)) < 0.6, name


@pytest.mark.parametrize("change", [{"padding": "symmetric"}, {"epsilon": 1e-5}])
def test_comparison_tells_the_sources_apart(mobilenet_of_keras, change):
    """What torchvision does otherwise, alone, is far above the tolerance of the comparison above."""
    images = np.random.default_rng(1).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    as_keras = Config(padding="same", epsilon=1e-3)
    outputs = []
    for config in (as_keras, replace(as_keras, **change)):
        graphdef, state = filled(mobilenet_of_keras[1], config)
        outputs.append(nnx.merge(graphdef, state)(images, taps=("Conv1",))["Conv1"])
    assert scaled_error(outputs[1], outputs[0]) > 1e-4


# ---- published weights against onnxruntime


def outputs(loaded: LoadedBackbone, images: np.ndarray) -> dict[str, np.ndarray]:
    """`pool` and `logits` of uint8 images, four at a time."""
    function = loaded.function(loaded.layers(["pool", "logits"]))
    batches = [function(loaded.state, images[at : at + 4]) for at in range(0, len(images), 4)]
    return {name: np.concatenate([np.asarray(b[name]) for b in batches]) for name in ("pool", "logits")}


def test_lite0_equals_onnxruntime_on_the_golden():
    golden = json.loads((GOLDENS / "lite0.json").read_text("utf-8"))
    images = runpy.run_path(str(GOLDENS / "make_lite0_golden.py"))["images"]()
    ours = outputs(lite0(), images)
    # Pooled values lie in 0..6 (ReLU6), so 1e-4 is 280 roundings of the largest over 50 layers; measured: 3e-6.
    np.testing.assert_allclose(ours["pool"][:, golden["channels"]], golden["pool"], rtol=0, atol=1e-4)
    assert np.min(golden["pool"]) > 0.1
    # The norm stands for the other 1264 channels.
    norms = np.linalg.norm(ours["pool"].astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, golden["pool_norm"], rtol=1e-5)
    # The logits are sums of 1280 products of such values; the margins are above 0.5.
    assert ours["logits"].argmax(1).tolist() == golden["top1"]
    np.testing.assert_allclose(ours["logits"].max(1), golden["top1_logit"], rtol=0, atol=1e-3)


@needs_shared
@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2"])
def test_published_weights_equal_onnxruntime_on_photos(name):
    reference = np.load(SHARED / "anchors" / "reference_features.npz")
    # The photos are 224×224, and the reference fed them as they are: no resize, no crop.
    photos = [np.asarray(Image.open(SHARED / "data" / file).convert("RGB")) for file in reference["files"]]
    loaded = lite0() if name == "efficientnet_lite0" else load(name, weights=MOBILENET_FILE)
    ours = outputs(loaded, np.stack(photos))
    assert ours["pool"].shape == (60, 1280)
    # As above; 1e-3 is what the project promises. Measured: 1e-5.
    assert np.abs(ours["pool"] - reference[f"{name}_pool"]).max() < 1e-3
    np.testing.assert_array_equal(ours["logits"].argmax(1), reference[f"{name}_logits"].argmax(1))


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_larger_lite_networks_know_a_daisy(number):
    """No anchor exists for these two, but ImageNet has the class: with wrong padding or pixels they fail."""
    loaded = load(f"efficientnet_lite{number}")
    files = sorted((SHARED / "data" / "tf_flowers224" / "val" / "daisy").glob("*.jpg"))[:24]
    images = np.stack([prepare(file.read_bytes(), loaded.transforms) for file in files])
    daisy = 985
    hits = outputs(loaded, images)["logits"].argmax(1) == daisy
    assert hits.sum() >= 21
