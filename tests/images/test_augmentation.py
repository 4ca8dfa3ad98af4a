"""Views: what is drawn against torchvision's distributions, the pixels against its own, and that draws repeat."""

import hashlib
import io
import json
import math
import runpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from featcache.errors import ImageError, UsageError
from featcache.images import random_views as drawing
from featcache.images.augmentation import COLOURS, CROPS, Augmentation
from featcache.images.random_views import decode_view
from featcache.images.resizing import prepare
from featcache.images.transforms import Transforms
from featcache.images.views import draw_views

PHOTOS = runpy.run_path(str(Path(__file__).parents[1] / "goldens" / "photos.py"))
photo = PHOTOS["photo"]
GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "torchvision_augmentation.npz")
STEP = 5  # of make_augmentation_goldens.py
SIZE = (97, 131)
JITTER = dict(zip(COLOURS, (0.4, 1.5, 0.4, 0.1), strict=True))
QUANTILES = np.linspace(0, 1, 21)


def make(height: int, width: int, **changes) -> Transforms:
    usual = {"crop_mode": "squash", "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    return Transforms(input_size=(height, width), **usual | changes)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def draw(data: bytes, words: str, transforms: Transforms, number: int, seed: int = 0) -> np.ndarray:
    image = hashlib.sha256(data).digest()
    return decode_view(data, transforms, Augmentation.parse(words), seed=seed, image=image, number=number)


# ---- what is drawn


def philox(key: int, count: int) -> list[int]:
    """Philox 4×64 with 10 rounds, as Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3") have it."""
    mask, words = 2**64 - 1, []
    for counter in range(1, -(-count // 4) + 1):  # numpy counts before it draws
        x, k = [counter, 0, 0, 0], [key & mask, key >> 64]
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
            x = [b >> 64 ^ x[1] ^ k[0], b & mask, a >> 64 ^ x[3] ^ k[1], a & mask]
            k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
        words += x
    return words[:count]


@pytest.mark.parametrize(("seed", "image", "number"), [(0, bytes(32), 1), (-7, b"photo", 300)])
def test_draws_are_those_of_the_published_generator(seed, image, number):
    key = hashlib.sha256(f"{seed}:{number}:".encode() + image).digest()
    words = philox(int.from_bytes(key[:16], "little"), drawing.PLACES)
    want = [(word >> 11) / 2**53 for word in words]
    assert drawing.draw_numbers(seed, image, number).tolist() == want


def test_draws_are_the_same_for_ever():
    first = drawing.draw_numbers(0, bytes(32), 1)[:4].tolist()
    assert first == [0.30216222792771397, 0.39971060839560424, 0.9996353566607229, 0.7919236431522158]
    assert drawing.draw_numbers(-7, b"photo", 300)[[0, 50]].tolist() == [
        0.21887696697835324,
        0.614763287387563,
    ]


def test_each_of_seed_image_and_number_decides():
    draws = {
        drawing.draw_numbers(seed, image, number).tobytes()
        for seed in (0, 1, 11)
        for image in (b"a", b"b", b"1:a")
        for number in (1, 2, 11)
    }
    assert len(draws) == 27


def boxes_of(height: int, width: int, count: int = 4000) -> np.ndarray:
    """Left, top, right, bottom of drawn boxes, float ``[count, 4]``."""
    crop = Augmentation(crop="random-resized")
    numbers = (drawing.draw_numbers(0, b"picture", number)[drawing._BOXES] for number in range(count))
    return np.array([drawing._box(width, height, crop, n.reshape(-1, 4).tolist()) for n in numbers], float)


def assert_same_distribution(mine: np.ndarray, quantiles: np.ndarray) -> None:
    # 4,000 draws of ours against quantiles of 20,000 of torchvision's. By the DKW inequality the empirical
    # distributions are off by more than 0.025 and 0.012 with a probability of 1 % and 0.6 %; the seed is fixed.
    # A quantile may stand on a lump (the central box): then its share lies between both sides of the step.
    below = np.array([(mine < quantile - 1e-9).mean() for quantile in quantiles])
    up_to = np.array([(mine <= quantile + 1e-9).mean() for quantile in quantiles])
    np.testing.assert_array_less(below - 0.037, QUANTILES)
    np.testing.assert_array_less(QUANTILES, up_to + 0.037)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (60, 400)])
def test_boxes_are_distributed_as_torchvisions(height, width):
    left, top, right, bottom = boxes_of(height, width).T
    w, h = right - left, bottom - top
    drawn = {
        "area": w * h / (height * width),
        "aspect": np.log(w / h),
        "left": left / np.maximum(width - w, 1),
        "top": top / np.maximum(height - h, 1),
    }
    for mine, quantiles in zip(drawn.values(), GOLDENS[f"drawn/{height},{width}"], strict=True):
        assert_same_distribution(mine, quantiles)


def test_colour_factors_are_distributed_as_torchvisions(monkeypatch):
    seen: dict[str, list[float]] = {name: [] for name in JITTER}
    for name in JITTER:
        monkeypatch.setitem(drawing._CHANGES, name, lambda view, f, name=name: seen[name].append(f) or view)
    picture, policy = Image.new("RGB", (2, 2)), Augmentation(**JITTER)
    for number in range(4000):
        drawing.apply_view(picture, make(2, 2), policy, drawing.draw_numbers(0, b"picture", number))
    for factors, quantiles in zip(seen.values(), GOLDENS["factors"].T, strict=True):
        assert_same_distribution(np.array(factors), quantiles)


def test_what_is_drawn_for_crops_and_flips_stays_when_colours_are_added():
    data, size = png(photo(40, 60)), make(16, 16)
    plain = [draw(data, "flip,crop", size, n) for n in range(1, 9)]
    # A strength of 1e-9 rounds to no change, but it is drawn.
    coloured = [draw(data, "flip,crop,colour=1e-9:1e-9:1e-9:0", size, n) for n in range(1, 9)]
    np.testing.assert_array_equal(plain, coloured)


# ---- pixels


def drawn_for(box: tuple[int, int, int, int], picture: tuple[int, int], wide: Augmentation) -> np.ndarray:
    """The numbers with which that very box is drawn."""
    (left, top, right, bottom), (height, width) = box, picture
    w, h = right - left, bottom - top
    area = (w * h / (width * height) - wide.scale[0]) / (wide.scale[1] - wide.scale[0])
    aspect = math.log(w / h / wide.ratio[0]) / math.log(wide.ratio[1] / wide.ratio[0])
    drawn = np.zeros(drawing.PLACES)
    drawn[drawing._BOXES][:4] = area, aspect, (left + 0.5) / (width - w + 1), (top + 0.5) / (height - h + 1)
    return drawn


@pytest.mark.parametrize("name", [name for name in GOLDENS if name.startswith("crop/")])
def test_a_box_gives_torchvisions_pixels(name):
    left, top, right, bottom = (int(side) for side in name.partition("/")[2].split(","))
    wide = Augmentation(crop="random-resized", scale=(1e-6, 1), ratio=(1 / 200, 200))
    drawn = drawn_for((left, top, right, bottom), SIZE, wide)
    view = drawing.apply_view(Image.fromarray(photo(*SIZE)), make(48, 40), wide, drawn)
    np.testing.assert_array_equal(np.asarray(view)[::STEP, ::STEP], GOLDENS[name])


COLOURED = [name for name in GOLDENS if name.partition("/")[0] in drawing.COLOURS]


@pytest.mark.parametrize("name", COLOURED)
def test_a_factor_gives_torchvisions_pixels(name):
    change, factor = name.partition("/")[0], float(name.partition("/")[2])
    strength = 0.5 if change == "hue" else 1.0
    policy = Augmentation(**{change: strength})
    drawn = np.zeros(drawing.PLACES)
    least = -strength if change == "hue" else 1 - strength
    drawn[drawing._FACTORS] = (factor - least) / (2 * strength)
    view = drawing.apply_view(Image.fromarray(photo(*SIZE)), make(*SIZE), policy, drawn)
    np.testing.assert_array_equal(np.asarray(view)[::STEP, ::STEP], GOLDENS[name])


def test_colours_change_in_an_order_that_is_drawn():
    picture, policy = Image.fromarray(photo(24, 32)), Augmentation(brightness=0.8, contrast=0.8)
    first = []
    for number in range(60):
        drawn = drawing.draw_numbers(0, b"picture", number)
        bright, contrast = (0.2 + 1.6 * drawn[drawing._FACTORS][:2]).tolist()
        changes = (
            lambda view, f=bright: ImageEnhance.Brightness(view).enhance(f),
            lambda view, f=contrast: ImageEnhance.Contrast(view).enhance(f),
        )
        ways = [changes[1](changes[0](picture)), changes[0](changes[1](picture))]
        view = np.asarray(drawing.apply_view(picture, make(24, 32), policy, drawn))
        same = [np.array_equal(view, np.asarray(way)) for way in ways]
        assert any(same)
        if same[0] != same[1]:
            first.append(same[0])
    # Of about 60 fair coins, fewer than 12 heads or tails have a probability below 1e-6.
    assert 12 < sum(first) < len(first) - 12


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_flips_are_exact_mirrors_and_as_frequent_as_asked(interpolation):
    data, size = png(photo(40, 60)), make(16, 24, interpolation=interpolation)
    plain = prepare(data, size)
    flipped = []
    for number in range(400):
        view = draw(data, "flip=0.3", size, number)
        mirrored = np.array_equal(view, plain[:, ::-1])
        assert mirrored or np.array_equal(view, plain)
        flipped.append(mirrored)
    # Three standard deviations of the mean of 400 draws are 0.069.
    assert abs(np.mean(flipped) - 0.3) < 0.069
    assert np.array_equal(draw(data, "flip=1", size, 1), plain[:, ::-1])


@pytest.mark.parametrize(
    ("picture", "size"), [((60, 90), (32, 32)), ((90, 50), (32, 32)), ((64, 64), (24, 40))]
)
def test_square_crops_are_pieces_of_the_picture_resized_to_the_margin(picture, size):
    data, margin = png(photo(*picture)), 6
    covering = (size[0] + margin, size[1] + margin)
    scale = max(covering[0] / picture[0], covering[1] / picture[1])
    height, width = (int(side * scale + 1e-9) for side in picture)
    whole = np.asarray(
        Image.open(io.BytesIO(data)).resize((width, height), Image.Resampling.BILINEAR)
    ).astype(int)
    places = set()
    for number in range(40):
        view = draw(data, f"random-square-crop={margin}", make(*size), number)
        found = [
            (top, left)
            for top in range(height - size[0] + 1)
            for left in range(width - size[1] + 1)
            # One grey level: Pillow takes a resize's box in float32.
            if np.abs(whole[top : top + size[0], left : left + size[1]] - view).max() <= 1
        ]
        assert len(found) == 1
        places.add(found[0])
    # 40 even draws: the first and the last fifth stay empty with a probability of 1e-4 each; the draws are fixed.
    for found, room in zip(zip(*places, strict=True), (height - size[0], width - size[1]), strict=True):
        assert min(found) <= 0.2 * room
        assert max(found) >= 0.8 * room
    assert len(places) > 25


def test_exif_and_transparency_follow_the_transforms_and_crops_see_the_upright_picture():
    upright, stream = photo(40, 60), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° to see it upright
    ImageOps.exif_transpose(Image.fromarray(upright)).transpose(Image.Transpose.ROTATE_90).save(
        stream, "PNG", exif=exif
    )
    size, image = make(16, 16), b"the same draw"
    policy = Augmentation.parse("flip,crop,colour")
    a = decode_view(stream.getvalue(), size, policy, seed=0, image=image, number=3)
    b = decode_view(png(upright), size, policy, seed=0, image=image, number=3)
    np.testing.assert_array_equal(a, b)
    clear = np.dstack([upright, np.zeros(upright.shape[:2], np.uint8)])
    assert (
        decode_view(png(clear), size, Augmentation(crop="random-resized"), seed=0, image=image, number=3)
        == 255
    ).all()
    dropped = make(16, 16, rgb="drop")
    c = decode_view(png(clear), dropped, policy, seed=0, image=image, number=3)
    np.testing.assert_array_equal(c, b)


# ---- views of an image


@pytest.mark.parametrize("mode", ["center", "squash", "crop_or_pad"])
def test_a_plain_policy_gives_the_prepared_picture(mode):
    data, size = png(photo(50, 70)), make(32, 40, crop_mode=mode)
    assert Augmentation().plain
    assert not Augmentation(flip=0.1).plain
    np.testing.assert_array_equal(draw(data, "none", size, 5), prepare(data, size))


def test_numbered_views_are_the_plain_picture_and_then_each_by_its_number():
    data, size, policy = png(photo(50, 70)), make(32, 40), Augmentation.parse("flip,crop,colour")
    views = draw_views(data, size, policy, seed=3, image=b"x", count=5)
    assert views.shape == (5, 32, 40, 3)
    assert views.dtype == np.uint8
    np.testing.assert_array_equal(views[0], prepare(data, size))
    for number in range(1, 5):
        one = decode_view(data, size, policy, seed=3, image=b"x", number=number)
        np.testing.assert_array_equal(views[number], one)
        assert not np.array_equal(one, views[number - 1])
    assert draw_views(data, size, policy, seed=3, image=b"x", count=1).shape[0] == 1


def test_views_are_the_same_in_any_order_on_any_thread():
    data, size = png(photo(50, 70)), make(16, 16)
    alone = [draw(data, "flip,crop,colour", size, number) for number in range(16)]
    with ThreadPoolExecutor(4) as pool:
        backwards = list(pool.map(lambda n: draw(data, "flip,crop,colour", size, n), range(15, -1, -1)))
    np.testing.assert_array_equal(alone, backwards[::-1])


def test_bytes_that_are_no_picture_have_the_usual_reason():
    with pytest.raises(ImageError, match="truncated"):
        draw(png(photo(50, 70))[:400], "flip,crop", make(8, 8), 1)


SIDES = st.one_of(st.integers(1, 40), st.sampled_from([1, 2, 400, 3000]))


@given(SIDES, SIDES, st.integers(1, 24), st.integers(1, 24), st.sampled_from(CROPS), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_pictures_and_inputs_of_any_size_work(height, width, to_height, to_width, crop, number):
    data = png(np.full((height, width, 3), 77, np.uint8))
    policy = Augmentation(crop=crop, flip=0.5, **({"margin": 3} if crop == "random-square" else {}))
    for mode in ("center", "squash"):
        size = make(to_height, to_width, crop_mode=mode)
        view = decode_view(data, size, policy, seed=0, image=b"x", number=number)
        assert view.shape == (to_height, to_width, 3)
        assert (view == 77).all(), "no place of a crop lies outside the picture"


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.floats(1e-4, 1),
    st.floats(1e-3, 1e3),
    st.floats(1, 50),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=40, max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_a_box_lies_inside_and_is_never_empty(width, height, least, narrow, span, numbers):
    policy = Augmentation(crop="random-resized", scale=(least, 1), ratio=(narrow, narrow * span))
    left, top, right, bottom = drawing._box(width, height, policy, np.reshape(numbers, (10, 4)).tolist())
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


# ---- the record and its words

AUGMENTATIONS = st.one_of(
    st.fixed_dictionaries({"crop": st.just("none")}),
    st.fixed_dictionaries({"crop": st.just("random-square"), "margin": st.integers(0, 500)}),
    st.fixed_dictionaries(
        {
            "crop": st.just("random-resized"),
            "scale": st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1)),
            "ratio": st.sampled_from([(3 / 4, 4 / 3), (1, 1), (0.1, 7.3)]),
        }
    ),
)
STRENGTHS = st.sampled_from([0, 0.1, 0.25, 0.4, 1 / 3, 1.7])


