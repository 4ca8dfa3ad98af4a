"""The record, its geometry against torchvision, timm and tf.image, and the normalisation."""

import io
import json
import math
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featcache.errors import UsageError
from featcache.images import resizing
from featcache.images.resizing import pixels, prepare
from featcache.images.transforms import IMAGENET_MEAN, IMAGENET_STD, Transforms, normalisation

GOLDENS = Path(__file__).parents[1] / "goldens"
PHOTOS = runpy.run_path(str(GOLDENS / "photos.py"))
photo = PHOTOS["photo"]
STEP = 7  # of make_torchvision_goldens.py

METHODS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


def make(height=224, width=224, **changes) -> Transforms:
    values = {
        "input_size": (height, width),
        "crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "bilinear",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    }
    return Transforms(**values | changes)


# ---- the record


def test_numbers_are_plain_python_whatever_came_in():
    odd = make(np.int64(8), 8, crop_pct=1, mean=np.zeros(3, np.float32), std=[1, 1, 1])
    assert odd == make(8, 8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert json.dumps(odd.to_json()) == json.dumps(make(8, 8, mean=(0.0,) * 3, std=(1.0,) * 3).to_json())
    assert hash(odd) == hash(make(8, 8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"input_size": (0, 224)}, r"input_size is \(0, 224\), both sides have to be at least 1"),
        ({"input_size": (224,)}, "expected two integers: height, width"),
        ({"input_size": (224.0, 224.0)}, "expected two integers"),
        ({"input_size": (True, 224)}, "expected two integers"),
        ({"input_size": 224}, "need numbers in input_size"),
        ({"crop_pct": 0}, "crop_pct is 0.0, expected 0 < crop_pct <= 1"),
        ({"crop_pct": 1.1}, "crop_pct is 1.1"),
        ({"crop_pct": math.nan}, "crop_pct is nan"),
        ({"crop_pct": "big"}, "need numbers"),
        (
            {"crop_pct": 0.875, "crop_mode": "crop_or_pad"},
            "means nothing with crop_mode 'crop_or_pad'; use 1",
        ),
        ({"crop_mode": "centre"}, "crop_mode is 'centre', which is unknown; did you mean 'center'"),
        ({"interpolation": "bicubik"}, "did you mean 'bicubic'"),
        ({"interpolation": 3}, "interpolation is 3, which is unknown; known: bilinear, bicubic"),
        ({"channel_order": "grb"}, "channel_order is 'grb'"),
        ({"exif": "yes"}, "exif is 'yes', which is unknown; known: apply, ignore"),
        ({"rgb": "black"}, "rgb is 'black', which is unknown; known: white, drop"),
        ({"antialias": False}, "antialias is False, but only True is supported: Pillow always antialiases"),
        ({"std": (0.2, 0.0, 0.2)}, r"std is \(0.2, 0.0, 0.2\), every value has to be above 0"),
        ({"std": (0.2, 0.2)}, "expected three finite numbers"),
        ({"mean": (0.5, math.inf, 0.5)}, "expected three finite numbers"),
        ({"mean": (123.675, 116.28, 103.53)}, "expected the 0..1 scale; divide mean and std by 255"),
    ],
)
def test_values_that_cannot_work_are_refused(changes, text):
    with pytest.raises(UsageError, match=text):
        make(**changes)


@st.composite
def any_transforms(draw) -> Transforms:
    mode = draw(st.sampled_from(["center", "squash", "crop_or_pad"]))
    share = st.floats(0, 1)
    return make(
        draw(st.integers(1, 600)),
        draw(st.integers(1, 600)),
        crop_mode=mode,
        crop_pct=draw(st.floats(0.01, 1)) if mode == "center" else 1.0,
        interpolation=draw(st.sampled_from(list(METHODS))),
        mean=draw(st.tuples(share, share, share)),
        std=draw(st.tuples(*[st.floats(1e-3, 10)] * 3)),
        channel_order=draw(st.sampled_from(["rgb", "bgr"])),
        exif=draw(st.sampled_from(["apply", "ignore"])),
        rgb=draw(st.sampled_from(["white", "drop"])),
    )


@given(any_transforms())
def test_json_round_trip_through_text(transforms):
    value = transforms.to_json()
    assert Transforms.from_json(json.loads(json.dumps(value))) == transforms
    assert set(value) == set(Transforms.__dataclass_fields__)


