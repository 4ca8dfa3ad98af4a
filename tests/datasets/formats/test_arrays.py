"""Pictures in memory become records whose bytes hold their pixels and nothing else."""

import hashlib
import io

import numpy as np
import pytest
from helpers.photo_folders import photo, save_photo
from PIL import Image

from featcache.datasets.dataset import UNSPLIT
from featcache.datasets.formats.arrays import encode_pixels, open_arrays
from featcache.errors import DataError, MissingFileError, UsageError
from featcache.estimators.image_records import records_of
from featcache.images.decoding import read as decode

NAMES = ["train/cat/0", "train/cat/1", "train/dog/0"]
PHOTOS = np.stack([photo(name) for name in NAMES])
LABELS = ["cat", "cat", "dog"]


def upright(content: bytes) -> np.ndarray:
    return np.asarray(decode(content, exif="apply", rgb="white"))


def pixels(record) -> np.ndarray:
    return upright(record.read())


def encoded_by_estimators(picture: np.ndarray) -> bytes:
    return next(iter(records_of([picture]))).read()


def png(picture: Image.Image, **how) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", **how)
    return file.getvalue()


# Pictures -----------------------------------------------------------------------------------------------------


def test_a_stack_gives_its_pixels_back_and_its_labels_in_natural_order():
    found = open_arrays(PHOTOS, ["10", "2", "10"], splits=["train", "validation", "test"])
    assert [(r.id, found.classes[r.label], r.split) for r in found.records] == [
        ("0", "10", "train"),
        ("1", "2", "val"),
        ("2", "10", "test"),
    ]
    assert found.classes == ("2", "10")
    for record, picture in zip(found.records, PHOTOS, strict=True):
        np.testing.assert_array_equal(pixels(record), picture)


@pytest.mark.parametrize("grey", [PHOTOS[..., 0], PHOTOS[..., :1]], ids=["NHW", "NHW1"])
def test_grey_stacks_are_decoded_as_grey_pictures(grey):
    found = pixels(open_arrays(grey, LABELS).records[1])
    np.testing.assert_array_equal(found, np.repeat(PHOTOS[1, :, :, :1], 3, axis=2))


def test_bytes_depend_on_pixels_and_shape_alone_and_are_those_of_the_estimators():
    upright, turned = PHOTOS[0], PHOTOS[0].transpose(1, 0, 2)  # not contiguous in memory
    assert encode_pixels(turned) == encode_pixels(turned.copy()) != encode_pixels(upright)
    assert encode_pixels(upright) == encoded_by_estimators(upright)


def test_one_picture_has_the_same_row_hash_from_a_stack_a_list_a_generator_and_pil():
    ways = [
        PHOTOS,
        list(PHOTOS),
        (picture for picture in PHOTOS),
        [Image.fromarray(picture) for picture in PHOTOS],
    ]
    hashes = {
        tuple(hashlib.sha256(r.read()).hexdigest() for r in open_arrays(way, LABELS).records) for way in ways
    }
    assert len(hashes) == 1


def test_a_stack_on_disk_is_read_row_by_row(tmp_path):
    import h5py

    class Counting:
        """An HDF5 dataset that tells which rows were taken."""

        def __init__(self, data):
            self.data, self.shape, self.dtype, self.taken = data, data.shape, data.dtype, []

        def __len__(self):
            return len(self.data)

        def __getitem__(self, row):
            self.taken.append(row)
            return self.data[row]

    with h5py.File(tmp_path / "photos.h5", "w") as file:
        stack = Counting(file.create_dataset("x", data=PHOTOS))
        found = open_arrays(stack, LABELS)
        assert stack.taken == []
        np.testing.assert_array_equal(pixels(found.records[2]), PHOTOS[2])
        assert stack.taken == [2]


def test_files_and_encoded_bytes_keep_their_own_bytes(tmp_path):
    path = save_photo(tmp_path / "cat/a.png", NAMES[0])
    content = png(Image.fromarray(PHOTOS[1]))
    found = open_arrays([path, content, PHOTOS[2]], LABELS, ids=["a", "b", "c"]).records
    assert [found[0].read(), found[1].read()] == [path.read_bytes(), content]
    assert (found[0].size, found[0].mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert open_arrays([path, content], ["x", "y"]).records[0].id == path.as_posix()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "I;16", "CMYK", "YCbCr"])
