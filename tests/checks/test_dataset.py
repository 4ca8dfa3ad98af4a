"""A look at every image before anything is computed: counts against Pillow's own, verdicts against an extraction's."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_network import FakeNetwork
from helpers.photo_folders import photo, photo_folder
from PIL import Image

from featcache import check_dataset, extract
from featcache.checks.dataset_report import Quartiles
from featcache.core.tasks import MULTILABEL, REGRESSION
from featcache.datasets import open_dataset
from featcache.datasets.formats.arrays import open_arrays
from featcache.errors import DataError, ImageError, MissingFileError, UsageError
from featcache.images.decoding import examine, read

ODD_FILES = Path(__file__).parents[3] / "shared" / "data" / "odd_files"


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


PLAIN = Image.fromarray(photo("cat/plain"))


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twelve good photos, 48 pixels wide and 40 high."""
    return photo_folder(tmp_path / "pets", {"train/cat": 5, "train/dog": 4, "test/cat": 2, "test/dog": 1})


# Pictures -----------------------------------------------------------------------------------------------------


def test_plain_photos_are_counted(photos):
    found = check_dataset(photos)
    sizes = sorted(path.stat().st_size for path in photos.rglob("*.png"))
    assert (found.images, found.formats, found.modes) == (12, {"PNG": 12}, {"RGB": 12})
    assert (found.width, found.height) == (Quartiles(48, 48, 48), Quartiles(40, 40, 40))
    assert (found.nbytes.min, found.nbytes.max, found.total_bytes) == (sizes[0], sizes[-1], sum(sizes))
    assert found.small == 12
    assert found.counts == {"train": {"cat": 5, "dog": 4}, "test": {"cat": 2, "dog": 1}}
    assert found.imbalance == {"train": 1.25, "test": 2.0}
    nothing = (
        found.misnamed,
        found.orientations,
        found.several,
        found.unreadable,
        found.copies,
        found.missing,
    )
    assert not any(nothing)
    assert found.transparent == 0