def test_from_json_names_unknown_and_missing_keys():
    value = make().to_json()
    with pytest.raises(UsageError, match="unknown keys: interpolate, size; did you mean 'interpolation'"):
        Transforms.from_json(value | {"interpolate": 1, "size": 2})
    with pytest.raises(UsageError, match="lack keys: antialias, std; every field has to be given"):
        Transforms.from_json({k: v for k, v in value.items() if k not in ("antialias", "std")})
    with pytest.raises(UsageError, match="a JSON object, not list"):
        Transforms.from_json([])  # type: ignore[arg-type]


def test_with_size_changes_nothing_else():
    assert make(96, 128, crop_pct=0.875) == make(224, 224, crop_pct=0.875).with_size(96, 128)
    with pytest.raises(UsageError, match="at least 1 pixel"):
        make().with_size(0, 3)


def test_describe_says_what_happens():
    assert make(crop_pct=0.875).describe() == (
        "resized to cover 256×256 (bilinear), centre crop 224×224, RGB, mean (0.485, 0.456, 0.406),"
        " std (0.229, 0.224, 0.225), EXIF rotation: apply, transparency over white"
    )
    keras = make(150, 100, crop_mode="squash", interpolation="nearest", channel_order="bgr", rgb="drop")
    assert keras.describe().startswith("resized to 150×100 (nearest), BGR, mean")
    assert keras.describe().endswith("transparency dropped")
    assert "zero padding to 8×9" in make(8, 9, crop_mode="crop_or_pad").describe()


# ---- geometry

PRESETS = {
    "mobilenet_v2": make(crop_pct=0.875),
    "resnet50_v2": make(crop_pct=224 / 232),
    "inception_v3": make(299, 299, crop_pct=299 / 342),
    "timm_bicubic": make(interpolation="bicubic", crop_pct=0.875),
    "timm_lanczos": make(160, 160, interpolation="lanczos", crop_pct=0.95),
    "timm_portrait": make(192, 128, interpolation="bicubic", crop_pct=0.9),
}


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize(("height", "width"), PHOTOS["SIZES"])
def test_pixels_are_those_of_torchvision_and_timm(preset, height, width):
    with np.load(GOLDENS / "torchvision_transforms.npz") as goldens:
        golden = goldens[f"{preset}/{height}x{width}"].astype(int)
    ours = pixels(photo(height, width), PRESETS[preset])[::STEP, ::STEP].astype(int)
    # Both resize with Pillow, so 0 is what one Pillow gives; another version may round one level differently.
    assert np.abs(ours - golden).max() <= 1


def centre_oracle(array: np.ndarray, t: Transforms) -> np.ndarray:
    """torchvision's Resize(short side) and CenterCrop, in its own words."""
    size = math.floor(t.input_size[0] / t.crop_pct)
    height, width = array.shape[:2]
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    new_width, new_height = (new_short, new_long) if width <= height else (new_long, new_short)
    resized = np.asarray(Image.fromarray(array).resize((new_width, new_height), METHODS[t.interpolation]))
    top = round((new_height - t.input_size[0]) / 2.0)
    left = round((new_width - t.input_size[1]) / 2.0)
    return resized[top : top + t.input_size[0], left : left + t.input_size[1]]


sides = st.integers(1, 90)


@given(sides, sides, st.integers(1, 64), st.floats(0.3, 1), st.sampled_from(list(METHODS)))
@settings(deadline=None)
def test_centre_crop_equals_the_oracle(height, width, size, crop_pct, interpolation):
    t = make(size, size, crop_pct=crop_pct, interpolation=interpolation)
    array = photo(height, width)
    np.testing.assert_array_equal(pixels(array, t), centre_oracle(array, t))


@given(sides, sides, sides, sides, st.floats(0.3, 1))
@settings(deadline=None)
def test_centre_crop_never_needs_padding(height, width, to_height, to_width, crop_pct):
    t = make(to_height, to_width, crop_pct=crop_pct)
    white = np.full((height, width, 3), 255, np.uint8)
    np.testing.assert_array_equal(pixels(white, t), np.full((to_height, to_width, 3), 255))


