"""The section on the recipe: one photo before and after, as the network gets it, and the facts."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from PIL import Image

from featcache import Classifier, Transforms, train_head
from featcache.report.material import Material
from featcache.report.sections import recipe

PLAIN = Transforms(
    input_size=(32, 32), crop_mode="center", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
)


def encoded(array, **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", **options)
    return stream.getvalue()


def pixels_of(picture):
    head, _, text = picture.url.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).astype(int)


@pytest.fixture
def red_left():
    """A photo whose left third is red, whose middle is green, and whose right third is blue."""
    array = np.zeros((40, 120, 3), np.uint8)
    for third in range(3):
        array[:, 40 * third : 40 * third + 40, third] = 255
    return array


def test_the_photo_after_is_what_the_network_gets(red_left):
    before, after = recipe.pictures_of(encoded(red_left), PLAIN)
    assert (before.width, before.height) == (120, 40)
    assert "40×120 pixels (height × width)" in before.caption
    assert (after.width, after.height) == (32, 32)
    assert np.abs(pixels_of(after).mean(axis=(0, 1)) - [0, 255, 0]).max() < 12, (
        "the centre crop keeps the green"
    )
    squashed = recipe.pictures_of(encoded(red_left), replace(PLAIN, crop_mode="squash"))[1]
    assert np.abs(pixels_of(squashed).mean(axis=(0, 1)) - 85).max() < 12


def test_exchanged_colours_are_seen_and_said(red_left):
    own = replace(PLAIN, crop_mode="squash", channel_order="bgr")
    after = recipe.pictures_of(encoded(red_left), own)[1]
    left = pixels_of(after)[8:24, 2:8].mean(axis=(0, 1))
    assert np.abs(left - [0, 0, 255]).max() < 40, "red is blue to this network"
    assert "red and blue are exchanged" in after.caption


def test_the_photo_before_is_upright_whatever_the_recipe_does(red_left):
    exif = Image.Exif()
    exif[0x0112] = 6
    before, _ = recipe.pictures_of(encoded(red_left, exif=exif), replace(PLAIN, exif="ignore"))
    assert (before.width, before.height) == (40, 120)


@pytest.fixture
def material(tmp_path):
    features, labels = blobs(60)
    cache = feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 40 + ["test"] * 20)
    classifier = train_head(cache, output=tmp_path / "c", head="ridge")
    return Material(
        path=tmp_path, sprites=None, cache=cache, classifier=classifier, moved="There are no pictures."
    )


def test_facts_are_those_of_cache_and_classifier(material):
    cache, classifier = material.cache, material.classifier
    found = recipe.section(material)
    assert found.data["identity"]["features"] == classifier.fingerprint
    assert found.data["identity"]["weights"] == cache.recipe["backbone"]["weights_sha256"]
    assert found.data["identity"]["photos"] == cache.identity["rows"]["sha256"]
    assert found.data["network"]["layer"] == "pool"
    assert found.data["network"]["layers kept"] == "pool 12"
    assert found.data["cost"]["features"] == "48 bytes"
    assert found.data["cost"]["parameters"] == "3.5 million"
    assert found.data["made"]["dataset"] == "photos"
    assert found.content["without"] == "There are no pictures."
    assert (
        found.headline == "mobilenet_v2.tv_in1k sees photos of 224×224 pixels; a ridge head on its layer pool"
    )


def test_a_cache_alone_and_a_classifier_alone_have_one_too(material):
    alone = recipe.section(replace(material, classifier=None))
    assert alone.data["identity"]["layer pool"] == material.cache.layers["pool"].fingerprint
    assert alone.headline.endswith("kept are pool 12")
    saved = recipe.section(replace(material, cache=None))
    assert saved.data["identity"]["features"] == material.classifier.fingerprint
    assert recipe.section(replace(material, cache=None, classifier=None)) is None


def test_a_photo_that_cannot_be_read_leaves_its_place_to_the_next(material, red_left, monkeypatch):
    rows = material.cache.rows_of("test")
    data = encoded(red_left)
    asked = []

    def read(name):
        asked.append(name)
        if len(asked) < 3:
            raise OSError(2, "gone")
        return data

    monkeypatch.setattr(recipe, "_read_transforms", lambda recipe: PLAIN)
    found = recipe.section(replace(material, rows=rows, read=read))
    assert found.data["photo"] == asked[2] in {material.cache.ids[row] for row in rows}
    assert len(found.content["pictures"]) == 2


def test_a_saved_classifier_has_the_same_facts(material, tmp_path):
    again = replace(material, classifier=Classifier.load(tmp_path / "c"))
    assert recipe.section(again).data == recipe.section(material).data