def test_pil_modes_decode_to_what_the_same_picture_in_a_file_does(mode):
    picture = Image.fromarray(PHOTOS[0])
    if mode == "I;16":
        picture = Image.fromarray(PHOTOS[0, :, :, 0].astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(PHOTOS[1, :, :, 0]))
    if picture.mode != mode:
        picture = picture.convert(mode)
    file = io.BytesIO()  # the oracle: a format that holds the mode, through the decoder alone
    picture.save(file, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    np.testing.assert_array_equal(
        pixels(open_arrays([picture] * 2, [0, 1]).records[0]),
        upright(file.getvalue()),
    )


def test_a_palette_with_a_transparent_colour_is_composited_like_its_file():
    picture = Image.fromarray(PHOTOS[0]).quantize(8)
    picture.info["transparency"] = 0
    expected = upright(png(picture, transparency=0))
    np.testing.assert_array_equal(pixels(open_arrays([picture] * 2, [0, 1]).records[0]), expected)


def test_a_lazily_opened_photo_is_turned_upright_like_its_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    path = tmp_path / "turned.png"
    Image.fromarray(PHOTOS[0]).save(path, exif=exif)
    expected = upright(path.read_bytes())
    assert expected.shape == (48, 40, 3)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(pixels(open_arrays([picture] * 2, [0, 1]).records[0]), expected)


def test_a_pil_image_whose_file_is_cut_is_unreadable_and_not_a_crash():
    whole = png(Image.fromarray(PHOTOS[0]))
    picture = Image.open(io.BytesIO(whole[: len(whole) // 2]))
    with pytest.raises(OSError, match=r"truncated|PIL image"):
        open_arrays([picture] * 2, [0, 1]).records[0].read()


def test_extract_takes_the_dataset_and_finds_the_rows_of_a_transformer_s_pictures(network, tmp_path):
    from featcache import FeatureCache, extract

    found = extract(images=PHOTOS, labels=LABELS, backbone=network, output=tmp_path / "arrays.h5")
    cache = FeatureCache(found.path)
    assert list(cache.ids) == ["0", "1", "2"]
    again = extract(open_arrays(PHOTOS, LABELS), backbone=network, output=tmp_path / "arrays.h5")
    assert (again.computed, again.reused) == (0, 3)
    assert [row.tobytes() for row in cache.sha256] == [
        hashlib.sha256(encoded_by_estimators(picture)).digest() for picture in PHOTOS
    ]


# Labels, splits, ids --------------------------------------------------------------------------------------------


def test_numbers_are_indices_into_given_classes_and_names_are_looked_up():
    for labels in ([1, 1, 0], np.array([1, 1, 0]), ["cat", "cat", "dog"]):
        found = open_arrays(PHOTOS, labels, classes=["dog", "cat", "owl"])
        assert ([r.label for r in found.records], found.classes) == ([1, 1, 0], ("dog", "cat", "owl"))


def test_numbers_without_classes_are_classes_of_their_own_text():
    found = open_arrays(PHOTOS, np.array([30, 4, 30]))
    assert (found.classes, [r.label for r in found.records]) == (("4", "30"), [1, 0, 1])


def test_one_split_for_all_and_none():
    assert open_arrays(PHOTOS, LABELS, splits="Training").splits == ("train",)
    assert open_arrays(PHOTOS, LABELS).splits == (UNSPLIT,)


@pytest.mark.parametrize("name", ["train2", "testA", "eval", "extra", "unlabelled", "day 1", "minival"])
def test_other_names_of_splits_stay(name):
    assert open_arrays(PHOTOS, LABELS, splits=name).splits == (name,)


# Refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (PHOTOS / 255.0, r"float64.*astype\('uint8'\)"),
        (PHOTOS.transpose(0, 3, 1, 2), r"channels come last: images\.transpose"),
        (PHOTOS[0], r"a single picture is images\[None\]"),
        (PHOTOS[:, :0], r"\(3, 0, 48, 3\); expected uint8"),
        (np.zeros((3, 8, 8, 4), np.uint8), r"\(3, 8, 8, 4\); expected uint8"),
        ([*PHOTOS[:2], PHOTOS[2] / 255.0], r"image 2 is an array float64"),
        ([*PHOTOS[:2], 7], r"image 2 is a int; expected"),
        ("photos/", r"images of type str; expected"),
        (7, r"images of type int; expected"),
    ],
)
def test_what_is_no_image_is_refused(images, text):
    with pytest.raises(UsageError, match=text):
        open_arrays(images, LABELS)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"labels": ["cat"]}, "1 labels for 3 images"),
        ({"labels": "cat"}, "labels of type str; expected one per image"),
        ({"labels": [0.5, 1.0, 2.0]}, "label 0.5 of image 0; expected a class name or a whole number"),
        ({"labels": [True, False, True]}, "label True of image 0"),
        (
            {"labels": np.array([0.5, 1, 2])},
            r"label 0\.5 of image 0; .*: arrays hold classes\. Multilabel and regression targets come by tables \(csv:",
        ),
        (
            {"labels": np.eye(3, dtype=int)},
            r"label \[1, 0, 0\] of image 0; .*one per image: arrays hold classes",
        ),
        (
            {"labels": ["cat", "cta", "dog"], "classes": ["cat", "dog"]},
            "'cta' of image 1.*did you mean 'cat'",
        ),
        ({"labels": [0, 1, 2], "classes": ["cat", "dog"]}, "label 2 of image 2 .* 2 classes; 0 to 1"),
        ({"labels": LABELS, "classes": ["cat", "dog", "cat"]}, "twice in classes"),
        ({"labels": LABELS, "splits": ["train"]}, "1 splits for 3 images"),
        ({"labels": LABELS, "splits": [0, 1, 2]}, "split 0 of image 0; expected a name"),
        ({"labels": LABELS, "splits": "trian"}, r"split 'trian' of image 0; did you mean 'train'\?"),
        (
            {"labels": LABELS, "splits": ["train", "tset", "val"]},
            r"split 'tset' of image 1; did you mean 'test'\?",
        ),
        ({"labels": LABELS, "splits": "validaton"}, r"did you mean 'validation'\?"),
        ({"labels": LABELS, "splits": "Vla"}, r"split 'Vla' .*did you mean 'val'\?"),
        ({"labels": LABELS, "ids": ["a", "b", "a"]}, "id 'a' stands for several images"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(arguments, text):
    with pytest.raises(UsageError, match=text):
        open_arrays(PHOTOS, **arguments)


def test_nothing_or_one_class_is_no_dataset():
    with pytest.raises(DataError, match="no images; expected uint8"):
        open_arrays([], [])
    with pytest.raises(DataError, match=r"one class \(cat\)"):
        open_arrays(PHOTOS, ["cat"] * 3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"no image .*gone\.png"):
        open_arrays([tmp_path / "gone.png", PHOTOS[0]], ["a", "b"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, r"neither a dataset nor images given; expected one of them: extract\('photos/'\) or"),
        ({"dataset": "photos/", "images": PHOTOS}, "a dataset and images given; expected one of them"),
        (
            {"dataset": "photos/", "labels": LABELS, "ids": NAMES},
            "labels, ids given with a dataset, which has its",
        ),
        ({"dataset": PHOTOS, "labels": None}, "a dataset of type ndarray; .* go with images= and labels="),
        (
            {"images": PHOTOS},
            r"images without labels; .* featcache\.FeatureExtractor\(\)\.transform\(images\)",
        ),
        ({"images": PHOTOS, "labels": LABELS[:2]}, "2 labels for 3 images"),
    ],
)
def test_extract_takes_either_a_dataset_or_images_with_labels(arguments, text):
    from featcache import extract

    with pytest.raises(UsageError, match=text):
        extract(**arguments)