def crop_or_pad_oracle(array: np.ndarray, to_height: int, to_width: int) -> np.ndarray:
    """tf.image.resize_with_crop_or_pad: offset_crop = max(-diff // 2, 0), offset_pad = max(diff // 2, 0)."""
    height_diff, width_diff = to_height - array.shape[0], to_width - array.shape[1]
    top, left = max(-height_diff // 2, 0), max(-width_diff // 2, 0)
    cropped = array[top : top + to_height, left : left + to_width]
    out = np.zeros((to_height, to_width, 3), np.uint8)
    top, left = max(height_diff // 2, 0), max(width_diff // 2, 0)
    out[top : top + cropped.shape[0], left : left + cropped.shape[1]] = cropped
    return out


@given(sides, sides, sides, sides)
def test_crop_or_pad_equals_tf_image(height, width, to_height, to_width):
    array = photo(height, width)
    t = make(to_height, to_width, crop_mode="crop_or_pad")
    np.testing.assert_array_equal(pixels(array, t), crop_or_pad_oracle(array, to_height, to_width))


@given(sides, sides, sides, sides, st.sampled_from(list(METHODS)))
def test_squash_resizes_both_sides(height, width, to_height, to_width, interpolation):
    array = photo(height, width)
    t = make(to_height, to_width, crop_mode="squash", interpolation=interpolation)
    expected = Image.fromarray(array).resize((to_width, to_height), METHODS[interpolation])
    np.testing.assert_array_equal(pixels(array, t), np.asarray(expected))


@pytest.mark.parametrize("interpolation", list(METHODS))
@pytest.mark.parametrize("shape", [(3, 700), (700, 3), (180, 7), (7, 1000)])
def test_resizing_only_the_crop_changes_at_most_one_level(monkeypatch, interpolation, shape):
    t = make(30, 30, crop_pct=0.9, interpolation=interpolation)
    whole = pixels(photo(*shape), t).astype(int)
    monkeypatch.setattr(resizing, "_WHOLE_RESIZE_PIXELS", 0)
    part = pixels(photo(*shape), t).astype(int)
    assert np.abs(whole - part).max() <= 1  # the box reaches Pillow in float32


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (2, 65_000)])
@pytest.mark.parametrize("mode", ["center", "squash", "crop_or_pad"])
def test_extreme_shapes_fit(shape, mode):
    # As torchvision would do it, 2×65000 is resized to 256×8,320,000: 8.5 GB.
    t = make(crop_mode=mode, crop_pct=0.875 if mode == "center" else 1.0)
    assert pixels(np.full((*shape, 3), 200, np.uint8), t).shape == (224, 224, 3)


# ---- arrays


def test_pixels_equals_prepare_for_rgb_and_grey():
    t = make(32, 48, crop_pct=0.9)
    for array in (photo(60, 80), photo(60, 80)[..., 1], np.asfortranarray(photo(60, 80))[::-1]):
        data = encode_png(array)
        np.testing.assert_array_equal(pixels(array, t), prepare(data, t))


def encode_png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((4, 4, 3), np.float32), r"pixels are float32, expected uint8 in 0..255; .*\* 255"),
        (np.zeros((4, 4, 3), np.int64), "pixels are int64"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\), expected one picture \[H, W, 3\] or \[H, W\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), "expected one picture"),
        (np.zeros((0, 4, 3), np.uint8), "expected one picture"),
        (np.zeros(7, np.uint8), "expected one picture"),
    ],
)
def test_arrays_that_are_not_pictures_are_refused(array, text):
    with pytest.raises(UsageError, match=text):
        pixels(array, make())


# ---- normalisation


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (IMAGENET_MEAN, IMAGENET_STD),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
    ],
)
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_normalisation_against_float64(mean, std, order):
    x = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    oracle = (x / 255 - np.array(mean)) / np.array(std)
    scale, offset = normalisation(make(mean=mean, std=std, channel_order=order))
    assert scale.dtype == offset.dtype == np.float32
    if order == "bgr":
        x, oracle = x[:, ::-1], oracle[:, ::-1]
    ours = x.astype(np.float32) * scale + offset
    # Where x/255 is near the mean the two terms cancel, so the error is relative to the terms: four float32
    # roundings of 6e-8 each.
    size = np.abs(x * scale.astype(np.float64)) + np.abs(offset)
    assert np.all(np.abs(ours - oracle) <= 2.4e-7 * size)


def test_bgr_takes_the_mean_of_the_channel_that_comes_first():
    _, offset = normalisation(make(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), channel_order="bgr"))
    np.testing.assert_allclose(offset, [-0.3, -0.2, -0.1], rtol=1e-6)


def test_neither_jax_nor_torch_is_imported():
    code = (
        "import sys, featcache.images.transforms; sys.exit(bool({'jax', 'torch', 'h5py'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
