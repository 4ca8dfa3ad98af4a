"""Networks with other weights, and our own file of them: what comes back, and what is refused."""

import errno
import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from helpers.drawing import images

from featcache.backbones import finetuned as tuned
from featcache.backbones import load
from featcache.backbones.finetuned import save_finetuned, truncate_after, with_tensors
from featcache.backbones.input_size import with_size
from featcache.backbones.loaded import LoadedBackbone
from featcache.core.identity import differences, sha256_tensors
from featcache.errors import FeatcacheError, StorageError, UnknownNameError, WeightsError

NAME = "mobilenet_v1_025"
BASE = f"{NAME}.keras_in1k_224"


@cache
def original() -> LoadedBackbone:
    """Half a million weights, on 40×32 pixels."""
    return with_size(load(NAME, weights="random"), (40, 32))


@cache
def changed() -> LoadedBackbone:
    """The same after some training, without its classifier."""
    own = original().tensors
    moved = {name: own[name] + 0.1 for name in own if name.startswith("conv_pw_1_relu.")}
    return truncate_after(with_tensors(original(), moved), "pool")


@pytest.fixture
def saved(tmp_path) -> Path:
    save_finetuned(tmp_path / "mine.safetensors", changed())
    return tmp_path / "mine.safetensors"


def features(network: LoadedBackbone, layer: str = "conv_pw_1_relu") -> np.ndarray:
    pixels = (images(40, 32, 3) * 127 + 128).astype(np.uint8)
    return np.asarray(next(iter(network.function(network.layers([layer]))(network.state, pixels).values())))


# Other weights ----------------------------------------------------------------------------------------------


def test_replaced_tensors_are_what_is_computed_with():
    own = original().tensors
    switched_off = {
        "conv1_relu.norm.scale": np.zeros(8),
        "conv1_relu.norm.bias": [-1, 0, 1, 2, 3, 6, 7, 100],
    }
    network = with_tensors(original(), switched_off)
    # Without a scale, a normalisation gives its bias, which ReLU6 clips: no rounding at all.
    np.testing.assert_array_equal(features(network, "conv1_relu:avg"), [[0, 0, 1, 2, 3, 6, 6, 6]] * 3)
    assert (network.name, network.weights_path) == (f"{NAME}.tuned", None)
    assert with_tensors(original(), switched_off, tag="mine").name == f"{NAME}.mine"
    assert original().tensors is own, "the network it came from stays"
    assert features(original(), "conv1_relu:avg").std() > 0.01


def test_a_networks_identity_follows_its_tensors():
    before = original().recipe()
    same = with_tensors(original(), {"logits.bias": original().tensors["logits.bias"]})
    other = with_tensors(original(), {"logits.bias": original().tensors["logits.bias"] + 1})
    assert same.recipe() == before
    [line] = differences(before.to_json(), other.recipe().to_json())
    assert line.startswith("backbone.weights_sha256: ")
    assert sha256_tensors(other.tensors.items()) == other.weights_sha256


def test_an_array_that_changes_later_changes_no_network():
    bias = np.zeros(1000, np.float32)
    network = with_tensors(original(), {"logits.bias": bias})
    bias += 1
    assert not network.tensors["logits.bias"].any()
    assert network.weights_sha256 == sha256_tensors(network.tensors.items())


def test_tensors_that_do_not_fit_are_refused_all_at_once():
    given = {"logits.bias": np.zeros(5), "logits.offset": np.zeros(1), "stem.kernel": np.zeros(1)}
    with pytest.raises(WeightsError) as refused:
        with_tensors(original(), given)
    for part in (
        f"what replaces {NAME}.random does not fit",
        r"2 unknown (logits.offset, stem.kernel)",
        "1 wrong shape (logits.bias is (5,), expected (1000,))",
    ):
        assert part in str(refused.value)


def test_a_shorter_chain_has_the_same_features():
    short = truncate_after(original(), "conv_pw_2_relu")
    assert short.network.order == original().network.order[:5]
    assert {name.partition(".")[0] for name in short.tensors} == set(short.network.order)
    np.testing.assert_array_equal(features(short), features(original()))
    [line] = differences(original().recipe().to_json(), short.recipe().to_json())
    assert line.startswith("backbone.weights_sha256: ")
    with pytest.raises(UnknownNameError, match="no stage 'pool' in this network"):
        short.layers(["pool"])


