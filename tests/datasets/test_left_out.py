"""What folders leave out: said with extensions, with what opens it, and refused where a whole class would vanish."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from featcache import check_dataset, open_dataset
from featcache.datasets.folder_files import image_files
from featcache.errors import DataError, FeatcacheWarning

pytestmark = pytest.mark.usefixtures("without_plugins")

FORMATS = "one of JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM, AVIF"
HEIF = f"{FORMATS}, or install what opens HEIC: pip install 'featcache[heif]'"
ALLOW = "to go on without {} add allow_empty_classes"


def encoded(kind: str, size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, kind)
    return file.getvalue()


def tree(root: Path, *names: str, **contents: bytes) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".jpg": "JPEG", ".png": "PNG"}.get(path.suffix)
        path.write_bytes(encoded(kind) if kind else b"text")
    return root


BASIS = ("cat/1.jpg", "dog/1.jpg")
SAID = {
    "one text": (["cat/a.txt"], {"not an image by its name (.txt)": 1}),
    "several kinds": (
        [*(f"cat/{n}.txt" for n in range(3)), "dog/a.xml", "dog/b.XML", "dog/c.json"],
        {"not images by their names (3 .txt, 2 .xml, 1 .json)": 6},
    ),
    "no extension": (
        ["cat/README", "dog/b.txt"],
        {"not images by their names (1 without extension, 1 .txt)": 2},
    ),
    "videos": (["cat/a.mp4", "cat/b.mov"], {"not images by their names (1 .mov, 1 .mp4)": 2}),
    "many kinds": (
        [f"cat/a.{end}" for end in "abcdefghij"],
        {"not images by their names (1 .a, 1 .b, 1 .c, 1 .d, 1 .e, 1 .f, 1 .g, 1 .h, 2 others)": 10},
    ),
    "a folder of annotations": (
        ["xmls/1.xml", "xmls/2.xml"],
        {"not images by their names (2 .xml)": 2, "class folder without images (xmls/)": 1},
    ),
    "some HEICs": (["cat/a.HEIC"], {f"HEIC file (a.HEIC): unsupported format; convert it to {HEIF}": 1}),
}


@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
@pytest.mark.parametrize("situation", SAID)
def test_left_out_files_are_counted_by_extension(tmp_path, situation):
    names, expected = SAID[situation]
    found = open_dataset(str(tree(tmp_path, *BASIS, *names)))
    assert dict(found.skipped) == expected
    assert found.classes == ("cat", "dog")
    assert check_dataset(found).skipped == expected


VANISHED = {
    "HEIC": (
        ["tulips/1.heic", "tulips/2.HEIC"],
        "1 class folder would be empty, as no picture in it is read (tulips/: 2 HEIC); convert those to "
        f"{HEIF}; {ALLOW.format('this class')}",
    ),
    "JPEG XL": (
        ["tulips/1.jxl"],
        f"1 class folder would be empty, as no picture in it is read (tulips/: 1 JPEG XL); convert those to {FORMATS}, "
        f"or install what opens JPEG XL: pip install 'featcache[jxl]'; {ALLOW.format('this class')}",
    ),
    "two classes": (
        ["owl/1.heic", "tulips/1.hif", "tulips/notes.txt"],
        "2 class folders would be empty, as no picture in them is read (owl/: 1 HEIC, tulips/: 1 HEIC); convert those "
        f"to {HEIF}; {ALLOW.format('these classes')}",
    ),
    "camera RAW": (
        ["tulips/1.CR2", "tulips/2.nef"],
        "1 class folder would be empty, as no picture in it is read (tulips/: 2 camera RAW); convert those to "
        f"{FORMATS}; {ALLOW.format('this class')}",
    ),
    "several formats": (
        ["tulips/1.dcm", "tulips/2.heic"],
        "1 class folder would be empty, as no picture in it is read (tulips/: 1 DICOM, 1 HEIC); convert those to "
        f"{HEIF}; {ALLOW.format('this class')}",
    ),
    "arrays": (
        ["tulips/1.npy", "tulips/2.NPY"],
        f"1 class folder would be empty, as no picture in it is read (tulips/: 2 .npy); convert those to {FORMATS}; "
        f"{ALLOW.format('this class')}",
    ),
    "videos": (
        ["tulips/1.mp4", "tulips/2.mov", "tulips/notes.txt"],
        "1 class folder would be empty, as no picture in it is read (tulips/: 1 .mov, 1 .mp4); convert those to "
        f"{FORMATS}; {ALLOW.format('this class')}",
    ),
    "volumes beside photos of phones": (
        ["tulips/1.heic", "tulips/1.nii"],
        "1 class folder would be empty, as no picture in it is read (tulips/: 1 HEIC, 1 .nii); convert those to "
        f"{HEIF}; {ALLOW.format('this class')}",
    ),
    "nested": (
        ["tulips/2021/1.psd"],
        "1 class folder would be empty, as no picture in it is read (tulips/: 1 Photoshop); convert those to "
        f"{FORMATS}; {ALLOW.format('this class')}",
    ),
}


@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
@pytest.mark.parametrize("situation", VANISHED)
def test_a_class_that_would_vanish_is_refused_unless_allowed(tmp_path, situation):
    names, message = VANISHED[situation]
    tree(tmp_path, *BASIS, *names)
    with pytest.raises(DataError) as told:
        open_dataset(str(tmp_path))
    assert str(told.value) == f"{tmp_path}: {message}"
    for spec in (str(tmp_path), f"folder:{tmp_path}"):
        found = open_dataset(spec, allow_empty_classes=True)
        assert found.classes == ("cat", "dog")
        assert any(why.startswith("class folder") for why in found.skipped)


SYSTEM = ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "@Recycle")


@pytest.mark.parametrize("name", SYSTEM)
def test_folders_of_systems_are_no_classes_and_a_line(tmp_path, name):
    tree(tmp_path, *BASIS, f"{name}/1.jpg", f"cat/{name}/1.jpg/SYNOPHOTO_THUMB_M.jpg", f"dog/{name}/1.heic")
    found = open_dataset(str(tmp_path))
    assert [record.id for record in found.records] == list(BASIS)
    assert found.skipped == {f"folder of a system ({name}/)": 3}


def test_folders_of_systems_hide_no_layout(tmp_path):
    tree(tmp_path, *(f"unpacked/{split}/{name}" for split in ("train", "test") for name in BASIS))
    tree(tmp_path, "@eaDir/1.jpg", "unpacked/@eaDir/2.jpg", "__MACOSX/1.jpg", ".thumbnails/1.jpg")
    with pytest.warns(
        FeatcacheWarning, match=r"the dataset is taken from unpacked/, the only folder of images in it"
    ):
        found = open_dataset(str(tmp_path))
    assert {record.split for record in found.records} == {"train", "test"}
    assert found.skipped == {
        "folder of a system (@eaDir/)": 1,
        "hidden": 2,
    }  # in the folders above the splits


def test_a_class_that_would_vanish_from_one_split_is_refused_too(tmp_path):
    tree(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg", "test/dog/1.heic")
    with pytest.raises(DataError, match=r"would be empty, as no picture in it is read \(test/dog/: 1 HEIC\)"):
        open_dataset(str(tmp_path))


def test_folders_that_hold_nothing_or_no_pictures_stay_a_line(tmp_path):
    tree(tmp_path, *BASIS, "annotations/1.xml", ".thumbs/1.heic")
    (tmp_path / "empty").mkdir()
    found = open_dataset(str(tmp_path))
    assert found.skipped["class folders without images (annotations/, empty/)"] == 2


# Files without extension --------------------------------------------------------------------------------------

BEGINNINGS = {
    "JPEG": encoded("JPEG"),
    "PNG": encoded("PNG"),
    "WebP": encoded("WEBP"),
    "GIF": encoded("GIF"),
    "BMP": encoded("BMP"),
    "TIFF": encoded("TIFF"),
    "PPM": encoded("PPM"),
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1",
    "AVIF, generic brand": b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif",
}


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_files_without_extension_are_known_by_their_first_bytes(tmp_path, kind):
    tree(tmp_path, *BASIS)
    for name in ("n01440764_10026", "Abyssinian_1"):
        (tmp_path / "cat" / name).write_bytes(BEGINNINGS[kind])
    told = (
        "2 files without extension (Abyssinian_1, n01440764_10026) are images by the first bytes, and taken"
    )
    with pytest.warns(FeatcacheWarning, match=f"^{re.escape(told)}$"):
        found = open_dataset(str(tmp_path))
    ids = ["cat/1.jpg", "cat/Abyssinian_1", "cat/n01440764_10026", "dog/1.jpg"]
    assert [record.id for record in found.records] == ids
    assert not found.skipped


NO_PICTURES = {
    "text": b"id,label\n",
    "text like a BMP": b"BMW is a car, and so are others",
    "text like a PPM": b"P1 is the first of several\n",
    "text like another PPM": b"P5 2nd edition\n",
    "empty": b"",
    "web page": b"<!DOCTYPE html><html>",
    "zip": b"PK\x03\x04",
    "video": b"\0\0\0\x1cftypisom\0\0\0\0isomiso2",
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_other_files_without_extension_are_left_out(tmp_path, kind):
    tree(tmp_path, *BASIS)
    (tmp_path / "cat" / "LICENSE").write_bytes(NO_PICTURES[kind])
    found = open_dataset(str(tmp_path))
    assert dict(found.skipped) == {"not an image by its name (without extension)": 1}


def test_a_dot_in_a_name_is_an_extension(tmp_path):
    tree(tmp_path, *BASIS)
    (tmp_path / "cat" / "photo.1").write_bytes(BEGINNINGS["JPEG"])
    assert dict(open_dataset(str(tmp_path)).skipped) == {"not an image by its name (.1)": 1}


def test_a_heic_without_extension_is_named(tmp_path):
    tree(tmp_path, *BASIS)
    (tmp_path / "cat" / "IMG_1").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    with pytest.warns(
        FeatcacheWarning, match=re.escape("HEIC file (IMG_1): unsupported format; convert it to")
    ):
        open_dataset(str(tmp_path))


MISNAMED = {
    "a phone's JPEG": (".HEIC", "JPEG", "1 file is called .HEIC and is a JPEG: read as what it is (a.HEIC)"),
    "a PNG called .jp2": (".jp2", "PNG", "1 file is called .jp2 and is a PNG: read as what it is (a.jp2)"),
    "a WebP called .jxl": (".jxl", "WebP", "1 file is called .jxl and is a WEBP: read as what it is (a.jxl)"),
    "an AVIF called .heif": (
        ".heif",
        "AVIF",
        "1 file is called .heif and is an AVIF: read as what it is (a.heif)",
    ),
    "a JPEG called .dng": (".dng", "JPEG", "1 file is called .dng and is a JPEG: read as what it is (a.dng)"),
    "a TIFF called .psd": (".psd", "TIFF", "1 file is called .psd and is a TIFF: read as what it is (a.psd)"),
}


@pytest.mark.parametrize("situation", MISNAMED)
def test_a_picture_by_another_formats_name_is_read_by_its_content(tmp_path, situation):
    ending, kind, told = MISNAMED[situation]
    tree(tmp_path, *BASIS)
    (tmp_path / "tulips").mkdir()
    (tmp_path / "tulips" / f"a{ending}").write_bytes(BEGINNINGS[kind])
    with pytest.warns(FeatcacheWarning, match=f"^{re.escape(told)}$"):
        found = open_dataset(str(tmp_path))
    assert found.classes == ("cat", "dog", "tulips")
    assert [record.id for record in found.records] == ["cat/1.jpg", "dog/1.jpg", f"tulips/a{ending}"]
    assert not found.skipped


def test_several_such_files_are_counted_by_name_and_format(tmp_path):
    tree(tmp_path, *BASIS)
    for name, kind in (("1.heic", "JPEG"), ("2.HEIC", "JPEG"), ("3.heic", "PNG")):
        (tmp_path / "cat" / name).write_bytes(BEGINNINGS[kind])
    with pytest.warns(FeatcacheWarning) as told:
        open_dataset(str(tmp_path))
    assert [str(each.message) for each in told] == [
        "2 files are called .heic and are JPEG files: read as what they are (1.heic, 2.HEIC)",
        "1 file is called .heic and is a PNG: read as what it is (3.heic)",
    ]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.heic", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"),
        ("a.heic", b"\0\0\0\x1cftypisom\0\0\0\0isomiso2"),
        ("a.jxl", b"\xff\x0a\0\0"),
        ("a.dng", BEGINNINGS["TIFF"]),  # as all of them begin
        ("a.dcm", BEGINNINGS["TIFF"]),  # a file that is both
        ("a.svg", b"<svg>"),
        ("a.heic", b""),
    ],
)
@pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")
def test_pictures_of_unread_formats_stay_left_out(tmp_path, name, start):
    tree(tmp_path, *BASIS)
    (tmp_path / "cat" / name).write_bytes(start)
    found = open_dataset(str(tmp_path))
    assert [record.id for record in found.records] == list(BASIS)
    assert [why.partition(":")[0][-len(name) - 1 : -1] for why in found.skipped] == [name]


def test_lists_and_photos_to_predict_read_them_too(tmp_path):
    tree(tmp_path, *BASIS, "cat/3.jpg")
    for name, kind in (("2.heic", "JPEG"), ("3.heic", "JPEG")):
        (tmp_path / "cat" / name).write_bytes(BEGINNINGS[kind])
    (tmp_path / "cat" / "4.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    (tmp_path / "train.txt").write_text("cat/2.heic\ncat/3\ncat/3.heic\ncat/4\ndog/1\n")
    found = open_dataset(f"lists:{tmp_path}")
    assert [record.id for record in found.records] == ["cat/2.heic", "cat/3.jpg", "cat/3.heic", "dog/1.jpg"]
    (tmp_path / "train.txt").write_text("cat/2\ndog/1\n")
    assert [record.id for record in open_dataset(f"lists:{tmp_path}").records] == ["cat/2.heic", "dog/1.jpg"]
    files, left_out = image_files(tmp_path / "cat")
    assert [file.name for file in files] == ["1.jpg", "2.heic", "3.heic", "3.jpg"]
    assert left_out.misnamed == {(".heic", "JPEG"): ["2.heic", "3.heic"]}


def test_lists_name_photos_that_a_plugin_reads(tmp_path, monkeypatch):
    monkeypatch.setattr("featcache.images.names.is_read", lambda kind: kind == "HEIC")
    tree(tmp_path, *BASIS)
    for name in ("1", "2", "3"):
        (tmp_path / "cat" / f"{name}.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    (tmp_path / "train.txt").write_text("cat/1\ncat/2\ncat/3.heic\ndog/1\n")
    found = open_dataset(f"lists:{tmp_path}")
    assert [record.id for record in found.records] == ["cat/1.jpg", "cat/2.heic", "cat/3.heic", "dog/1.jpg"]


def test_photos_to_predict_and_lists_take_files_without_extension_too(tmp_path):
    tree(tmp_path, "1.jpg", "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "2").write_bytes(BEGINNINGS["PNG"])
    files, left_out = image_files(tmp_path)
    assert [file.name for file in files] == ["1.jpg", "2", "1.jpg", "1.jpg"]
    assert left_out.bare == ["2"]
    (tmp_path / "cat" / "2").write_bytes(BEGINNINGS["PNG"])
    (tmp_path / "train.txt").write_text("cat/2\ndog/1\ncat/1\n")
    found = open_dataset(f"lists:{tmp_path}")
    assert [record.id for record in found.records] == ["cat/2", "dog/1.jpg", "cat/1.jpg"]
