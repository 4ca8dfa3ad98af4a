"""Every backbone is found under the names that people know, and what its tables say is true of the network."""

import re
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from helpers.configs import abstract_network, all_weights
from helpers.tiny_finetuning import tiny_network

import featcache.backbones
from featcache.backbones import load
from featcache.backbones.chain import Backbone
from featcache.backbones.family import Download, Family, PackageFile
from featcache.backbones.input_size import read_size, with_size
from featcache.backbones.layer import make_layer
from featcache.backbones.macs import count_macs
from featcache.backbones.registry import DEFAULT, families, family_of, pretrained_weights, resolve, taken_as
from featcache.core.identity import differences
from featcache.errors import DataError, FeatcacheWarning, MissingFileError, UnknownNameError, UsageError
from featcache.images.transforms import Transforms

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
    ("name", "says"),
    [
        (
            "MobileNetV2",
            "MobileNetV2: taken as mobilenet_v2.tv_in1k, the weights of torchvision IMAGENET1K_V1; those of Keras are "
            "mobilenet_v2.keras_in1k_224",
        ),
        (
            "mobilenetv2_100",
            "mobilenetv2_100: taken as mobilenet_v2.tv_in1k, the weights of torchvision IMAGENET1K_V1; those of timm "
            "are mobilenet_v2.ra_in1k",
        ),
        ("mobilenet_v2", None),
        ("mobilenet-v2", None),
        ("MobileNetV2.tv_in1k", None),
        ("ResNet50", None),
        ("EfficientNetLite2", None),
    ],
)
def test_a_name_of_another_framework_says_whose_weights_are_taken(name, says):
    assert taken_as(name) == ([says] if says else [])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "MobileNetV2",
            "MobileNetV2: taken as mobilenet_v2.tv_in1k; the one of Keras is mobilenet_v2.keras_in1k_224",
        ),
        (
            "mobilenetv2_100",
            "mobilenetv2_100: taken as mobilenet_v2.tv_in1k; the one of timm is mobilenet_v2.ra_in1k",
        ),
    ],
)
def test_weights_that_are_given_are_not_said_to_be_published_ones(name, says):
    with pytest.warns(FeatcacheWarning, match=f"^{re.escape(says)}$"):
        load(name, weights="random")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mobilnet_v2", "no backbone 'mobilnet_v2'; did you mean .*'mobilenet_v2'"),
        ("efficientnet_lite9", "no backbone 'efficientnet_lite9'; did you mean .*'efficientnet_lite"),
        ("mobilnet_v2.tv_in1k", "no backbone 'mobilnet_v2.tv_in1k'; did you mean .*'mobilenet_v2'"),
        ("zzz", "no backbone 'zzz'; known: alexnet, convnext_tiny, .*…"),
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
    files = Path(featcache.backbones.__file__).parent.joinpath("families").glob("*.py")
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
    # The form of each hash is checked where it is given. Keras publishes none of its MobileNets, timm's hub none
    # that are known here: these are recorded when they are first seen.
    published = weights.file.sha256 or (isinstance(weights.file, Download) and weights.file.md5)
    assert published or weights.arch.startswith("mobilenet_v") or "huggingface.co/timm" in weights.file.url
    assert isinstance(weights.transforms, Transforms)
    assert Transforms.from_json(weights.transforms.to_json()) == weights.transforms
    assert weights.layout in family_of(weights).key_tables
    assert weights.licence
    assert weights.top1 is None or 35 < weights.top1 < 95  # percent, not a fraction
    if isinstance(weights.file, Download):
        assert weights.file.url.startswith("https://")
    # torchvision and others put the first digits of the hash into the file's name.
    if digits := re.search(r"-([0-9a-f]{8})\.pth$", weights.file.filename):
        assert (weights.file.sha256 or "").startswith(digits[1])


@dataclass(frozen=True)
class Counted:
    """What a network is found to have: features of an image, classes (``None`` without a top), parameters, products."""

    features: tuple[int, ...]
    classes: tuple[int, ...] | None
    params: int
    macs: int