def test_where_a_chain_can_be_cut():
    assert truncate_after(original(), "logits") is original()
    assert truncate_after(original(), "avg_pool").network.order[-1] == "pool", "an alias"
    transformer = load("vit_tiny_patch16_224", weights="random")
    cut = truncate_after(transformer, "blocks.1_attn")
    assert cut.network.order == ("patch_embed", "blocks.0", "blocks.1"), (
        "a point inside a stage keeps all of it"
    )
    assert {
        name for name in transformer.tensors if name.startswith(("patch_embed.", "blocks.0.", "blocks.1."))
    } == {*cut.tensors}
    with pytest.raises(UnknownNameError, match="no stage 'conv_pw_99'"):
        truncate_after(original(), "conv_pw_99")


# The file ---------------------------------------------------------------------------------------------------


def test_a_saved_network_comes_back(saved):
    loaded = load(NAME, weights=saved)
    assert loaded.name == changed().name == f"{NAME}.tuned"
    assert loaded.recipe() == changed().recipe()
    assert (loaded.transforms, loaded.network.order) == (changed().transforms, changed().network.order)
    assert loaded.weights_path == str(saved.absolute())
    np.testing.assert_array_equal(features(loaded), features(changed()))
    assert np.abs(features(loaded) - features(original())).max() > 0.01
    assert load(NAME, weights=saved, image_size=64).transforms.input_size == (64, 64)


def test_the_hash_returned_is_that_of_what_loading_gives(tmp_path):
    path = tmp_path / "a.safetensors"
    returned = save_finetuned(path, original(), through="conv_pw_5_relu")
    loaded = load(NAME, weights=path)
    assert loaded.weights_sha256 == returned == truncate_after(original(), "conv_pw_5_relu").weights_sha256
    assert loaded.network.order[-1] == "conv_pw_5_relu"


def test_the_same_network_gives_the_same_bytes(saved, tmp_path):
    backwards = replace(changed(), tensors=dict(reversed(changed().tensors.items())))
    save_finetuned(tmp_path / "again.safetensors", backwards)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()
    again = save_finetuned(tmp_path / "loaded.safetensors", load(NAME, weights=saved))
    assert (tmp_path / "loaded.safetensors").read_bytes() == saved.read_bytes()
    assert again == changed().weights_sha256


def test_the_file_is_one_that_anybody_can_read(saved):
    tensors = safetensors.numpy.load_file(saved)
    assert tensors.keys() == changed().tensors.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, changed().tensors[name])
    with safetensors.safe_open(saved, framework="numpy") as file:
        about = file.metadata()
    assert {name: about[name] for name in ("format", "format_version", "base", "through")} == {
        "format": "featcache-backbone",
        "format_version": "1",
        "base": BASE,
        "through": "pool",
    }
    assert json.loads(about["transforms"]) == changed().transforms.to_json()
    assert json.loads(about["config"])["alpha"] == 0.25
    header = int.from_bytes(saved.read_bytes()[:8], "little")
    assert header % 8 == 0, "numbers begin where they can be mapped"


def test_what_was_tuned_can_be_tuned_again(saved, tmp_path):
    loaded = load(NAME, weights=saved)
    further = with_tensors(loaded, {"conv1_relu.norm.bias": np.ones(8)})
    save_finetuned(tmp_path / "further.safetensors", further)
    again = load(NAME, weights=tmp_path / "further.safetensors")
    assert again.recipe() == further.recipe() != loaded.recipe()


def test_another_number_of_classes_is_kept(tmp_path):
    """A file of one's own may have five classes, which is part of the recipe even where they are cut off."""
    own = original()
    config = replace(own.pretrained.config, classes=5)
    five = replace(truncate_after(own, "pool"), pretrained=replace(own.pretrained, config=config))
    save_finetuned(tmp_path / "five.safetensors", five)
    loaded = load(NAME, weights=tmp_path / "five.safetensors")
    assert loaded.recipe() == five.recipe() != truncate_after(own, "pool").recipe()


