"""Published weights on photos: graphs, JAX, and what others exported of the same weights agree."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.support import SHARED, lite0, needs_shared
from PIL import Image

from featcache.backbones import load
from featcache.backbones.loaded import LoadedBackbone, network_input
from featcache.graphs.convert import onnx_model
from featcache.graphs.sessions import open_session

MOBILENET_FILE = SHARED / "weights" / "mobilenet_v2-b0353104.pth"


def photos() -> np.ndarray:
    reference = np.load(SHARED / "anchors" / "reference_features.npz")
    return np.stack(
        [np.asarray(Image.open(SHARED / "data" / file).convert("RGB")) for file in reference["files"]]
    )


def outputs_of_graph(loaded: LoadedBackbone, images: np.ndarray) -> dict[str, np.ndarray]:
    def function(images: Any) -> dict[str, Any]:
        network = nnx.merge(loaded.graphdef, loaded.state)
        found = network(network_input(images, loaded.transforms), taps=("pool", "logits"))
        return {
            "pool": found["pool"],
            "logits": found["logits"],
            "probabilities": jax.nn.softmax(found["logits"]),
        }

    model = onnx_model(function, {"images": ((224, 224, 3), np.uint8)})
    session = open_session(model)
    names = [each.name for each in session.get_outputs()]
    batches = [session.run(None, {"images": images[at : at + 4]}) for at in range(0, len(images), 4)]
    return {name: np.concatenate([b[number] for b in batches]) for number, name in enumerate(names)}


def outputs_of_peer(path: Path, loaded: LoadedBackbone, images: np.ndarray) -> list[np.ndarray]:
    """What another's graph gives for the same normalised pictures, ``[N, 3, H, W]``."""
    session = open_session(path)
    normalised = np.asarray(network_input(jnp.asarray(images), loaded.transforms)).transpose(0, 3, 1, 2)
    (name,) = (each.name for each in session.get_inputs())
    rows = [session.run(None, {name: np.ascontiguousarray(each[None])}) for each in normalised]
    return [np.concatenate(values) for values in zip(*rows, strict=True)]


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2"])
def test_photos_give_what_jax_and_the_peers_graph_give(name: str):
    loaded = lite0() if name == "efficientnet_lite0" else load(name, weights=MOBILENET_FILE)
    images = photos()
    assert images.shape == (60, 224, 224, 3)
    ours = outputs_of_graph(loaded, images)
    function = loaded.function(loaded.layers(["pool", "logits"]))
    with jax.default_matmul_precision("highest"):
        theirs = [function(loaded.state, images[at : at + 20]) for at in range(0, 60, 20)]
    in_jax = {
        layer: np.concatenate([np.asarray(each[layer]) for each in theirs]) for layer in ("pool", "logits")
    }
    np.testing.assert_array_equal(ours["logits"].argmax(1), in_jax["logits"].argmax(1))
    # Sums of 1280 products of values up to 6, over fifty layers: measured 1e-5 of logits, 2e-6 of probabilities.
    assert np.abs(ours["probabilities"] - jax.nn.softmax(in_jax["logits"])).max() < 1e-4
    assert np.abs(ours["pool"] - in_jax["pool"]).max() < 1e-4 * np.abs(in_jax["pool"]).max()
    of_peer = outputs_of_peer(SHARED / "anchors" / f"{name}.onnx", loaded, images)
    (logits,) = (each for each in of_peer if each.shape == (60, 1000))
    np.testing.assert_array_equal(ours["logits"].argmax(1), logits.argmax(1))
    assert np.abs(ours["probabilities"] - jax.nn.softmax(logits)).max() < 1e-4