KINDS = {
    "grey.png": (PLAIN.convert("L"), "PNG", "L", {}),
    "alpha.png": (PLAIN.convert("RGBA"), "PNG", "RGBA", {}),
    "grey-alpha.png": (PLAIN.convert("LA"), "PNG", "LA", {}),
    "palette.png": (PLAIN.convert("P"), "PNG", "P", {}),
    "palette-transparent.png": (PLAIN.convert("P"), "PNG", "P", {"transparency": 3}),
    "one-bit.bmp": (PLAIN.convert("1"), "BMP", "1", {}),
    "sixteen.png": (Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)), "PNG", "I;16", {}),
    "cmyk.jpg": (PLAIN.convert("CMYK"), "JPEG", "CMYK", {}),
    "anim.gif": (PLAIN.convert("P"), "GIF", "P", {"save_all": True, "append_images": [PLAIN.rotate(90)]}),
    "pages.tif": (PLAIN, "TIFF", "RGB", {"save_all": True, "append_images": [PLAIN]}),
    "still.gif": (PLAIN.convert("P"), "GIF", "P", {}),
    "photo.webp": (PLAIN, "WEBP", "RGB", {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_picture_is(name):
    picture, kind, mode, options = KINDS[name]
    facts = examine(encode(picture, kind, **options))
    assert (facts.format, facts.mode, (facts.width, facts.height)) == (kind, mode, picture.size)
    assert facts.several == (name in ("anim.gif", "pages.tif"))
    assert facts.transparent == ("alpha" in name or "transparent" in name)
    assert facts.orientation == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_orientations_are_those_stored_and_sizes_those_after_turning(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = examine(encode(PLAIN, kind, exif=exif))
    assert (facts.orientation, facts.width, facts.height) == (6, 40, 48)
    exif[0x0112] = 99  # EXIF knows 1 to 8
    assert examine(encode(PLAIN, kind, exif=exif)).orientation == 1


def test_frames_behind_the_first_do_not_count_against_it():
    """An animation that is cut in its second frame is read here as in an extraction: by its first."""
    whole = encode(PLAIN.convert("P"), "GIF", save_all=True, append_images=[PLAIN.rotate(90).convert("P")])
    cut = whole[: len(encode(PLAIN.convert("P"), "GIF")) + 40]
    assert read(cut, exif="apply", rgb="white").shape == (40, 48, 3)
    assert examine(cut).format == "GIF"


def test_names_that_say_another_format(photos):
    (photos / "train/cat/0.png").rename(photos / "train/cat/0.JPG")
    (photos / "train/cat/photo.jpeg").write_bytes(encode(PLAIN, "WEBP"))
    (photos / "train/cat/stereo.mpo").write_bytes(encode(PLAIN, "JPEG"))
    assert check_dataset(photos).misnamed == {"train/cat/0.JPG": "PNG", "train/cat/photo.jpeg": "WEBP"}


def test_ids_without_an_extension_and_ids_of_tables_that_come_again(tmp_path):
    content = encode(PLAIN, "PNG")
    data = open_arrays([content] * 3, ["a", "b", "a"], ids=["train/17", "x.png#2", "x.jpg#3"])
    assert check_dataset(data).misnamed == {"x.jpg#3": "PNG"}


# Verdicts -----------------------------------------------------------------------------------------------------


def test_what_is_unreadable_here_is_quarantined_by_an_extraction_for_the_same_reason(photos, tmp_path):
    good = encode(PLAIN, "JPEG")
    for name, content in {
        "empty.jpg": b"",
        "cut.jpg": good[: len(good) // 2],
        "page.jpg": b"<!doctype html><title>404</title>",
        "vector.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "deep.tif": encode(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"),
        "noise.jpg": b"\xff\xd8\xff" + np.random.default_rng(0).bytes(300),
        "cmyk.jpg": encode(PLAIN.convert("CMYK"), "JPEG"),
    }.items():
        (photos / "train/cat" / name).write_bytes(content)
    found = check_dataset(photos)
    done = extract(photos, backbone=FakeNetwork(), output=tmp_path / "x.h5")
    assert {name: reason for name, (reason, _) in found.unreadable.items()} == done.quarantined
    assert len(done.quarantined) == 6
    assert found.skipped == done.skipped
    # Copies and classes are of what has features.
    assert (
        sum(map(sum, (counts.values() for counts in found.counts.values())))
        == len(done.cache.rows_of())
        == 13
    )
    # The detail is what the decoder says.
    with pytest.raises(ImageError) as error:
        read((photos / "train/cat/cut.jpg").read_bytes(), exif="apply", rgb="white")
    assert found.unreadable["train/cat/cut.jpg"] == (error.value.reason, error.value.detail)


def test_a_file_that_vanished_is_unreadable_with_the_system_s_reason(photos):
    data = open_dataset(str(photos))
    (photos / "train/cat/0.png").unlink()
    found = check_dataset(data)
    assert found.unreadable == {"train/cat/0.png": ("unreadable file", "No such file or directory")}


def test_files_left_out_by_the_source_are_passed_on(photos):
    (photos / "train/cat/notes.txt").touch()
    assert check_dataset(photos).skipped == {"not an image by its name (.txt)": 1}


# Copies and classes -------------------------------------------------------------------------------------------


def test_copies_within_a_split_across_splits_and_with_other_labels(photos):
    for source, target in {
        "train/cat/0.png": "train/cat/copy.png",
        "train/cat/1.png": "test/cat/leak.png",
        "train/cat/2.png": "train/dog/wrong.png",
        "train/dog/0.png": "test/cat/both.png",
    }.items():
        shutil.copyfile(photos / source, photos / target)
    (photos / "train/cat/empty1.jpg").touch()
    (photos / "train/cat/empty2.jpg").touch()  # unreadable twice is no copy
    found = check_dataset(photos)
    kinds = {
        copies.ids: (copies.splits, copies.labels, copies.leak, copies.contradict) for copies in found.copies
    }
    assert kinds == {
        ("train/cat/0.png", "train/cat/copy.png"): (("train",) * 2, ("cat",) * 2, False, False),
        ("test/cat/leak.png", "train/cat/1.png"): (("test", "train"), ("cat",) * 2, True, False),
        ("train/cat/2.png", "train/dog/wrong.png"): (("train",) * 2, ("cat", "dog"), False, True),
        ("test/cat/both.png", "train/dog/0.png"): (("test", "train"), ("cat", "dog"), True, True),
    }
    digests = {copies.ids: copies.sha256 for copies in found.copies}
    content = (photos / "train/cat/0.png").read_bytes()
    assert digests["train/cat/0.png", "train/cat/copy.png"] == hashlib.sha256(content).hexdigest()
    assert len(found.leaks) == 2
    assert [finding.code for finding in found.findings] == ["conflicting-labels", "leak"]
    assert "2 of 5 test rows are copies of train rows" in found.findings[1].message


def test_classes_that_are_rare_or_missing(tmp_path):
    tree = {"train/cat": 30, "train/dog": 2, "test/cat": 1, "test/owl": 1}
    found = check_dataset(photo_folder(tmp_path, tree))
    assert found.missing == {"train": ["owl"], "test": ["dog"]}
    assert found.imbalance == {"train": 15.0, "test": 1.0}
    assert [finding.code for finding in found.findings] == ["imbalance", "tiny-classes", "unseen-classes"]


def test_a_dataset_without_splits_has_no_leaks(tmp_path):
    found = check_dataset(photo_folder(tmp_path, {"cat": 5, "dog": 5}))
    assert found.counts == {"": {"cat": 5, "dog": 5}}
    assert (found.leaks, found.findings) == ((), ())


def test_answers_are_counted_where_they_are_yes_and_numbers_are_not():
    data = open_arrays([encode(PLAIN.rotate(90 * i), "PNG") for i in range(3)], [0, 1, 1], splits="train")
    targets = [(1.0, 0.0), (1.0, 1.0), (0.0, 0.0)]
    records = [replace(record, label=-1, target=t) for record, t in zip(data.records, targets, strict=True)]
    answers = check_dataset(replace(data, records=records, classes=("indoors", "night"), task=MULTILABEL))
    assert answers.counts == {"train": {"indoors": 2, "night": 1}}
    numbers = check_dataset(
        replace(data, records=[*records, records[0]], classes=("age", "size"), task=REGRESSION)
    )
    assert numbers.counts == {"train": {}}
    assert numbers.copies[0].labels == ("1,0", "1,0")
    assert numbers.imbalance == {}


def test_sound_is_what_has_nothing_unreadable_and_no_leak(photos):
    check_dataset(photos).require_sound()
    shutil.copyfile(photos / "train/cat/0.png", photos / "test/cat/leak.png")
    with pytest.raises(
        DataError, match=r"1 images are in several splits \(test/cat/leak\.png = train/cat/0\.png\)"
    ):
        check_dataset(photos).require_sound()
    (photos / "train/cat/bad.jpg").touch()
    with pytest.raises(
        DataError, match=r"1 of 14 images cannot be read \(train/cat/bad\.jpg: empty file\); 1 images"
    ):
        check_dataset(photos).require_sound()


# How ----------------------------------------------------------------------------------------------------------


def test_progress_goes_up_by_one_and_threads_do_not_change_what_is_found(photos):
    seen = []
    alone = check_dataset(photos, workers=1, on_progress=lambda p: seen.append((p.stage, p.done, p.total)))
    assert seen == [("check", number, 12) for number in range(1, 13)]
    assert check_dataset(photos, workers=5) == alone


def test_images_are_let_go_of_as_soon_as_they_are_seen():
    """However many images there are, only those that threads are ahead with are in memory."""
    alive, most = set(), 0

    class Bytes(bytes):
        def __del__(self):
            alive.discard(id(self))

    def read():
        nonlocal most
        content = Bytes(encode(PLAIN, "PNG"))
        alive.add(id(content))
        most = max(most, len(alive))
        return content

    data = open_arrays([b"x"] * 300, [0, 1] * 150, splits="train")
    many = replace(data, records=[replace(record, read=read) for record in data.records])
    assert check_dataset(many, workers=2).formats == {"PNG": 300}
    assert most <= 8  # one for each thread, and a few that an exception or a frame still holds


def test_neither_jax_nor_a_backbone_is_imported(photos):
    script = (
        "import json, sys, featcache\n"
        "found = featcache.check_dataset(sys.argv[1])\n"
        "print(json.dumps([found.images, sorted({'jax', 'flax', 'sklearn', 'featcache.backbones'} & {*sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", script, photos], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [12, []]


def test_json_lists_everything(photos):
    shutil.copyfile(photos / "train/cat/0.png", photos / "test/cat/leak.png")
    (photos / "train/cat/bad.jpg").touch()
    value = json.loads(json.dumps(check_dataset(photos).to_json()))
    assert value["version"] == 1
    assert value["unreadable"] == {
        "train/cat/bad.jpg": {"reason": "empty file", "detail": "0 bytes; copy or download it again"}
    }
    assert value["copies"][0]["leak"] is True
    assert value["width"] == {"min": 48, "median": 48, "max": 48}
    assert value["findings"][0]["code"] == "leak"


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"spec": "nowhere"}, MissingFileError, "no dataset folder nowhere"),
        ({"spec": "nowhere:x"}, UsageError, "no source 'nowhere'"),
        ({"spec": "x", "workers": 0}, UsageError, "workers 0: expected at least 1"),
    ],
)
def test_what_cannot_be_checked(tmp_path, monkeypatch, arguments, kind, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=text):
        check_dataset(**arguments)


@pytest.mark.skipif(not ODD_FILES.is_dir(), reason="../shared/data/odd_files is not there")
def test_odd_files_of_the_field_are_what_their_names_say(tmp_path):
    for number, path in enumerate(sorted(ODD_FILES.iterdir())):
        if path.suffix != ".md":
            (tmp_path / str(number % 2)).mkdir(exist_ok=True)
            (tmp_path / str(number % 2) / path.name).symlink_to(path)
    found = check_dataset(tmp_path)
    assert not found.unreadable
    said = {name for name in found.misnamed if "_is_" in name}
    assert said == found.misnamed.keys() != set()
    assert all(kind in name for name, kind in found.misnamed.items())
    assert sum(found.orientations.values()) == len(
        [p for p in ODD_FILES.iterdir() if p.name.startswith("exif6")]
    )