def test_an_earlier_file_is_replaced(saved):
    save_finetuned(saved, original())
    assert load(NAME, weights=saved).weights_sha256 == original().weights_sha256
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("fails_at", ["fsync", "replace"])
def test_a_failure_keeps_the_earlier_file(saved, monkeypatch, fails_at):
    before = saved.read_bytes()

    def fail(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, fails_at, fail)
    says = r"cannot write the backbone to .*mine\.safetensors: No space left .* \(needs .*, has .*\), or name another"
    with pytest.raises(StorageError, match=says):
        save_finetuned(saved, original())
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(
        StorageError, match=r"cannot write the backbone to .*: No such file or directory .*; a part"
    ):
        save_finetuned(tmp_path / "gone" / "a.safetensors", changed())


def test_weights_that_diverged_are_not_saved(tmp_path):
    diverged = with_tensors(changed(), {"conv1_relu.norm.bias": np.full(8, np.nan)})
    with pytest.raises(
        WeightsError, match=r"1 of 135 tensors have NaN or infinite values \('conv1_relu.norm.bias'"
    ):
        save_finetuned(tmp_path / "a.safetensors", diverged)
    assert not list(tmp_path.iterdir())


def test_a_network_that_could_not_be_loaded_is_not_saved(tmp_path):
    pretrained = replace(changed().pretrained, tag="unheard_of")
    with pytest.raises(
        WeightsError, match=f"began from '{NAME}.unheard_of', which this featcache does not know"
    ):
        save_finetuned(tmp_path / "a.safetensors", replace(changed(), pretrained=pretrained))
    config = replace(changed().pretrained.config, epsilon=0.5)
    with pytest.raises(
        WeightsError, match=r"is of another network than .*epsilon: 0.5 in the file, 0.001 here"
    ):
        save_finetuned(
            tmp_path / "a.safetensors",
            replace(changed(), pretrained=replace(changed().pretrained, config=config)),
        )
    assert not list(tmp_path.iterdir())


# What is refused --------------------------------------------------------------------------------------------


def rewritten(path: Path, tensors: dict[str, Any] | None = None, **about: str | None) -> Path:
    """Write a file of ours again with other tensors and metadata (``None`` removes one)."""
    with safetensors.safe_open(path, framework="numpy") as file:
        said = dict(file.metadata()) | about
    kept = {name: value for name, value in said.items() if value is not None}
    own = safetensors.numpy.load_file(path) | (tensors or {})
    safetensors.numpy.save_file({n: v for n, v in own.items() if v is not None}, path, metadata=kept)
    return path


def test_another_architecture_is_named(saved):
    says = rf"mine\.safetensors holds the weights of a fine-tuned {NAME}, not of mobilenet_v2; name it .*: {NAME}"
    with pytest.raises(WeightsError, match=says):
        load("mobilenet_v2", weights=saved)


BIAS = "conv1_relu.norm.bias"


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({BIAS: None}, rf"does not fit this network: 1 missing \({BIAS}\)"),
        ({"conv1_relu.norm.offset": np.zeros(8, np.float32)}, r"1 unknown \(conv1_relu.norm.offset\)"),
        ({"bias": np.zeros(8, np.float32)}, r"1 unknown \(bias\)"),
        ({"logits.bias": np.zeros(1000, np.float32)}, r"1 unknown \(logits.bias\)"),
        ({BIAS: np.zeros(9, np.float32)}, rf"1 wrong shape \({BIAS} is \(9,\), expected \(8,\)\)"),
        ({BIAS: np.zeros(8)}, rf"'{BIAS}' is float64, expected float32; fine-tune again"),
        (
            {BIAS: np.full(8, np.inf, np.float32)},
            rf"1 of 135 tensors have NaN or infinite values \('{BIAS}'\)",
        ),
    ],
)
def test_tensors_are_checked_both_ways(saved, tensors, says):
    with pytest.raises(WeightsError, match=says):
        load(NAME, weights=rewritten(saved, tensors))


def config(**fields: Any) -> str:
    return json.dumps({"alpha": 0.25, "classes": 1000, "epsilon": 1e-3, "padding": "same"} | fields)


