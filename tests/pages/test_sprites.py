"""Thumbnails on sheets are the photos', each once, and what cannot be read is said."""

import base64
import io

import numpy as np
from helpers.sample_page import photo_bytes
from PIL import Image

from featcache.errors import ImageError
from featcache.pages.sprites import Sprites, Thumbnail, thumbnail_pixels

SIZES = {"wide": (300, 120), "high": (90, 260), "small": (20, 30), "line": (400, 1)}


def read(name: str) -> bytes:
    return photo_bytes(len(name), SIZES.get(name, (160, 120)))


def decoded(sheet: str) -> np.ndarray:
    assert sheet.startswith("data:image/webp;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.partition(",")[2]))).convert("RGB"))


def test_pixels_are_the_photos_within_the_loss_of_webp():
    sprites = Sprites(read)
    places = {name: sprites.of(name) for name in SIZES}
    (sheet,) = map(decoded, sprites.sheets())
    for name, place in places.items():
        wanted = Image.open(io.BytesIO(read(name)))
        wanted.thumbnail((96, 96), Image.Resampling.LANCZOS)
        found = sheet[place.y :, place.x :][: place.height, : place.width].astype(int)
        assert (place.width, place.height) == wanted.size, name
        assert np.abs(found - np.asarray(wanted)).mean() < 6, name


def test_a_photo_is_drawn_once():
    asked = []
    sprites = Sprites(lambda name: (asked.append(name), read(name))[1])
    assert sprites.of("a") is sprites.of("a")
    assert asked == ["a"]


def test_sheets_fill_row_by_row():
    sprites = Sprites(read, side=16)
    places = [sprites.of("x" * (number + 1)) for number in range(258)]
    assert places[1] == Thumbnail(0, 16, 0, 16, 12)
    assert places[16] == Thumbnail(0, 0, 16, 16, 12)
    assert places[257] == Thumbnail(1, 16, 0, 16, 12)
    assert [decoded(sheet).shape for sheet in sprites.sheets()] == [(256, 256, 3), (16, 32, 3)]


def test_what_cannot_be_read_has_no_picture_and_a_reason():
    def broken(name: str) -> bytes:
        if name == "gone":
            raise FileNotFoundError("gone.jpg is not there")
        if name == "left out":
            raise ImageError("damaged", "JPEG of 3 bytes")
        return b"no picture"

    sprites = Sprites(broken)
    assert [sprites.of(name) for name in ("gone", "left out", "text")] == [None, None, None]
    assert sprites.missing["gone"] == "gone.jpg is not there"
    assert "damaged" in sprites.missing["left out"]
    assert "not an image" in sprites.missing["text"]
    assert sprites.sheets() == []


def test_without_a_reader_there_are_no_pictures():
    sprites = Sprites(None)
    assert sprites.of("a") is None
    assert sprites.sheets() == []


def test_no_more_than_the_most_are_taken():
    sprites = Sprites(read, most=2)
    assert [sprites.of(name) is not None for name in ("a", "bb", "ccc", "a")] == [True, True, False, True]
    assert sprites.missing == {"ccc": "the page shows 2 pictures at most"}


def test_quality_gives_way_to_size():
    def noise(name: str) -> bytes:
        stream = io.BytesIO()
        pixels = np.random.default_rng(len(name)).integers(0, 255, (96, 96, 3), np.uint8)
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()

    sizes = []
    for nbytes in (10_000_000, 80_000):
        sprites = Sprites(noise, nbytes=nbytes)
        assert all(sprites.of("x" * (number + 1)) for number in range(16))
        sizes.append(sum(map(len, sprites.sheets())))
    assert sizes[1] <= 80_000 < sizes[0]


def test_the_same_photos_give_the_same_bytes():
    def sheets():
        sprites = Sprites(read)
        for name in SIZES:
            sprites.of(name)
        return sprites.sheets()

    assert sheets() == sheets()


def test_photos_stand_upright():
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100), "red").save(stream, "JPEG", exif=exif)
    assert thumbnail_pixels(stream.getvalue(), 96).shape == (96, 48, 3)
