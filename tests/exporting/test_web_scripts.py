"""The page's scripts under node: pixels and orientations as Pillow has them, words as `featcache predict`."""

import base64
import io
import json

import numpy as np
import PIL
import pytest
from helpers.web_demo import CLASSES, described, transforms, under_node
from PIL import ExifTags, Image

from featcache.classifier.prediction import read_values
from featcache.core.tasks import MULTICLASS, MULTILABEL
from featcache.exporting.web import _tall_first
from featcache.images.decoding import read
from featcache.images.resizing import pixels

METHODS = ("bilinear", "bicubic", "lanczos", "nearest")

FIT = """
import { fit } from "./pixels.js";
let at = 0;
const parts = given.cases.map(({ width, height, transforms }) => {
  const image = { width, height, data: data.subarray(at, (at += width * height * 3)) };
  return Buffer.from(fit(image, transforms, { tallFirst: given.tallFirst }).data);
});
answer(Buffer.concat(parts));
"""


def _picture(rng, height, width):
    """Noise, black and white noise (sums overshoot), or a slope (sums lie near a half)."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == 1:
        return rng.integers(0, 2, (height, width, 3), dtype=np.uint8) * np.uint8(255)
    slope = np.add.outer(2 * np.arange(height), np.arange(width))[..., None] + np.arange(3)
    return (slope % 256).astype(np.uint8)


def _random_cases(count):
    rng = np.random.default_rng(20)
    for _ in range(count):
        mode = str(rng.choice(["center", "squash", "crop_or_pad"]))
        side = int(rng.integers(1, 97))
        size = (side, side if rng.random() < 0.6 else int(rng.integers(1, 97)))
        share = 1.0 if mode == "crop_or_pad" or rng.random() < 0.3 else float(rng.uniform(0.3, 1))
        given = transforms(
            input_size=size, crop_mode=mode, crop_pct=share, interpolation=str(rng.choice(METHODS))
        )
        yield _picture(rng, int(rng.integers(1, 260)), int(rng.integers(3, 260))), given


def _huge_resize():
    """Whole pictures of more than 2²⁴ pixels after their resize: only the crop is resized, in a box of float32."""
    rng = np.random.default_rng(21)
    for method in METHODS:
        for height, width in ((3, 40), (50, 3)):
            given = transforms(input_size=(8, 8), crop_pct=1 / 256, interpolation=method)
            yield _picture(rng, height, width), given


@pytest.mark.parametrize("cases", [lambda: _random_cases(600), _huge_resize], ids=["random", "only the crop"])
def test_pictures_are_fitted_as_pillow_fits_them(tmp_path, cases):
    made = list(cases())
    given = [
        {"width": array.shape[1], "height": array.shape[0], "transforms": own.to_json()}
        for array, own in made
    ]
    tall = _tall_first(PIL.__version__)
    data = b"".join(array.tobytes() for array, _ in made)
    found = np.frombuffer(under_node(tmp_path, FIT, {"cases": given, "tallFirst": tall}, data), np.uint8)
    wanted = np.concatenate([pixels(array, own).ravel() for array, own in made])
    assert found.shape == wanted.shape
    # Equal, where this was measured (x86-64). A compiler that contracts a * b + c to one rounding, as on ARM, moves a
    # weight by one of its 2^22 parts now and then, and a value that lies on a half of a grey level by one level.
    apart = np.abs(found.astype(int) - wanted)
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1e-4 * apart.size


def test_a_tall_picture_is_resampled_in_the_order_that_is_asked_for(tmp_path):
    """Pillow 13 takes the other order than its versions before: both are there, and they differ."""
    array = np.random.default_rng(0).integers(0, 2, (200, 60, 3), dtype=np.uint8) * np.uint8(255)
    own = transforms(input_size=(40, 40), crop_mode="squash", crop_pct=1)
    given = [{"width": 60, "height": 200, "transforms": own.to_json()}]
    image = Image.fromarray(array)
    for tall, middle in ((True, (60, 40)), (False, (40, 200))):
        wanted = image.resize(middle, Image.Resampling.BICUBIC).resize((40, 40), Image.Resampling.BICUBIC)
        found = under_node(tmp_path, FIT, {"cases": given, "tallFirst": tall}, array.tobytes())
        assert np.abs(np.frombuffer(found, np.uint8).reshape(40, 40, 3).astype(int) - wanted).max() <= 1
    orders = [
        under_node(tmp_path, FIT, {"cases": given, "tallFirst": tall}, array.tobytes())
        for tall in (True, False)
    ]
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    ("version", "tall"), [("11.3.0", False), ("12.2.0", False), ("13.0.0", True), ("14.1.0.dev0", True)]
)
def test_the_order_is_that_of_the_pillow_that_is_installed(version, tall):
    assert _tall_first(version) is tall


# ---- orientation

ORIENT = """
import { takeOrientation } from "./exif.js";
let at = 0;
const found = given.map((length) => {
  const { orientation, parts, format } = takeOrientation(new Uint8Array(data.subarray(at, (at += length))));
  return { orientation, format, bytes: Buffer.concat(parts).toString("base64") };
});
answer(JSON.stringify(found));
"""


def _orientations(folder, photos):
    text = under_node(folder, ORIENT, [len(photo) for photo in photos], b"".join(photos))
    return json.loads(text)


def _encoded(kind, **options):
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _exif(number, order=b"II"):
    exif = Image.Exif()
    exif.endian = "<" if order == b"II" else ">"
    exif[ExifTags.Base.Make] = "camera"
    exif[ExifTags.Base.Orientation] = number
    return exif.tobytes()


@pytest.mark.parametrize("order", [b"II", b"MM"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_is_found_and_taken_out(tmp_path, kind, order):
    photos = [_encoded(kind, exif=_exif(number, order)) for number in range(1, 10)] + [_encoded(kind)]
    for number, photo, found in zip([*range(1, 10), 1], photos, _orientations(tmp_path, photos), strict=True):
        assert found["orientation"] == number
        assert found["format"] == kind.lower()
        without = base64.b64decode(found["bytes"])
        # As it was stored, under the rule that would turn it if a number were left.
        np.testing.assert_array_equal(
            read(without, exif="apply", rgb="white"), read(photo, exif="ignore", rgb="white")
        )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_xmp_speaks_where_exif_does_not(tmp_path, kind):
    from PIL.PngImagePlugin import PngInfo

    text = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    note = PngInfo()
    note.add_itxt("XML:com.adobe.xmp", text)
    options = {"pnginfo": note} if kind == "PNG" else {"xmp": text.encode()}
    photos = [_encoded(kind, **options), _encoded(kind, exif=_exif(3), **options)]
    assert [found["orientation"] for found in _orientations(tmp_path, photos)] == [6, 3]


def test_damaged_photos_are_passed_on_without_a_fault(tmp_path):
    rng = np.random.default_rng(4)
    photos = [b"", b"\xff", b"GIF89a", b"\xff\xd8\xff\xe1\0\0"]
    for kind in ("JPEG", "PNG", "WEBP"):
        whole = _encoded(kind, exif=_exif(6))
        photos += [whole[:length] for length in range(0, 200, 3)]
        for _ in range(60):
            bent = bytearray(whole)
            for place in rng.integers(8, min(len(whole), 300), 8):
                bent[place] = rng.integers(256)
            photos.append(bytes(bent))
    assert len(_orientations(tmp_path, photos)) == len(photos)


TURN = """
import { upright } from "./pixels.js";
const parts = given.numbers.map((number) => Buffer.from(upright({ ...given.size, data }, number).data));
answer(Buffer.concat(parts));
"""


def test_photos_are_turned_as_pillow_turns_them(tmp_path):
    array = np.random.default_rng(5).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    numbers = list(range(0, 10))
    found = under_node(
        tmp_path, TURN, {"numbers": numbers, "size": {"width": 7, "height": 5}}, array.tobytes()
    )
    stream = io.BytesIO()
    wanted = b""
    for number in numbers:
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "PNG", exif=_exif(number))
        wanted += read(stream.getvalue(), exif="apply", rgb="white").tobytes()
    assert found == wanted


ALPHA = """
import { withoutAlpha } from "./pixels.js";
const out = new Uint8Array((data.length / 4) * 3);
withoutAlpha(data, given, out);
answer(Buffer.from(out));
"""


@pytest.mark.parametrize("rule", ["white", "drop", "white,range=0:4095"])
def test_transparency_is_composited_as_pillow_does(tmp_path, rule):
    every = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), -1).astype(np.uint8)
    rgba = np.dstack([every[..., :1], 255 - every[..., :1], every[..., 1:], every[..., 1:]])
    stream = io.BytesIO()
    Image.fromarray(rgba).save(stream, "PNG")
    wanted = read(stream.getvalue(), exif="apply", rgb=rule)
    assert under_node(tmp_path, ALPHA, rule, rgba.tobytes()) == wanted.tobytes()


# ---- words

VERDICT = """
import { verdict } from "./verdict.js";
const said = ({ values, distance, description }) => verdict(Float32Array.from(values), distance, description);
answer(JSON.stringify(given.map(said)));
"""


def _verdicts(folder, *cases):
    given = [
        {"values": [float(v) for v in np.float32(values)], "distance": distance, "description": description}
        for values, distance, description in cases
    ]
    return json.loads(under_node(folder, VERDICT, given))


def test_probabilities_are_read_as_predict_reads_them(tmp_path):
    rng = np.random.default_rng(6)
    for task, name in ((MULTICLASS, "multiclass"), (MULTILABEL, "multilabel")):
        values = rng.dirichlet(np.ones(6) / 2, 40).astype(np.float32)
        values[0] = 1 / 6  # ties: the first comes first
        values[1] = np.float32(0.3) - values[1] * 0
        description = described(transforms(), task=name, below=0.3)
        said = _verdicts(tmp_path, *((row, None, description) for row in values))
        for row, found in zip(values, said, strict=True):
            wanted = read_values("x", row, classes=CLASSES, task=task, threshold=0.3, top=5)
            assert [each["name"] for each in found["rows"]] == list(wanted.classes)
            assert [each["text"] for each in found["rows"]] == [
                f"{100 * share:.1f} %" for share in wanted.probabilities
            ]
            assert found["unknown"] is wanted.unknown
            assert found["hidden"] == 1
            if task == MULTILABEL and not wanted.unknown:
                assert found["headline"] == (", ".join(wanted.answers) or "None of the labels")


def test_unknown_is_said_with_its_reasons(tmp_path):
    values = [0.5, 0.3, 0.2, 0, 0, 0]
    sure = described(transforms(), below=0.4, beyond=0.2)
    unsure = described(transforms(), below=0.61, beyond=0.2)
    known, low, far, both, never = _verdicts(
        tmp_path,
        (values, 0.1, sure),
        (values, 0.1, unsure),
        (values, 0.25, sure),
        (values, 0.25, unsure),
        (values, 0.25, described(transforms())),
    )
    assert (known["headline"], known["unknown"], known["reasons"]) == ("cat, 50.0 %", False, [])
    assert low["headline"] == far["headline"] == both["headline"] == "Unknown"
    assert low["reasons"] == [
        "The most probable answer, cat, has 50.0 %; below 61.0 % this classifier says “unknown”."
    ]
    assert far["reasons"] == [
        "The photo is unlike those that the classifier has learned from: its distance is 0.25, and that of photos like "
        "those is 0.2 at most."
    ]
    assert both["reasons"] == low["reasons"] + far["reasons"]
    assert not never["unknown"]


def test_numbers_of_a_regression_are_no_shares(tmp_path):
    description = described(transforms(), task="regression", classes=("weight", "age"), beyond=0.5)
    known, far = _verdicts(tmp_path, ([12.34567, -3], 0.1, description), ([1, 2], 0.9, description))
    assert known["headline"] == "weight: 12.35, age: -3"
    assert known["rows"] == [
        {"name": "weight", "text": "12.35", "share": None},
        {"name": "age", "text": "-3", "share": None},
    ]
    assert far["headline"] == "Unknown (weight: 1, age: 2)"
