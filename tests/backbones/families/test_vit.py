"""Vision Transformers beside timm and torchvision."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import golden
from helpers.drawing import images
from helpers.golden import assert_equals_golden, assert_mapping_is_strict, kept, tensors
from helpers.keras_oracle import TOLERANCE, run_ours
from helpers.torch_cases.vit import CASES
from safetensors.numpy import save_file

from featcache.backbones.family import Pretrained
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import resolve
from featcache.backbones.weights.loading import load_file, load_random
from featcache.errors import UsageError

Tensors = dict[str, np.ndarray]

TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
REGISTERS = "vit_small_patch14_reg4_dinov2.shallow"

# Golden to the weights whose form it has, and what is other than theirs beside the size.
SHALLOW = {
    "vit_tiny_patch16_224.shallow": (TINY, {"classes": 10}),
    "vit_small_patch14_dinov2.shallow": ("vit_small_patch14_dinov2.lvd142m", {}),
    REGISTERS: ("vit_small_patch14_reg4_dinov2.lvd142m", {}),
    "vit_base_patch32_clip_224.shallow": ("vit_base_patch32_clip_224.openai", {"projection": 10}),
    "vit_base_patch16_siglip_224.shallow": ("vit_base_patch16_siglip_224.webli", {}),
    "vit_base_patch16_224.shallow_tv": ("vit_base_patch16_224.tv_in1k", {"classes": 10, "grid": 4}),
}


def _form(name: str, **changes: object) -> Pretrained:
    """The weights of this form with two narrow blocks."""
    of, fields = SHALLOW[name]
    pretrained = resolve(of)
    config = replace(pretrained.config, width=128, depth=2, **(fields | changes))
    return replace(pretrained, config=config)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch):
    """Let goldens be loaded into shallow networks; returns a function that changes their configuration."""
    changes: dict[str, object] = {}

    def load(name: str, *, weights: Path) -> LoadedBackbone:
        return load_file(_form(name, **changes), weights, tag="shallow")

    monkeypatch.setattr(golden, "load", load)
    return changes.update


def _runs(name: str) -> range:
    return range(len(kept(name)["runs"]))


def _hidden(name: str) -> list[str]:
    # torchvision takes the class token outside of its modules.
    return ["pool"] if name.endswith("tv_in1k") or name.endswith("_tv") else []


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("name", SHALLOW)
def test_every_form_equals_its_original(name, tmp_path):
    assert_equals_golden(name, tmp_path, runs=_runs(name), uncovered=_hidden(name))


def test_tiny_equals_timm(tmp_path):
    assert_equals_golden(TINY, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [case.name for case in CASES if case.name not in (*SHALLOW, TINY)])
def test_every_architecture_equals_its_original(name, tmp_path):
    assert_equals_golden(name, tmp_path, runs=_runs(name), uncovered=_hidden(name))


def test_the_comparison_tells_activations_apart(shallow, monkeypatch, tmp_path):
    monkeypatch.setattr(golden, "TOLERANCE", 1.0)
    shallow(activation="gelu")
    errors = assert_equals_golden("vit_base_patch32_clip_224.shallow", tmp_path, runs=[1])
    assert errors["blocks.0.attn"] < TOLERANCE < 1e-3 < errors["blocks.0.mlp"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == REGISTERS else [pytest.mark.slow]) for name in SHALLOW]
)
def test_the_comparison_tells_epsilons_apart(shallow, name, tmp_path):
    # Beside variances of about 1, those of 1e-5 and 1e-6 differ by 1e-5, below the tolerance: they are told apart
    # by how much worse the wrong one fits, 10 to 49 times where measured.
    block = "encoder.layers.encoder_layer_0" if name.endswith("_tv") else "blocks.0"
    right = assert_equals_golden(name, tmp_path, runs=[0], uncovered=_hidden(name))
    shallow(epsilon=1e-6 if "clip" in name else 1e-5)
    wrong = assert_equals_golden(name, tmp_path, runs=[0], uncovered=_hidden(name))
    assert wrong[block] > 5 * right[block]


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224.shallow", "vit_base_patch16_224.shallow_tv"])
def test_mapping_is_strict(name, tmp_path):
    assert_mapping_is_strict(name, tmp_path)


def _loaded(name: str, folder: Path, change: Callable[[Tensors], Tensors], tag: str) -> LoadedBackbone:
    """A shallow network from a file of its reference's tensors, changed."""
    path = folder / "changed.safetensors"
    save_file(change(tensors(name)), path)
    return load_file(_form(name), path, tag=tag)