@given(AUGMENTATIONS, st.sampled_from([0, 0.5, 1, 1 / 3]), STRENGTHS, STRENGTHS, st.floats(0, 0.5))
@settings(max_examples=100, deadline=None)
def test_words_and_json_read_back(fields, flip, brightness, contrast, hue):
    colours = {"brightness": brightness, "contrast": contrast, "saturation": brightness, "hue": hue}
    given_one = Augmentation(flip=flip, **colours, **fields)
    assert Augmentation.parse(str(given_one)) == given_one
    assert Augmentation.from_json(json.loads(json.dumps(given_one.to_json()))) == given_one


@pytest.mark.parametrize(
    ("text", "fields", "spelt"),
    [
        ("none", {}, "none"),
        ("flip", {"flip": 0.5}, "flip"),
        ("crop", {"crop": "random-resized"}, "random-resized-crop"),
        (" crop=0.25 ", {"crop": "random-resized", "scale": (0.25, 1)}, "random-resized-crop=0.25:1.0"),
        ("crop, flip", {"crop": "random-resized", "flip": 0.5}, "flip,random-resized-crop"),
        ("random-square-crop", {"crop": "random-square"}, "random-square-crop"),
        ("random-square-crop=32", {"crop": "random-square", "margin": 32}, "random-square-crop=32"),
        ("color", {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}, "colour"),
        ("colour=0.2", {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05}, "colour=0.2"),
        ("colour=0:0:1:0", {"saturation": 1}, "colour=0.0:0.0:1.0:0.0"),
    ],
)  # fmt: skip
def test_words(text, fields, spelt):
    assert Augmentation.parse(text) == Augmentation(**fields)
    assert str(Augmentation.parse(text)) == spelt


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flop", r"augmentation 'flop': 'flop' is unknown; did you mean 'flip'\?"),
        ("flip,random-resize-crop", "did you mean 'random-resized-crop'"),
        (
            "rotate",
            "'rotate' is unknown; known: none, flip, random-resized-crop, random-square-crop, colour, crop",
        ),
        ("", "a word is missing; known: none, flip"),
        ("flip,,crop", "a word is missing"),
        ("none,flip", "none stands alone, or not at all"),
        ("none=1", "'none' is unknown"),
        ("flip,flip=0.1", "has flip twice; give it once"),
        ("crop,random-resized-crop", "has random-resized-crop twice"),
        ("crop,random-square-crop", "has two crops; choose one"),
        ("flip=often", "flip takes a probability: flip=0.5; not 'often'"),
        ("flip=", "flip takes a probability"),
        ("flip=1.5", "flip is 1.5, expected a probability, 0 to 1"),
        ("crop=0.1:0.5:1", "random-resized-crop takes LEAST, LEAST:MOST or"),
        ("crop=0", r"scale is \(0.0, 1.0\), expected shares of the area with 0 < least <= most <= 1"),
        ("random-square-crop=2.5", "random-square-crop takes a margin in pixels"),
        ("random-square-crop=-1", "margin is -1, expected 0 pixels or more"),
        ("random-square-crop=inf", "random-square-crop takes a margin in pixels"),
        ("colour=1:2", "colour takes one strength, or brightness:contrast:saturation:hue"),
        ("colour=3", "hue is 0.75, expected a strength of 0 to 0.5 turns"),
        ("colour=nan", "brightness is nan, expected a number"),
    ],
)
def test_words_that_cannot_work(text, message):
    with pytest.raises(UsageError, match=message):
        Augmentation.parse(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop": "random-resize"}, "crop is 'random-resize', which is unknown; did you mean 'random-resized'"),
        ({"crop": "random-resized", "scale": 0.5}, "scale is 0.5, expected two numbers: least, most"),
        ({"crop": "random-resized", "scale": (0.5, 1.2)}, "expected shares of the area"),
        ({"crop": "random-resized", "ratio": (2, 1)}, r"ratio is \(2.0, 1.0\), expected width / height"),
        ({"crop": "random-resized", "margin": 3}, "margin 3 means nothing with crop 'random-resized'"),
        ({"scale": (0.5, 1)}, r"scale \(0.5, 1.0\) means nothing with crop 'none'; it belongs to 'random-resized'"),
        ({"margin": 1.0}, "margin is 1.0, expected a whole number of pixels"),
        ({"flip": True}, "flip is True, expected a number"),
        ({"brightness": "0.4"}, "brightness is '0.4', expected a number"),
        ({"contrast": -0.1}, r"contrast is -0.1, expected a strength of 0 \(off\) or more"),
        ({"hue": 0.6}, "hue is 0.6, expected a strength of 0 to 0.5"),
    ],
)  # fmt: skip
def test_values_that_cannot_work(fields, message):
    with pytest.raises(UsageError, match=message):
        Augmentation(**fields)