def transforms(**fields: Any) -> str:
    return json.dumps(changed().transforms.to_json() | fields)


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"format_version": "2"}, "format version '2', this featcache reads 1: upgrade featcache"),
        ({"format_version": None}, "format version '', this featcache reads 1"),
        ({"base": f"{NAME}.new"}, f"began from '{NAME}.new', which this featcache does not know: upgrade"),
        ({"base": NAME}, f"began from '{NAME}', which"),
        ({"base": None}, "began from '', which this featcache does not know"),
        ({"base": "x\x1b[2J\n" * 99}, r"began from 'x\\x1b\[2J\\n.*…, which"),
        ({"through": "conv_99"}, f"its last stage is 'conv_99', which {NAME} does not have; fine-tune again"),
        ({"through": None}, "its last stage is ''"),
        ({"through": "logits"}, r"2 missing \(logits"),
        ({"through": "conv1_relu"}, "130 unknown"),
        ({"config": None}, "its config is no JSON"),
        ({"config": "{"}, "its config is no JSON"),
        ({"config": DEEP}, "its config is no JSON"),
        ({"config": '{"alpha": NaN}'}, "its config is no JSON"),
        ({"config": "[1]"}, r"its config is \[1\], expected a JSON object"),
        ({"config": "{}"}, 'another network than .*: {} in the file, {"alpha": 0.25, '),
        ({"config": '{"alpha": 0.25}'}, "another network than .*epsilon: nothing in the file, 0.001 here"),
        (
            {"config": config(alpha="wide")},
            "alpha: wide in the file, 0.25 here; .*use the featcache that wrote it",
        ),
        ({"config": config(alpha="\x1b[2J" * 999)}, r"alpha: \\x1b\[2J.*…; use the featcache"),
        ({"config": config(alpha=0.5)}, "alpha: 0.5 in the file, 0.25 here"),
        ({"config": config(depth=[1, {"a": None}])}, r"depth: \[1, .* in the file, nothing here"),
        ({"config": config(classes=True)}, "classes: true in the file, 1000 here"),
        ({"config": config(classes=-1)}, "classes: -1 in the file, 1000 here"),
        ({"config": config(classes=10**12)}, "classes: 1000000000000 in the file, 1000 here"),
        ({"config": config(classes="5")}, "classes: 5 in the file, 1000 here"),
        ({"transforms": "null"}, "its transforms is None, expected a JSON object"),
        ({"transforms": "{}"}, "its transforms cannot be .*lack keys"),
        ({"transforms": transforms(blur=1)}, "its transforms cannot be .*unknown keys: blur"),
        ({"transforms": transforms(input_size=5)}, "its transforms cannot be"),
        ({"transforms": transforms(input_size=[10**9, 1])}, r"its transforms cannot be .*image size"),
        ({"transforms": transforms(mean=[10**400, 0, 0])}, "its transforms cannot be"),
        ({"transforms": transforms(crop_mode=["center"])}, "its transforms cannot be .*crop_mode"),
        ({"transforms": transforms(std="abc")}, "its transforms cannot be"),
    ],
)
def test_metadata_is_believed_only_where_it_can_be(saved, about, says):
    with pytest.raises(WeightsError, match=says) as refused:
        load(NAME, weights=rewritten(saved, **about))
    assert len(str(refused.value)) < 1000
    assert str(refused.value).isprintable()


def test_a_file_that_says_nothing_of_us_is_read_as_any_other(saved):
    with pytest.raises(
        WeightsError, match=r"does not fit this network: 135 unknown \(conv1_relu.conv.kernel, "
    ):
        load(NAME, weights=rewritten(saved, format="pt"))


@pytest.mark.parametrize("length", [2**40, 2**63, 90_000_000, 0, 3])
def test_a_header_of_a_false_length(saved, length):
    saved.write_bytes(length.to_bytes(8, "little") + saved.read_bytes()[8:])
    with pytest.raises(WeightsError, match=r"mine\.safetensors"):
        load(NAME, weights=saved)


def test_a_file_cut_anywhere_is_refused(saved):
    data = saved.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for end in (0, 7, 8, 9, header // 2, header - 1, header, header + 5, len(data) // 2, len(data) - 1):
        saved.write_bytes(data[:end])
        with pytest.raises(WeightsError, match=r"mine\.safetensors"):
            load(NAME, weights=saved)


def test_bytes_changed_anywhere_in_the_header_never_end_in_a_traceback(saved):
    data = saved.read_bytes()
    header = int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 8 + header, 40):
        broken = bytearray(data)
        broken[place] ^= 1 << rng.integers(8)
        saved.write_bytes(broken)
        try:
            loaded = load(NAME, weights=saved)
        except FeatcacheError as error:
            assert isinstance(error, WeightsError), place  # noqa: PT017 - some changes do no harm
        else:
            assert tuned.read_metadata(saved) or loaded.tag == "custom"