def test_published_files_of_torchvision_have_older_names_of_the_mlps(tmp_path):
    older = {"mlp.0": "mlp.linear_1", "mlp.3": "mlp.linear_2"}

    def renamed(given: Tensors) -> Tensors:
        return {re.sub(r"mlp\.[03]", lambda match: older[match[0]], name): v for name, v in given.items()}

    name = "vit_base_patch16_224.shallow_tv"
    expected = _loaded(name, tmp_path, lambda given: given, "tv_in1k").weights_sha256
    assert _loaded(name, tmp_path, renamed, "tv_in1k").weights_sha256 == expected


def test_files_of_dinov2_by_its_authors_hold_a_mask_token(tmp_path):
    def masked(given: Tensors) -> Tensors:
        return given | {"mask_token": np.zeros((1, 128), np.float32)}

    name = "vit_small_patch14_dinov2.shallow"
    expected = _loaded(name, tmp_path, lambda given: given, "lvd142m").weights_sha256
    assert _loaded(name, tmp_path, masked, "lvd142m").weights_sha256 == expected


@pytest.mark.parametrize("name", ["vit_base_patch32_clip_224.shallow", "vit_tiny_patch16_224.shallow"])
def test_a_file_without_head_gives_the_chain_up_to_the_pooled_vector(name, tmp_path):
    def headless(given: Tensors) -> Tensors:
        return {name: value for name, value in given.items() if not name.startswith("head.")}

    loaded = _loaded(name, tmp_path, headless, "custom")
    assert loaded.network.order[-3:] == ("blocks.1", "norm", "pool")


@pytest.mark.parametrize(
    ("name", "layer", "written", "shape"),
    [
        (REGISTERS, "blocks.1:map", "blocks.1:map", (5 + 37 * 37, 128)),
        (REGISTERS, "blocks.1", "blocks.1:cls", (128,)),
        (REGISTERS, "blocks.1.mlp", "blocks.1_mlp:cls", (128,)),
        (REGISTERS, "patch_embed.proj", "patch_embed_proj:avg", (128,)),
        (REGISTERS, "pool", "pool", (128,)),
        ("vit_base_patch16_siglip_224.shallow", "norm", "norm:avg", (128,)),
        ("vit_base_patch32_clip_224.shallow", "head", "projection", (10,)),
    ],
)
def test_layers_of_tokens(name, layer, written, shape):
    loaded = load_random(_form(name))
    assert loaded.feature_shapes(loaded.layers([layer])) == {written: shape}


def test_the_mean_of_patches_leaves_class_token_and_registers_out():
    loaded = load_random(_form(REGISTERS))
    (layer,) = loaded.layers(["norm:avg"])
    tokens = np.random.default_rng(0).standard_normal((2, 5 + 6, 128), np.float32)
    np.testing.assert_allclose(layer.apply(jnp.asarray(tokens)), tokens[:, 5:].mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "match"),
    [
        (
            (126, 75),
            r"126×75 are no whole number of patches of 14×14 pixels; give them a height of 126 and a w.*70 or 84",
        ),
        ((13, 28), r"give them a height of 14 and a width of 28"),
    ],
)
def test_a_size_that_cuts_patches_is_refused(size, match):
    loaded = load_random(_form(REGISTERS))
    with pytest.raises(UsageError, match=match):
        loaded.shapes(["pool"], loaded.transforms.with_size(*size))


def test_bfloat16_is_close():
    loaded = load_random(_form(REGISTERS))
    pixels = images(70, 98, 2)
    exact = run_ours(loaded, pixels, ["pool"])["pool"]
    rounded = run_ours(loaded, pixels.astype(jnp.dtype("bfloat16")), ["pool"])["pool"]
    assert rounded.dtype == jnp.bfloat16
    error = np.abs(rounded.astype(np.float32) - exact).max() / np.abs(exact).max()
    # Rounding is by up to 2⁻⁹ = 0.2 % at each of some ten steps.
    assert 1e-4 < error < 0.03