@cache
def counted(network: Backbone, size: tuple[int, int]) -> Counted:
    """Almost half of all weights share their network and the size of their images with others."""
    graphdef, state = nnx.split(network)
    image = jax.ShapeDtypeStruct((1, *size, 3), np.float32)
    classified = "logits" in network.order
    taps = ("pool", "logits") if classified else ("pool",)
    program, shapes = jax.make_jaxpr(
        lambda state, x: nnx.merge(graphdef, state)(x, taps=(*taps, network.order[-1])), return_shape=True
    )(state, image)
    layer = make_layer("pool", None, shapes["pool"].shape[1:], network.prefix_tokens)
    parameters = jax.tree.leaves(nnx.state(network, nnx.Param))
    return Counted(
        jax.eval_shape(layer.apply, shapes["pool"]).shape,
        shapes["logits"].shape if classified else None,
        sum(int(np.prod(leaf.shape)) for leaf in parameters),
        count_macs(program),
    )


@pytest.mark.one_by_default
@pytest.mark.parametrize("weights", all_weights())
def test_tables_are_true_of_the_network(weights):
    found = counted(abstract_network(weights), weights.transforms.input_size)
    assert found.features == (1, weights.features)
    assert found.classes in (None, (1, weights.config.classes))
    assert (weights.top1 is None) or found.classes is not None
    assert found.params == weights.params
    assert found.macs == weights.macs


@WEIGHTS
def test_family_link_is_a_paper(weights):
    assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}", family_of(weights).paper)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (150, (150, 150)),
        (np.int64(150), (150, 150)),
        ((150, 200), (150, 200)),
        ([150, 200], (150, 200)),
        ("150", (150, 150)),
        (" 150x200 ", (150, 200)),
        ("150X200", (150, 200)),
        ("1×4096", (1, 4096)),
    ],
)
def test_ways_to_write_a_size(given, expected):
    assert read_size(given) == expected
    assert all(type(side) is int for side in read_size(given)), "a numpy number would be no JSON"


@pytest.mark.parametrize(
    "given",
    [
        *(0, -3, 3.5, 224.0, True, np.True_, 100_000, {150: 200}),
        *("0", "-3", "abc", "", "150x", "x150", "1x2x3", "3.5", "1x100000", "٣", "9" * 5000),
        *((), (1,), (1, 2, 3), (1, 100_000), (True, 224), ("150", "200"), (224, None)),
    ],
)
def test_sizes_that_cannot_be_meant_are_refused_before_weights_are_looked_for(given):
    # Offline and without its weights, mobilenet_v2 would be a WeightsError.
    says = rf"image size {re.escape(repr(given))}: expected pixels, .* each from 1 to 4096; leave it out"
    with pytest.raises(UsageError, match=says):
        load("mobilenet_v2", image_size=given)


@pytest.mark.parametrize(("given", "shown"), [(5, "5x5"), ("31x224", "31x224")])
def test_a_size_that_a_digit_is_missing_of_is_warned_of(given, shown):
    network = tiny_network()
    says = rf"image size {shown}: tiny\.custom was trained on 16x16 pixels, .* less than 32 .*; is a digit missing\?"
    with pytest.warns(RuntimeWarning, match=says):
        assert with_size(network, given).transforms.input_size == read_size(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_size(network, 32)
        with_size(network, 16)  # what it was trained on


def test_a_backbone_of_another_size_differs_in_nothing_else():
    usual, other = (
        load("mobilenet_v2", weights="random"),
        load("mobilenet_v2", weights="random", image_size="96x160"),
    )
    assert other.transforms == usual.transforms.with_size(96, 160)
    assert differences(usual.recipe().to_json(), other.recipe().to_json()) == [
        "transforms.input_size: [224, 224] in the cache, [96, 160] asked for"
    ]
    assert resolve("mobilenet_v2").transforms == usual.transforms, "the table stays as it is"


def test_weights_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match=r"no weights file .*absent\.pth; pass --weights the path"):
        load("mobilenet_v2", weights=tmp_path / "absent.pth")
    with pytest.raises(DataError, match=f"{tmp_path} is a folder; expected a weights file; name one"):
        load("mobilenet_v2", weights=tmp_path)
