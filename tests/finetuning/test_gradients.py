"""The gradient of the part that trains is that of the whole network, for one family of each kind.

The oracle knows nothing of cuts, phases or programs: one function from pixels to the loss, of all parameters at once.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.support import compiled_quickly
from helpers.tiny_finetuning import SIZE, tiny_network

from featcache.backbones import load
from featcache.backbones.finetuned import truncate_after
from featcache.backbones.layer import Layer
from featcache.finetuning.model import Model
from featcache.finetuning.train_step import Phase, TrainStep
from featcache.heads.model import HeadArchitecture
from featcache.heads.settings import Settings
from featcache.images.transforms import normalisation

CLASSES = 3


def model_of(name: str, layer: Layer, size: int) -> Model:
    loaded = tiny_network() if name == "tiny" else load(name, weights="random", image_size=size)
    network = truncate_after(loaded, layer.stage)
    return Model(network, layer, network.transforms, HeadArchitecture("linear", CLASSES))


def head_of_width(width: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    return {
        "kernel": draw.normal(size=(width, CLASSES)).astype(np.float32),
        "bias": draw.normal(size=CLASSES).astype(np.float32),
    }


def whole_gradients(model: Model, values, images, labels) -> dict[str, jax.Array]:
    """Gradients of the mean cross-entropy with respect to every parameter, from pixels, by jax.grad alone."""
    scale, offset = normalisation(model.transforms)
    pixels = images[..., ::-1] if model.transforms.channel_order == "bgr" else images
    x = pixels.astype(np.float32) * scale + offset
    stage = model.layer.stage

    def loss(parameters: dict[str, jax.Array]) -> jax.Array:
        flat = [
            (path, leaf.replace(parameters.get(".".join(map(str, path[1:])), leaf[...])))
            for path, leaf in nnx.to_flat_state(model.network.state)
        ]
        network = nnx.merge(model.network.graphdef, nnx.from_flat_state(flat))
        features = jnp.mean(network(x, taps=(stage,))[stage], axis=(1, 2))
        logits = features @ parameters["head.kernel"] + parameters["head.bias"]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels])

    statistics = model.statistics()
    parameters = {name: jnp.asarray(v) for name, v in values.items() if name not in statistics}
    with jax.default_matmul_precision("highest"):
        return jax.jit(jax.grad(loss), compiler_options=compiled_quickly())(parameters)


CASES = [
    pytest.param("tiny", "block_2", "block_3", SIZE, id="tiny"),
    pytest.param("vgg11", "block5_conv1", "block5_pool", 32, id="vgg", marks=pytest.mark.slow),
    pytest.param("mobilenet_v2", "block_14", "block_15", 64, id="mobilenet", marks=pytest.mark.slow),
    pytest.param("resnet50", "conv5_block2_out", "conv5_block3_out", 64, id="resnet", marks=pytest.mark.slow),
    pytest.param("inception_v3", "mixed9", "mixed10", 107, id="inception", marks=pytest.mark.slow),
]


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize(("name", "first", "last", "size"), CASES)
def test_the_trained_part_has_the_whole_networks_gradient(name, first, last, size):
    layer = Layer(last, "avg")
    model = model_of(name, layer, size)
    stages = model.stages
    cut = stages[stages.index(first) - 1]
    trained = {*stages[stages.index(first) :], "head"}
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (4, size, size, 3), np.uint8)
    labels = np.array([0, 1, 2, 1], np.int32)
    (width,) = model.network.feature_shapes([layer])[str(layer)]
    values = model.values(head_of_width(width))

    statistics = model.statistics()
    names = [n for n in values if n.partition(".")[0] in trained and n not in statistics]
    phase = Phase("backbone", Settings(), dict.fromkeys(names, 1e-3), (), cut, 1)
    program = TrainStep(model, phase)
    frozen = Layer(cut, "map")
    x = np.asarray(model.network.function([frozen])(model.network.state, images)[str(frozen)])
    state = program.start(values)
    _, gradients = program.gradients(
        state["values"],
        state["moving"],
        program.fixed(values),
        x,
        labels,
        np.ones(4, np.float32),
        jax.random.key(0),
    )

    expected = whole_gradients(model, values, images, labels)
    assert set(gradients) == set(names)
    assert len(names) > 4
    for parameter in names:
        # Two programs add in another order, and rounding grows through the stages: float32 keeps about four digits
        # of a gradient that is itself a sum of thousands of products of both signs.
        size_of = np.abs(expected[parameter]).max()
        assert size_of > 0, parameter
        np.testing.assert_allclose(
            gradients[parameter], expected[parameter], atol=2e-3 * size_of, rtol=0, err_msg=parameter
        )