def test_json_that_cannot_work():
    good = Augmentation(flip=0.5).to_json()
    with pytest.raises(UsageError, match="unknown keys: flips; did you mean 'flip'"):
        Augmentation.from_json({**good, "flips": 1})
    with pytest.raises(UsageError, match="lacks keys: crop, hue; every field"):
        Augmentation.from_json({k: v for k, v in good.items() if k not in ("crop", "hue")})
    with pytest.raises(UsageError, match="a JSON object, not list"):
        Augmentation.from_json([])  # pyright: ignore[reportArgumentType]


def test_numbers_are_plain_python_whatever_came_in():
    odd = Augmentation(flip=np.float32(1), hue=-0.0, crop="random-square", margin=np.int64(4))
    assert odd == Augmentation(flip=1.0, crop="random-square", margin=4)
    assert json.dumps(odd.to_json()) == json.dumps(
        Augmentation(flip=1.0, crop="random-square", margin=4).to_json()
    )


def test_people_are_told():
    text = Augmentation.parse("flip,random-square-crop=32,colour=0.2").describe()
    assert text == (
        "random crop of the picture resized to 32 pixels more than the input; flipped with probability 0.5; "
        "brightness ±0.2, contrast ±0.2, saturation ±0.2, hue ±0.05"
    )
    assert Augmentation().describe() == "the plain picture"
