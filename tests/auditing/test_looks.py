"""Photos that look odd by themselves."""

import json

import numpy as np
import pytest
from helpers.audited_photos import AuditedPhotos, blurred, encoded, scene
from PIL import Image

from featcache.auditing.appearance import sharpness
from featcache.auditing.looks import find_looks


def grainy(seed: int) -> Image.Image:
    """Return a sharp picture with fine detail."""
    random = np.random.default_rng(seed)
    grain = random.integers(-40, 40, (160, 160, 3))
    pixels = np.asarray(scene(seed, width=160, height=160), int) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def rows() -> AuditedPhotos:
    sharp = grainy(0)
    dark, bright = (
        Image.fromarray(np.asarray(grainy(seed)) // part + more)
        for seed, part, more in ((1, 40, 0), (2, 50, 249))
    )
    pictures = {
        "train/sharp": sharp,
        "train/grey": Image.new("RGB", (160, 160), (120, 130, 140)),
        "train/dark": dark,
        "train/bright": bright,
        "train/blurred": blurred(sharp, 6),
        "train/tiny": scene(3, width=40, height=30),
        "train/long": scene(4, width=400, height=70),
    }
    return AuditedPhotos({name: encoded(image) for name, image in pictures.items()}, np.ones((7, 2)))


def test_each_is_named_for_what_is_odd(rows: AuditedPhotos) -> None:
    found = find_looks(rows, pictures=rows.read)
    told = {entry.id.split("/")[1]: entry for entry in found.entries}
    assert "sharp" not in told
    assert told["grey"].why.startswith("of nearly one colour: its colours deviate by 0.00")
    assert "dark: its brightest part has 0.0" in told["dark"].why
    assert "over-exposed: its darkest part has 0.9" in told["bright"].why
    assert told["blurred"].why.startswith("blurred: its steepest slopes have 1.")
    assert told["tiny"].why == "tiny: its shorter side has 30 pixels"
    assert "of an odd shape: its longer side is 5.7 times the shorter one" in told["long"].why
    assert told["grey"].certain
    assert told["grey"].leave_out == (11,)
    assert found.figures["counts"]["tiny"] == 1
    assert [entry.score for entry in found.entries] == sorted(
        (own.score for own in found.entries), reverse=True
    )
    json.dumps(found.to_json())


def test_without_pictures_only_colours_are_looked_at(rows: AuditedPhotos) -> None:
    found = find_looks(rows, pictures=None)
    assert {entry.id for entry in found.entries} == {"train/grey", "train/dark", "train/bright"}
    assert found.finding.endswith("Blur, size and shape were looked at in 0 of 7 photos.")


def test_pictures_are_read_until_there_are_too_many_bytes(
    rows: AuditedPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.auditing.appearance._AHEAD", 2)
    found = find_looks(rows, pictures=rows.read, most_bytes=1)
    assert found.figures["pictures_read"] == 2
    assert "looked at in 2 of 7 photos" in found.finding


def test_photos_that_cannot_be_read_are_passed_over() -> None:
    rows = AuditedPhotos({"train/gone": b"", "train/sharp": encoded(grainy(0))}, np.ones((2, 2)))
    found = find_looks(rows, pictures=rows.read)
    assert found.figures["pictures_read"] == 1


def test_a_dataset_without_oddities_says_so() -> None:
    rows = AuditedPhotos({"train/sharp": encoded(grainy(0))}, np.ones((1, 2)))
    assert find_looks(rows, pictures=rows.read).finding == "No photo looks odd."


def test_sharpness_of_an_edge_and_of_a_slope() -> None:
    edge = np.zeros((128, 128))
    edge[:, 66:] = 1
    # One step over one pixel, of which 4×4 means make half a step twice: 1 / (2 · (1/2)² / 4) … in the same units.
    slope = np.broadcast_to(np.linspace(0, 1, 128), (128, 128))
    assert sharpness(slope) == pytest.approx(1, rel=0.2)
    assert sharpness(edge) >= 4
    assert np.isnan(sharpness(np.full((128, 128), 0.5)))
    assert np.isnan(sharpness(edge[:40]))
    widths = [
        sharpness(np.asarray(blurred(grainy(0).convert("L"), radius), float) / 255) for radius in (0, 1, 2, 4)
    ]
    assert widths == sorted(widths, reverse=True)