def test_extract_passes_classes_splits_and_ids_on(network, tmp_path):
    from featcache import extract

    about = {"classes": ["dog", "cat"], "splits": ["train", "test", "train"], "ids": NAMES}
    cache = extract(images=PHOTOS, labels=LABELS, backbone=network, output=tmp_path / "x.h5", **about).cache
    assert (cache.classes, list(cache.ids), cache.labels.tolist()) == (("dog", "cat"), NAMES, [1, 1, 0])
    assert [str(name) for name in cache.split_names()] == about["splits"]


def test_a_label_of_thousands_of_digits_is_refused_by_its_place():
    with pytest.raises(
        UsageError, match=r"the label of image 1 is a number of more than 18 digits; give its text"
    ):
        open_arrays(np.zeros((2, 4, 4, 3), np.uint8), [3, 10**5000])


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("a\0", r"'a\\x00', holds a NUL byte"),
        ("\ud800", r"'\\ud800', holds half of a surrogate pair; write the whole character"),
        ("a" * 10_001, r"'a{80}…', has 10,001 characters; expected at most 10,000"),
    ],
    ids=["NUL", "half a pair", "long"],
)
@pytest.mark.parametrize(
    ("argument", "place"),
    [
        ("ids", "the id of image 1, "),
        ("labels", "the label of image 1, "),
        ("classes", "class number 1, "),
        ("splits", "the split of image 1, "),
    ],
)
def test_names_that_a_cache_would_not_keep_are_refused_by_their_place(argument, place, bad, why):
    pictures = PHOTOS[:2]
    given = {"labels": ["a", "b"], argument: ["a", bad]}
    if argument == "classes":
        given["labels"] = [0, 1]
    with pytest.raises(UsageError, match=f"^{place}{why}$"):
        open_arrays(pictures, **given)


def test_names_that_are_no_utf8_on_disk_are_kept():
    assert [r.id for r in open_arrays(PHOTOS[:2], [0, 1], ids=["caf\udce9", "ü" * 10_000]).records] == [
        "caf\udce9",
        "ü" * 10_000,
    ]
