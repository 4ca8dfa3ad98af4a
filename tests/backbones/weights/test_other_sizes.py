"""Weights of another width or depth: the error names the architecture that they are of."""

import re

import numpy as np
import pytest
from helpers.golden import kept
from helpers.support import SHARED, needs_shared
from helpers.tiny_weights import NARROW, WIDE, drawn, place, registered, write
from helpers.weights_server import use_own_home

from featcache.backbones import load
from featcache.backbones.registry import resolve
from featcache.backbones.weights.other_sizes import with_shapes_of
from featcache.errors import WeightsError

PUBLISHED = SHARED / "weights" / "mobilenet_2_5_224_tf_no_top.h5"


def given(name: str) -> dict[str, np.ndarray]:
    """Tensors of the shapes that the framework itself has; nothing is allocated."""
    return {tensor: np.broadcast_to(np.float32(0), shape) for tensor, shape in kept(name)["tensors"].items()}


def right_one(asked: str, tensors: dict[str, np.ndarray]) -> list[str]:
    return [weights.name for weights in with_shapes_of(resolve(asked), tensors)]


# What was asked for, whose weights were given instead, and in which form.
SIZES = {
    "a narrower MobileNetV2": ("mobilenet_v2_140.ra_in1k", "mobilenet_v2_050.lamb_in1k", "as published"),
    "from another source": ("mobilenet_v2_050.keras_in1k_224", "mobilenet_v2.tv_in1k", "without a top"),
    "a shallower ResNet": ("resnet101.tv_in1k", "resnet50.tv_in1k", "with a prefix"),
    "other blocks": ("resnet50.tv_in1k", "resnet18.tv_in1k", "with an own top"),
    "a smaller EfficientNet": ("efficientnet_b1.tv_in1k", "efficientnet_b0.tv_in1k", "as published"),
    "a smaller Lite": ("efficientnet_lite1", "efficientnet_lite0.in1k", "without a top"),
    "a shallower VGG": ("vgg19.tv_in1k", "vgg16.tv_in1k", "as published"),
    "a wider ViT": ("vit_tiny_patch16_224", "vit_small_patch16_224.augreg_in21k_ft_in1k", "with an own top"),
}
FORMS = ("as published", "without a top", "with a prefix", "with an own top")
TOP = re.compile(r"(fc|classifier|head|heads|heads\.head)\..*")


def in_form(tensors: dict[str, np.ndarray], form: str) -> dict[str, np.ndarray]:
    if form in ("without a top", "with an own top"):
        tensors = {name: tensor for name, tensor in tensors.items() if not TOP.fullmatch(name)}
    if form == "with an own top":
        tensors |= {
            "fc.0.weight": np.zeros((64, 7)),
            "fc.0.bias": np.zeros(64),
            "fc.2.weight": np.zeros((3, 64)),
        }
    return {f"backbone.{name}": tensor for name, tensor in tensors.items()} if "prefix" in form else tensors


@pytest.mark.parametrize(("asked", "held", "form"), SIZES.values(), ids=SIZES)
def test_the_size_that_the_shapes_belong_to_is_named(asked, held, form):
    assert held in right_one(asked, in_form(given(held), form))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("asked", "held"), [pair[:2] for pair in SIZES.values()], ids=SIZES)
def test_the_size_is_named_in_every_form(asked, held, form):
    assert held in right_one(asked, in_form(given(held), form))


def test_nothing_is_named_where_no_size_has_the_shapes():
    """A deeper network holds every tensor of a shallower one, and is not it."""
    deeper = given("resnet101.tv_in1k")
    changed = deeper | {"layer4.2.conv3.weight": np.zeros((8, 8, 1, 1))}
    assert right_one("resnet18.tv_in1k", deeper) == [
        "resnet101.tv_in1k",
        "resnet101.tv2_in1k",
        "resnet101.a1_in1k",
    ]
    assert right_one("resnet18.tv_in1k", changed) == []
    assert right_one("resnet18.tv_in1k", {"weight": np.zeros((2, 2))}) == []


# ---- what the user sees


@pytest.fixture
def _own_world(tmp_path, monkeypatch):
    use_own_home(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    with registered():
        yield


@pytest.mark.usefixtures("_own_world")
def test_the_error_names_the_backbone(tmp_path):
    path = write(tmp_path / "own.safetensors", drawn(WIDE, classes=3))
    text = rf"^{path} has the shapes of wide\.in1k, not of narrow\.in1k; name it as the backbone: wide\.in1k$"
    with pytest.raises(WeightsError, match=text):
        load("narrow", weights=path)
    assert load("wide", weights=path).pretrained.config.classes == 3


@pytest.mark.usefixtures("_own_world")
def test_a_file_under_the_name_of_published_weights_is_named_too():
    write(place(NARROW), drawn(WIDE))
    text = r"name it as the backbone: wide\.in1k\. Nothing was recorded of it"
    with pytest.raises(WeightsError, match=text):
        load("narrow")


@needs_shared
def test_a_published_file_of_another_width_and_its_input_sizes():
    """Keras names the file after alpha and size; its weights have the same shapes at every size."""
    text = (
        r"has the shapes of mobilenet_v1_025\.keras_in1k_224, not of mobilenet_v1_100\.keras_in1k_224; name it as the "
        r"backbone: mobilenet_v1_025\.keras_in1k_224 \(mobilenet_v1_025\.keras_in1k_192, .* have the same shapes\)$"
    )
    with pytest.raises(WeightsError, match=text):
        load("mobilenet_v1_100", weights=PUBLISHED)
