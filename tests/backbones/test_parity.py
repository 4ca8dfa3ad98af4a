"""Published weights give the numbers that they give in onnxruntime.

Through a golden that is in the repository and, where the shared folder is, on 60 photos. That the networks compute
what their originals do, layer by layer under random weights, is in ``test_family_*.py``.
"""

import json
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.support import SHARED, lite0, needs_shared
from PIL import Image

from featcache.backbones import load
from featcache.backbones.loaded import LoadedBackbone
from featcache.images.resizing import prepare

GOLDENS = Path(__file__).parent / "goldens"
MOBILENET_FILE = SHARED / "weights" / "mobilenet_v2-b0353104.pth"


@pytest.fixture(autouse=True, scope="module")
def _float32_products():
    # GPUs would multiply in TF32 otherwise, and every tolerance below is for float32.
    with jax.default_matmul_precision("highest"):
        yield


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
@pytest.mark.parametrize("name", ["efficientnet_lite0", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
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
