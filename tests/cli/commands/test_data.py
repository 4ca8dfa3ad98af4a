"""`featcache data check`: what a person reads, what a program reads, and the exit code."""

import re
import shutil
from pathlib import Path

import pytest
from helpers.bombs import broken_tags
from helpers.photo_folders import photo_folder
from PIL import Image


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return photo_folder(Path("photos"), {"train/cat": 6, "train/dog": 5, "test/cat": 2, "test/dog": 1})


def spoil(photos: Path) -> None:
    shutil.copyfile(photos / "train/cat/0.png", photos / "test/cat/leak.png")
    (photos / "train/cat/bad\nname.jpg").write_text("no photo")
    (photos / "train/cat/notes.txt").touch()
    Image.open(photos / "train/dog/0.png").convert("RGBA").save(photos / "train/dog/alpha.jpg", "PNG")


def test_a_sound_dataset_as_text(cli, photos):
    ran = cli("data", "check", "photos")
    assert (ran.code, ran.err) == (0, "")
    megabytes = sum(path.stat().st_size for path in photos.rglob("*.png")) / 1e6
    assert ran.out.splitlines()[:4] == [
        f"photos: 14 images, 2 classes, {megabytes:.1f} MB",
        "  formats     14 PNG",
        "  modes       14 RGB",
        "  pixels      width 48, 48, 48, height 40, 40, 40 (smallest, median, largest); 14 with a side below 224",
    ]
    assert ran.out.splitlines()[5:] == [
        "  classes             train  test",
        "  cat                     6     2",
        "  dog                     5     1",
        "  all                    11     3",
        "  largest : smallest    1.2   2.0",
    ]


def test_what_is_wrong_is_listed_and_is_no_failure(cli, photos):
    spoil(photos)
    ran = cli("data", "check", "photos")
    assert ran.code == 0
    said = ran.out.splitlines()
    assert said[0].startswith("photos: 17 images (16 of them readable), 2 classes, ")
    assert "  transparent 1, which are laid on white" in said
    assert said[said.index("  misnamed    1 (another format than their name says):") + 1] == (
        "    train/dog/alpha.jpg is PNG"
    )
    unreadable = said[said.index("  unreadable  1 (an extraction leaves them out):") + 1]
    assert unreadable.startswith(r"    train/cat/bad\nname.jpg: not an image: text")
    assert "  left out    1 not an image by its name (.txt)" in said
    assert said[said.index("  copies      1 (images of the same bytes):") + 1] == (
        "    test/cat/leak.png = train/cat/0.png (several splits)"
    )
    assert said[-1].startswith("  warning: 1 of 4 test rows are copies of train rows")


def test_strict_prints_the_same_and_fails_with_the_code_for_data(cli, photos):
    assert cli("data", "check", "photos", "--strict").code == 0
    spoil(photos)
    plain, strict = cli("data", "check", "photos"), cli("data", "check", "photos", "--strict")
    assert (strict.code, strict.out) == (3, plain.out)
    assert "error: photos: 1 of 17 images cannot be read (" in strict.err
    assert "1 images are in several splits" in strict.err


def test_json_is_one_object_also_where_strict_fails(cli, photos):
    spoil(photos)
    assert cli("data", "check", "photos", "--json").result["images"] == 17
    ran = cli("data", "check", "photos", "--json", "--strict")
    assert (ran.code, ran.json["command"]) == (3, "data check")
    result = ran.json["result"]
    assert list(result["unreadable"]) == [r"train/cat/bad\nname.jpg"]
    assert result["misnamed"] == {"train/dog/alpha.jpg": "PNG"}
    assert result["counts"]["test"] == {"cat": 3, "dog": 1}


def test_many_of_a_kind_and_many_classes_are_cut_short(cli, tmp_path):
    folder = photo_folder(tmp_path / "many", {f"class{number}": 1 for number in range(40)})
    for number in range(12):
        (folder / "class0" / f"bad{number}.jpg").touch()
    said = cli("data", "check", folder).out.splitlines()
    assert "    … and 2 more (--json lists all)" in said
    assert "  … 10 more" in [line.rstrip() for line in said]


def test_errors_of_the_dataset_have_their_codes(cli, tmp_path):
    ran = cli("data", "check", tmp_path / "nowhere")
    assert (ran.code, ran.out) == (3, "")
    assert "no dataset folder" in ran.err
    assert cli("data", "check", tmp_path, "--workers", "0").code == 2


def test_pillows_warnings_become_one_of_ours(cli, tmp_path):
    photo_folder(tmp_path / "set", {"cat": 2, "dog": 2})
    for name in "ab":
        (tmp_path / "set" / "cat" / f"{name}.tif").write_bytes(broken_tags(50))
    ran = cli("data", "check", tmp_path / "set")
    assert ran.code == 0
    told = [line for line in ran.err.splitlines() if "Pillow" in line]
    assert len(told) == 1
    assert re.fullmatch(
        r"warning: Pillow warned \d+ times of damaged or unusual images, first of: Tag data larger than file\..*",
        told[0],
    )
    assert "UserWarning" not in ran.err
    assert cli("data", "check", tmp_path / "set", "--quiet").err == ""


def test_pictures_of_formats_that_are_not_read_are_told_once(cli, photos, without_plugins):
    (photos / "train/cat/IMG_1.HEIC").touch()
    ran = cli("data", "check", "photos")
    assert (ran.code, ran.err) == (0, "")
    assert (
        "  left out    1 HEIC file (IMG_1.HEIC): unsupported format; convert it to one of JPEG, " in ran.out
    )


def test_what_folders_are_taken_for_is_said_and_can_be_chosen(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo_folder(Path("p"), {"training_set/cat": 1, "training_set/dog": 1, "test_set/cat": 1})
    ran = cli("data", "check", "p")
    assert "  all                     2     1" in ran.out.splitlines()
    assert (
        "warning: p: training_set/ is taken as train, test_set/ is taken as test (to choose: --splits "
        in ran.err
    )
    ran = cli("data", "check", "p", "--splits", "train=training_set,exam=test_set")
    said = "warning: p: exam is none of train, val and test: heads do not learn from such images\n"
    assert (ran.code, ran.err) == (0, said)
    assert ran.out.startswith("folder:p?splits=train=training_set,exam=test_set: 3 images, 2 classes")
    ran = cli("data", "check", "p", "--classes-at", "3")
    assert (ran.code, ran.out) == (3, "")
    assert (
        "p: --classes-at 3: no class folder of images is there; the folders of images reach down to level 2"
        in ran.err
    )
