"""The method is chosen from the head and the layers, taken where it works, and refused in words where it cannot."""

import pytest
from helpers import explained
from helpers.tiny_finetuning import tiny_network

from featcache.backbones import load
from featcache.backbones.layer import Layer
from featcache.errors import UnknownNameError, UsageError
from featcache.explanations.method import choose
from featcache.explanations.places import grid_of

POOL = Layer("pool", "none")


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def transformer():
    return explained.tiny_transformer()


def chosen(network, layer, method="auto", stage=None, **head):
    (layer,) = network.layers([layer])
    found = choose(explained.subject(network, layer, **head), method, stage)
    return found.name, found.stage


@pytest.mark.parametrize(
    ("layer", "head", "expected"),
    [
        ("pool", {}, ("cam", "block_3")),
        ("block_2:avg", {"unit": True}, ("cam", "block_2")),
        ("block_2:map", {}, ("cam", "block_2")),
        ("block_2:max", {}, ("grad-cam", "block_2")),
        ("pool", {"hidden": 4}, ("grad-cam", "block_3")),
    ],
)
def test_convolutions(network, layer, head, expected):
    assert chosen(network, layer, **head) == expected


def test_a_stage_that_is_named_asks_for_gradients(network):
    assert chosen(network, "pool", stage="block_1") == ("grad-cam", "block_1")


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # Of the last block's output only the class token is read; never the normalisation behind it.
        ("pool", ("gradient", "blocks.0")),
        ("norm:cls", ("gradient", "blocks.0")),
        ("blocks.0:cls", ("gradient", "patch_embed")),
        ("norm:avg", ("cam", "norm")),
        ("norm:max", ("gradient", "blocks.1")),
        ("blocks.1:map", ("gradient", "blocks.1")),
    ],
)
def test_transformers(transformer, layer, expected):
    assert chosen(transformer, layer) == expected


def test_attention_pooling_reads_the_last_block():
    assert chosen(explained.tiny_transformer(pooling="map"), "pool") == ("gradient", "blocks.1")


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        slow("efficientnet_lite0", ("cam", "top")),
        slow("vgg16", ("grad-cam", "block5_pool")),
        slow("convnext_tiny", ("grad-cam", "stage_3_block_2")),
        slow("densenet121", ("cam", "relu")),
        ("mobilenet_v3_small", ("grad-cam", "conv_1_activation")),
    ],
)
def test_backbones_with_their_own_classes(name, expected):
    from featcache.classifier.prediction import backbone_predictor
    from featcache.explanations.subject import of_backbone

    found = choose(of_backbone(backbone_predictor(load(name, weights="random"))))
    assert (found.name, found.stage) == expected


@pytest.mark.parametrize(
    ("method", "stage", "error", "text"),
    [
        ("gradcam", None, UnknownNameError, "no method 'gradcam'; did you mean 'grad-cam'"),
        ("auto", "block_9", UnknownNameError, "no stage 'block_9' in this network"),
        (
            "grad-cam",
            "pool",
            UsageError,
            r"stage 'pool' is no map but \(10,\); maps are block_3, block_2, block_1",
        ),
        ("cam", "block_1", UsageError, "method cam takes the map that the head averages; leave --stage out"),
        (
            "rollout",
            None,
            UsageError,
            "follows the attention of a transformer, and there is none before pool",
        ),
    ],
)
def test_what_cannot_be_is_refused(network, method, stage, error, text):
    with pytest.raises(error, match=text):
        chosen(network, "pool", method, stage, hidden=4)


def test_more_that_cannot_be(network, transformer):
    with pytest.raises(
        UsageError, match="needs a linear head on the average of a map, and its head is not linear"
    ):
        chosen(network, "pool", "cam", hidden=4)
    with pytest.raises(UsageError, match="and pool is no average of a map"):
        chosen(transformer, "pool", "cam")
    with pytest.raises(
        UsageError, match=r"'block_3' lies behind block_2:avg, which the head reads; .* such as block_2"
    ):
        chosen(network, "block_2:avg", stage="block_3")


def test_grids():
    assert grid_of(50, (80, 160)) == (5, 10)
    assert grid_of(7, (100, 100)) == (1, 7)
