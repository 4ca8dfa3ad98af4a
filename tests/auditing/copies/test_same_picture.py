"""Whether two pictures are one."""

import numpy as np
import pytest
from helpers.audited_photos import cropped, encoded, mirrored, scene
from PIL import Image, ImageDraw

from featcache.auditing.copies.same_picture import ALIKE, SURE, likeness, small_picture

ALTERED = {
    "re-encoded": lambda image: encoded(image, 60),
    "resized": lambda image: encoded(image.resize((108, 81), Image.Resampling.BICUBIC)),
    "cropped": lambda image: encoded(cropped(image)),
    "mirrored": lambda image: encoded(mirrored(image)),
    "mirrored and cropped": lambda image: encoded(mirrored(cropped(image))),
}


@pytest.mark.parametrize("relation", ALTERED)
def test_altered_copies_are_one_picture_and_named(relation: str) -> None:
    for seed in range(5):
        image = scene(seed)
        one, other = small_picture(encoded(image)), small_picture(ALTERED[relation](image))
        for pair in ((one, other), (other, one)):
            found = likeness(*pair)
            assert found.agreement > SURE
            assert found.relation() == relation


def test_the_part_that_a_crop_shows_is_found() -> None:
    image = scene(0)
    found = likeness(small_picture(encoded(image)), small_picture(encoded(cropped(image))))
    # Of a side from -1 to 1 the part from -0.9 to 1 is left: 0.95 of it, around 0.05.
    np.testing.assert_allclose([*found.scale, *found.shift], [0.95, 0.95, 0.05, 0.05], atol=0.012)


def test_different_pictures_are_not_alike() -> None:
    pictures = [small_picture(encoded(scene(seed))) for seed in range(7)]
    alike = [likeness(one, other).agreement for one in pictures for other in pictures if one is not other]
    assert max(alike) < ALIKE


def test_a_plain_background_is_no_likeness() -> None:
    pictures = []
    for corners in ((20, 20, 50, 60), (60, 30, 100, 80)):
        image = Image.new("RGB", (120, 90), "white")
        ImageDraw.Draw(image).ellipse(corners, fill="grey")
        pictures.append(small_picture(encoded(image)))
    assert np.mean(np.abs(pictures[0].grey - pictures[1].grey) < 0.02) > 0.6
    assert likeness(*pictures).agreement < ALIKE


def test_blank_pictures_say_nothing() -> None:
    one, other = (
        small_picture(encoded(Image.new("RGB", (90, 90), colour))) for colour in ("white", "#fdfdfd")
    )
    assert likeness(one, other).flat
    assert likeness(one, small_picture(encoded(scene(0)))).flat


def test_a_symmetric_picture_is_not_called_mirrored() -> None:
    half = np.asarray(scene(1, width=60))
    image = Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1))
    found = likeness(small_picture(encoded(image)), small_picture(encoded(mirrored(image), 60)))
    assert found.relation() == "re-encoded"
