"""Every backbone is found under the names that people know, and what its tables say is true of the network."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import featcache.backbones
from featcache.backbones import DEFAULT, families, family_of, load, pretrained_weights, resolve
from featcache.backbones.family import Download, Family, PackageFile
from featcache.errors import MissingFileError, UnknownNameError
from featcache.transforms import Transforms

WEIGHTS = pytest.mark.parametrize("weights", pretrained_weights().values(), ids=lambda w: w.name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenet_v2", "mobilenet_v2.tv_in1k"),
        ("mobilenet_v2.tv_in1k", "mobilenet_v2.tv_in1k"),
        ("MobileNetV2", "mobilenet_v2.tv_in1k"),
        ("mobilenet-v2", "mobilenet_v2.tv_in1k"),
        ("mobilenetv2_100", "mobilenet_v2.tv_in1k"),
        ("efficientnet_lite0", "efficientnet_lite0.tf_in1k"),
        ("EfficientNetLite2", "efficientnet_lite2.tf_in1k"),
        ("tf_efficientnet_lite1", "efficientnet_lite1.tf_in1k"),
        ("tf_efficientnet_lite1.tf_in1k", "efficientnet_lite1.tf_in1k"),
    ],
)
def test_names_that_people_know(name, expected):
    assert resolve(name) is pretrained_weights()[expected]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mobilnet_v2", "no backbone 'mobilnet_v2'; did you mean 'mobilenet_v2'"),
        ("efficientnet_lite9", "no backbone 'efficientnet_lite9'; did you mean 'efficientnet_lite"),
        ("mobilnet_v2.tv_in1k", "no backbone 'mobilnet_v2.tv_in1k'; did you mean 'mobilenet_v2'"),
        ("zzz", "no backbone 'zzz'; known: .*mobilenet_v2"),
        ("", "no backbone ''; known: "),
        ("mobilenet_v2.tv_in1", "no weights 'tv_in1' of mobilenet_v2; did you mean 'tv_in1k'"),
        ("mobilenet_v2.x", "no weights 'x' of mobilenet_v2; known: tv_in1k"),
    ],
)
def test_unknown_names_say_which_are_near(name, text):
    with pytest.raises(UnknownNameError, match=text):
        resolve(name)
    with pytest.raises(UnknownNameError, match=text):
        load(name)


def test_every_family_file_is_discovered():
    files = Path(featcache.backbones.__file__).parent.glob("*.py")
    with_family = {
        file.stem for file in files if re.search(r"^FAMILY = ", file.read_text("utf-8"), re.MULTILINE)
    }
    assert with_family >= {"efficientnet_lite", "mobilenet_v2"}
    assert {family.build.__module__.rpartition(".")[2] for family in families()} == with_family
    assert all(isinstance(family, Family) for family in families())


def test_default_is_a_backbone_that_a_package_brings():
    assert isinstance(resolve(DEFAULT).file, PackageFile)


def test_no_name_means_two_things():
    names = [(weights.name, weights.arch) for weights in pretrained_weights().values()]
    assert sum(len(family.pretrained) for family in families()) == len(names)
    spellings: dict[str, str] = {}
    aliases = [pair for family in families() for pair in family.aliases.items()]
    for spelling, arch in [(arch, arch) for _, arch in names] + aliases:
        assert spellings.setdefault(re.sub("[_-]", "", spelling.lower()), arch) == arch
    assert {arch for _, arch in aliases} <= {arch for _, arch in names}


def test_default_tag_is_the_first_of_its_architecture():
    firsts = {weights.arch: weights for weights in reversed(pretrained_weights().values())}
    for arch, weights in firsts.items():
        assert resolve(arch) is weights


@WEIGHTS
def test_weights_are_pinned_and_described(weights):
    assert re.fullmatch("[0-9a-f]{64}", weights.file.sha256)
    assert isinstance(weights.transforms, Transforms)
    assert Transforms.from_json(weights.transforms.to_json()) == weights.transforms
    assert weights.layout in family_of(weights).key_tables
    assert weights.licence
    assert 50 < weights.top1 < 95  # percent, not a fraction
    if isinstance(weights.file, Download):
        assert weights.file.url.startswith("https://")
    # torchvision and others put the first digits of the hash into the file's name.
    if digits := re.search(r"-([0-9a-f]{8})\.pth$", weights.file.filename):
        assert weights.file.sha256.startswith(digits[1])


@WEIGHTS
def test_tables_are_true_of_the_network(weights):
    network = nnx.eval_shape(lambda: family_of(weights).build(weights.config, None))
    image = jax.ShapeDtypeStruct((1, *weights.transforms.input_size, 3), np.float32)
    outputs = nnx.eval_shape(lambda n, x: n(x, taps=("pool", "logits")), network, image)
    assert outputs["pool"].shape == (1, weights.features)
    assert outputs["logits"].shape == (1, weights.config.classes)
    parameters = jax.tree.leaves(nnx.state(network, nnx.Param))
    assert sum(np.prod(leaf.shape) for leaf in parameters) == weights.params


@WEIGHTS
def test_family_link_is_a_paper(weights):
    assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}", family_of(weights).paper)


def test_weights_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match=r"no weights file .*absent\.pth; pass --weights the path"):
        load("mobilenet_v2", weights=tmp_path / "absent.pth")
    with pytest.raises(MissingFileError, match="no weights file"):
        load("mobilenet_v2", weights=tmp_path)
