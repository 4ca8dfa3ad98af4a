"""Every family's network gives in onnxruntime what it gives in JAX, with every number drawn.

Statistics of normalisations are drawn, too, so that what is folded into weights is no identity. Images are bytes, and
the normalisation is that of the weights.
"""

import jax
import numpy as np
import onnx
import pytest
from helpers.configs import abstract_network
from helpers.graphs import differences, network_function, run_graph
from helpers.support import compiled_quickly

from featcache.backbones.family import Pretrained
from featcache.backbones.registry import families, family_of, pretrained_weights
from featcache.graphs.convert import onnx_model

TOLERANCE = 1e-4
"""Of the largest value. A layer rounds by about √n·2⁻²⁴ of a sum of n products (1e-5 for the widest), and so does
folding a normalisation into weights; a hundred layers add up at random. Measured: 1e-6. What is wrong changes 1e-2."""

BY_DEFAULT = {"mobilenet_v1_025.keras_in1k_128": 64, "vit_tiny_patch16_224.augreg_in21k_ft_in1k": 224}
"""Weights of the default suite, and the side of its images: depthwise convolutions behind paddings; tokens."""

LARGEST = 12_000_000
"""Parameters of the largest network that the slow suite draws: beyond, the family's largest below stands for it."""

WHOLE = ("alexnet", "vit")
"""Families whose networks take images of one size; others are given 96 × 96 pixels, which is enough for all of them."""


def _ends() -> list[Pretrained]:
    """Return the first and the last weights of each family that are no larger than `LARGEST`."""
    found = []
    for family in families():
        small = [weights for weights in family.pretrained if weights.params <= LARGEST] or [
            family.pretrained[0]
        ]
        found += dict.fromkeys([small[0].name, small[-1].name])
    return [pretrained_weights()[name] for name in found]


def _points(weights: Pretrained) -> tuple[str, ...]:
    """Return a value in the middle, the pooled one, and the last."""
    network = abstract_network(weights)
    middle, pool, last = network.order[len(network.order) // 2], network.resolve("pool"), network.order[-1]
    return tuple(dict.fromkeys([middle, pool] if weights.arch.startswith("vgg") else [middle, pool, last]))


def _assert_alike(weights: Pretrained, size: tuple[int, int]) -> None:
    function = network_function(weights, _points(weights))
    model = onnx_model(function, {"images": ((*size, 3), np.uint8)})
    if model.ByteSize() < 2**28:  # the check copies the model
        onnx.checker.check_model(model, full_check=True)
    given = {"images": np.random.default_rng(3).integers(0, 255, (2, *size, 3), np.uint8)}
    with jax.default_matmul_precision("highest"):
        expected = jax.jit(function, compiler_options=compiled_quickly())(**given)
    ordered = {output.name: expected[output.name] for output in model.graph.output}
    off = differences(run_graph(model, given), ordered)
    assert {name: gap for name, gap in off.items() if not gap <= TOLERANCE} == {}
    for name, value in ordered.items():  # the numbers mean something
        assert np.std(value) > 1e-3 * np.abs(value).max() > 0, name


@pytest.mark.parametrize("name", BY_DEFAULT)
def test_small_images_give_what_jax_gives(name: str):
    weights = pretrained_weights()[name]
    _assert_alike(weights, (BY_DEFAULT[name],) * 2)


@pytest.mark.slow
@pytest.mark.parametrize("weights", _ends(), ids=lambda weights: weights.name)
def test_the_first_and_last_weights_of_each_family_give_what_jax_gives(weights: Pretrained):
    whole = family_of(weights).name in WHOLE
    _assert_alike(weights, weights.transforms.input_size if whole else (96, 96))
