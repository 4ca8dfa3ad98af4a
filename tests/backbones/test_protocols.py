"""Published accuracies say how they were measured, and the transforms of that can be asked for by name."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder
from helpers.tiny_weights import drawn, registered, write
from PIL import Image

from featcache import FeatureCache, extract
from featcache.backbones.protocols import named_transforms, protocol_of
from featcache.backbones.registry import pretrained_weights, resolve
from featcache.cli import main
from featcache.errors import IdentityError, UsageError
from featcache.images.named_transforms import read_name
from featcache.images.resizing import prepare

SLIM = "TF-Slim measured on the central 87.5 % of both sides, squashed"
KERAS = (
    "Keras measured on a single centre crop (README of keras-applications), of which size is not published"
)
OTHER = ", not with these transforms: for those, --transforms published"
NOT_WHOLE = "; these transforms crop nothing: a centre crop is --transforms center:0.875"
UNKNOWN = "not known; the accuracy may not be that of these transforms"

# What ``backbones show`` says of each kind of source.
SHOWN = {
    "mobilenet_v1_025": SLIM + OTHER,
    "mobilenet_v2.keras_in1k_192": SLIM + OTHER,
    "efficientnet_b0.keras_in1k": "the authors measured on a centre crop of 224 from 256 pixels, bicubic"
    + OTHER,
    "efficientnet_b7.keras_in1k": "the authors measured on a centre crop of 600 from 632 pixels, bicubic"
    + OTHER,
    "vgg16.keras_in1k": KERAS + NOT_WHOLE,
    "inception_v3.keras_in1k": KERAS + NOT_WHOLE,
    "convnext_tiny.keras_in1k": UNKNOWN,
    "mobilenet_v3_large.keras_in1k": UNKNOWN,
    "efficientnet_v2_b0.keras_in1k": UNKNOWN,
    "resnet50.tv2_in1k": "torchvision measured with these transforms",
    "efficientnet_lite0.tf_in1k": "TensorFlow measured with these transforms",
    "vit_tiny_patch16_224": "timm measured with these transforms",
}


@pytest.mark.parametrize(("name", "text"), SHOWN.items(), ids=SHOWN)
def test_what_is_said_of_the_published_accuracy(name, text):
    from featcache.cli.commands.backbones import _protocol_text

    assert _protocol_text(resolve(name)) == text


def test_show_prints_it_and_says_nothing_without_an_accuracy(capsys):
    assert main(["backbones", "show", "mobilenet_v1_025"]) == 0
    assert f"\n  protocol    {SLIM}{OTHER}\n" in capsys.readouterr().out
    assert main(["backbones", "show", "vit_small_patch14_dinov2"]) == 0
    assert "protocol" not in capsys.readouterr().out


def test_every_record_is_told_apart():
    """A new source must not pass for one whose protocol is known."""
    sources = {w.source.split()[0].rstrip(",") for w in pretrained_weights().values() if w.top1 is not None}
    assert sources == {"Keras", "torchvision", "timm", "TensorFlow"}
    for weights in pretrained_weights().values():
        protocol = protocol_of(weights)
        if weights.top1 is None:
            assert protocol is None
        elif not weights.source.startswith("Keras"):
            assert protocol.transforms == weights.transforms
        elif protocol is not None and protocol.transforms is not None:
            assert protocol.transforms != weights.transforms
            assert protocol.transforms.mean == weights.transforms.mean
            assert protocol.transforms.input_size == weights.transforms.input_size


# ---- names


NAMED = {
    "published": ("mobilenet_v1_025", {"crop_mode": "squash", "crop_pct": 0.875}),
    "center:0.875": ("mobilenet_v1_025", {"crop_mode": "center", "crop_pct": 0.875}),
    " Centre:.9 ": ("vgg16.keras_in1k", {"crop_mode": "center", "crop_pct": 0.9}),
    "center": ("efficientnet_b0.keras_in1k", {"crop_mode": "center", "crop_pct": 1.0}),
    "squash": ("mobilenet_v2.tv_in1k", {"crop_mode": "squash", "crop_pct": 1.0}),
    "squash:0.5": ("convnext_tiny.keras_in1k", {"crop_mode": "squash", "crop_pct": 0.5}),
}


@pytest.mark.parametrize(("text", "name", "changed"), [(t, *row) for t, row in NAMED.items()], ids=NAMED)
def test_transforms_by_name_change_only_the_crop(text, name, changed):
    weights = resolve(name)
    assert named_transforms(weights, text) == replace(weights.transforms, **changed)


def test_published_ones_of_torchvision_are_its_own():
    weights = resolve("mobilenet_v2.tv_in1k")
    assert named_transforms(weights, "published") == weights.transforms


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("convnext_tiny.keras_in1k", r"is not known; give them as center:CROP_PCT or squash:CROP_PCT"),
        (
            "vgg16.keras_in1k",
            r"is not known whole \(Keras measured on a single centre crop .*\); give them as center",
        ),
        ("vit_small_patch14_dinov2", r"is not known; give them as"),
    ],
)
def test_published_ones_that_are_not_known_are_refused(name, why):
    text = rf"^transforms 'published': with which the accuracy of {resolve(name).name} was measured {why}"
    with pytest.raises(UsageError, match=text):
        named_transforms(resolve(name), "published")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("publishd", "; did you mean 'published'"),
        ("center:0", "$"),
        ("center:1.5", "$"),
        ("center:", "$"),
        ("squash:nan", "$"),
        ("published:0.5", "$"),
        ("", "; "),
    ],
)
def test_other_texts_are_refused_before_anything_is_loaded(text, hint):
    expected = (
        r"expected published, center:CROP_PCT or squash:CROP_PCT, such as center:0\.875, with a share above 0"
    )
    with pytest.raises(UsageError, match=rf"^transforms '{text}': {expected} and up to 1{hint}"):
        read_name(text)
    with pytest.raises(UsageError, match=r"^transforms"):
        extract("nowhere", backbone="vgg19", transforms=text)


# ---- the pixels


def test_the_central_part_is_that_of_tensorflow():
    """As ``tf.image.central_crop`` documents it: margins of int((side - side * fraction) / 2)."""
    given = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(given).save(stream, "PNG")
    transforms = named_transforms(resolve("mobilenet_v1_025"), "published").with_size(33, 44)
    # 37 - 32.375 = 4.625 and 50 - 43.75 = 6.25: margins of 2 and 3, which leave the input size itself.
    assert np.array_equal(prepare(stream.getvalue(), transforms), given[2:35, 3:47])
    assert transforms.describe().startswith("central 87.5 % of both sides resized to 33×44 (bilinear)")


def test_a_picture_of_one_pixel_has_a_centre():
    stream = io.BytesIO()
    Image.new("RGB", (1, 1), (9, 8, 7)).save(stream, "PNG")
    transforms = named_transforms(resolve("mobilenet_v1_025"), "squash:0.01").with_size(2, 2)
    assert np.unique(prepare(stream.getvalue(), transforms).reshape(-1, 3), axis=0).tolist() == [[9, 8, 7]]


# ---- in the recipe


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return photo_folder(tmp_path / "photos", {"cat": 3, "dog": 3})


@pytest.mark.filterwarnings("ignore:image size .* was trained on:RuntimeWarning")
def test_named_transforms_are_part_of_the_recipe_and_the_default_is_as_before(tmp_path, photos, capsys):
    weights = write(tmp_path / "own.safetensors", drawn())
    with registered():
        plain = extract(photos, backbone="narrow", weights=weights)
        named = extract(photos, backbone="narrow", weights=weights, transforms="center:0.5")
        again = extract(photos, backbone="narrow", weights=weights, transforms="center:0.5")
        command = [
            "extract",
            str(photos),
            "-b",
            "narrow",
            "--weights",
            str(weights),
            "--transforms",
            "squash:0.5",
        ]
        assert main(command) == 0, capsys.readouterr().err
        with pytest.raises(
            IdentityError, match=r"transforms\.crop_mode: squash in the cache, center asked for"
        ):
            extract(photos, backbone="narrow", weights=weights, transforms="center:0.5", output=plain.path)
    assert plain.path.name == "photos-narrow.custom.h5"
    assert named.path.name == "photos-narrow.custom-transforms-center-0.5.h5"
    assert (again.path, again.computed, named.computed) == (named.path, 0, 6)
    assert Path("photos-narrow.custom-transforms-squash-0.5.h5").is_file()
    ours, theirs = FeatureCache(named.path).recipe, FeatureCache(plain.path).recipe
    assert ours["transforms"] == {**theirs["transforms"], "crop_mode": "center", "crop_pct": 0.5}
    assert {**ours, "transforms": None} == {**theirs, "transforms": None}
