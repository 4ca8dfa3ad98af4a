"""16-bit grey that uses fewer bits: named by `check_dataset`, scaled by a range in the RGB rule."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from featcache import check_dataset
from featcache.core.identity import sha256_json
from featcache.errors import UsageError
from featcache.images.decoding import read
from featcache.images.rgb import RgbRule
from featcache.images.transforms import Transforms

HALF = (0.5, 0.5, 0.5)
PLAIN = Transforms(input_size=(8, 8), crop_mode="squash", interpolation="bilinear", mean=HALF, std=HALF)


def sixteen(values: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint16)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bounds", [(0, 4095), (0, 1023), (100, 900), (0, 16383), (65534, 65535), (7, 8)])
def test_a_range_is_scaled_to_all_of_eight_bits(kind, bounds):
    low, high = bounds
    values = np.random.default_rng(0).integers(0, 2**16, (16, 16))
    values[0, :4] = (low, high, 0, 65535)
    got = read(sixteen(values, kind), exif="apply", rgb=f"range={low}:{high}")
    exact = (np.clip(values, low, high) - low) / (high - low) * 255
    assert np.abs(got[..., 0] - exact).max() <= 0.5
    assert got[0, :4, 0].tolist() == [0, 255, 0, 255]


def test_the_default_rule_scales_as_ever():
    values = np.arange(0, 65536, 257).reshape(16, 16)
    assert read(sixteen(values), exif="apply", rgb="white")[..., 0].ravel().tolist() == list(range(256))


def test_other_pictures_are_not_changed_by_a_range():
    file = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(file, "PNG")
    for rule in ("white", "range=0:1023"):
        got = read(file.getvalue(), exif="apply", rgb=rule)
        assert got[..., 0].ravel().tolist() == list(range(256))


RULES = {
    "white": "white",
    "drop": "drop",
    "range=0:4095": "white,range=0:4095",
    "drop,range=0:4095": "drop,range=0:4095",
    "range=10:900, drop": "drop,range=10:900",
    "range=0:65535": "white",
}


@pytest.mark.parametrize("text", RULES)
def test_rules_have_one_spelling(text):
    assert str(RgbRule.parse(text)) == RULES[text]
    assert replace(PLAIN, rgb=text).rgb == RULES[text]
    assert Transforms.from_json(replace(PLAIN, rgb=text).to_json()).rgb == RULES[text]


def test_a_range_keeps_what_becomes_of_transparency():
    assert PLAIN.with_rgb("range=0:4095").rgb == "white,range=0:4095"
    assert replace(PLAIN, rgb="drop").with_rgb("range=0:4095").rgb == "drop,range=0:4095"
    assert replace(PLAIN, rgb="drop").with_rgb("white,range=0:4095").rgb == "white,range=0:4095"
    assert "transparency over white, 16-bit grey from 0 to 4095" in PLAIN.with_rgb("range=0:4095").describe()


def test_the_default_recipe_is_the_one_of_before():
    """The sha256 of these transforms as featcache wrote them before there were ranges."""
    assert PLAIN.to_json()["rgb"] == "white"
    before = {
        "input_size": [8, 8],
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bilinear",
        "antialias": True,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "channel_order": "rgb",
        "exif": "apply",
        "rgb": "white",
    }
    assert sha256_json(PLAIN.to_json()) == sha256_json(before)


WRONG = {
    "black": "rgb is 'black', which is unknown; known: white, drop, range=0:4095",
    "range=4095": "expected range=LOW:HIGH with 0 <= LOW < HIGH <= 65535, such as range=0:4095",
    "range=9:9": "expected range=LOW:HIGH",
    "range=0:65536": "expected range=LOW:HIGH",
    "range=-1:5": "expected range=LOW:HIGH",
    "white,drop": "rgb is 'white,drop', which is unknown",
    "": "rgb is '', which is unknown",
}


@pytest.mark.parametrize("text", WRONG)
def test_rules_that_are_none(text):
    with pytest.raises(UsageError) as told:
        RgbRule.parse(text)
    assert WRONG[text] in str(told.value)


# What a check says --------------------------------------------------------------------------------------------

USED = {  # largest values, and the bits that are named
    "12 bits": ([4095, 3000], 12),
    "10 bits": ([1023, 700], 10),
    "8 bits": ([255, 12], 8),
    "14 bits": ([16383, 90], 14),
    "between": ([2500, 90], 12),
    "one picture uses all": ([4095, 60_000], 0),
    "15 bits": ([32_000, 90], 0),
}


@pytest.mark.parametrize("situation", USED)
def test_the_bits_in_use_are_named(tmp_path, situation):
    largest, bits = USED[situation]
    for name, value in zip(("cat", "dog"), largest, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(sixteen(np.full((8, 8), value)))
    found = check_dataset(tmp_path)
    assert (found.deep, found.bits) == (2, bits)
    assert found.shallow == ({"cat/1.png": largest[0], "dog/1.png": largest[1]} if bits else {})
    assert found.to_json()["bits"] == bits
