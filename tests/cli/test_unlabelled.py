"""Commands on photos without labels, on classes that vanish, and on 16-bit grey that uses 12 bits."""

import numpy as np
import pytest
from helpers.photo_folders import photo_folder
from PIL import Image

from featcache import FeatureCache
from featcache.images.colour_statistics import image_statistics


@pytest.fixture
def folder(tmp_path, monkeypatch, small_backbone):
    monkeypatch.chdir(tmp_path)
    return photo_folder(tmp_path / "flat", {".": 4})


@pytest.mark.usefixtures("folder")
def test_a_flat_folder_is_extracted_and_predicted(cli, trained):
    refused = cli("extract", "flat")
    assert refused.code == 3
    assert (
        "; for features without labels: featcache extract flat --unlabelled; left out: 4 not in a"
        in refused.err
    )
    ran = cli("extract", "flat", "--unlabelled", "--output", "flat.h5")
    assert ran.code == 0
    assert "  unlabelled for predictions, similarity search and clustering\n" in ran.out
    assert (
        "next: featcache suggest flat.h5 --csv labels.csv (which to label first), featcache similar flat.h5 PHOTO, "
        "or featcache predict CLASSIFIER flat.h5" in ran.err
    )
    photos = cli("predict", trained.folder, "flat", "--json").result["predictions"]
    cached = cli("predict", trained.folder, "flat.h5", "--json").result["predictions"]
    assert [each["id"] for each in cached] == ["0.png", "1.png", "2.png", "3.png"]
    for one, other in zip(photos, cached, strict=True):
        assert one["classes"][0] == other["classes"][0]
    assert cli("predict", trained.folder, "flat.h5", "--csv", "all.csv").code == 0
    moved = cli("predict", trained.folder, "flat.h5", "--copy-to", "sorted")
    assert (moved.code, "--copy-to copies photos, and flat.h5 holds features alone" in moved.err) == (2, True)
    assert "unlabelled  no labels" in cli("cache", "info", "flat.h5").out
    for command in (
        ("train-head", "flat.h5"),
        ("sweep", "flat.h5"),
        ("evaluate", trained.folder, "--cache", "flat.h5"),
    ):
        refused = cli(*command)
        assert refused.code == 2
        assert "flat.h5 holds images without labels" in refused.err
        assert "extract again without --unlabelled" in refused.err


@pytest.mark.usefixtures("folder")
def test_a_check_and_a_dry_run_without_labels(cli):
    assert cli("data", "check", "flat", "--unlabelled").out.startswith(
        "flat: 4 images, without labels, 0.0 MB\n"
    )
    ran = cli("extract", "flat", "--unlabelled", "--dry-run")
    assert "  unlabelled for predictions, similarity search and clustering\n" in ran.out


def test_predictions_from_any_cache_are_those_of_its_features(trained):
    cache = FeatureCache(trained.cache)
    found = trained.classifier.predict(cache)
    values = trained.classifier.values(cache.features(cache.rows_of(), trained.classifier.layer))
    assert [each.id for each in found] == list(cache.ids)
    for each, own in zip(found, values, strict=True):
        assert each.classes[0] == trained.classifier.classes[own.argmax()]
        assert each.probabilities[0] == pytest.approx(own.max(), abs=1e-6)


def test_a_vanished_class_names_the_option(cli, tmp_path, monkeypatch, without_plugins):
    monkeypatch.chdir(tmp_path)
    photo_folder(tmp_path / "set", {"cat": 1, "dog": 1, "owl": 0})
    (tmp_path / "set/owl/1.heic").touch()
    for command in (("extract", "set"), ("data", "check", "set")):
        refused = cli(*command)
        assert refused.code == 3
        assert "(owl/: 1 HEIC); convert those to" in refused.err
        assert "; to go on without this class add --allow-empty-classes" in refused.err
    ran = cli("data", "check", "set", "--allow-empty-classes")
    assert ran.code == 0
    assert "1 class folder without images (owl/), 1 HEIC file (1.heic): unsupported format" in ran.out


def test_photos_are_scored_without_a_vanished_class(cli, trained, tmp_path, monkeypatch, without_plugins):
    monkeypatch.chdir(tmp_path)
    photo_folder(tmp_path / "new", {"cat": 2, "dog": 2, "owl": 0})
    (tmp_path / "new/owl/1.heic").touch()
    refused = cli("evaluate", trained.folder, "new")
    assert (refused.code, refused.out) == (3, "")
    assert "; to go on without this class add --allow-empty-classes" in refused.err
    scored = cli("evaluate", trained.folder, "new", "--allow-empty-classes", "--json")
    assert scored.result["count"] == 4


@pytest.mark.usefixtures("folder")
def test_twelve_bits_of_sixteen_are_named_and_scaled(cli, tmp_path):
    for name, value in (("cat", 4000), ("dog", 100)):
        (tmp_path / "grey" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(tmp_path / "grey" / name / "1.png")
    ran = cli("data", "check", "grey")
    assert (
        "  16 bits     2 of 2 grey pictures use no more than 12 bits (largest value 4000), and are dark as they stand; "
        "featcache extract --rgb range=0:4095 scales them:\n    cat/1.png: 4000\n    dog/1.png: 100\n"
        in ran.out
    )
    ran = cli("extract", "grey", "--rgb", "range=0:4095", "--test-fraction", "0")
    assert ran.code == 0
    (path,) = tmp_path.glob("grey-*.h5")
    assert path.name.endswith("-rgb-range-0-4095.h5")
    cache = FeatureCache(path)
    assert cache.recipe["transforms"]["rgb"] == "white,range=0:4095"
    white = np.full((1, 64, 64, 3), round(4000 / 4095 * 255), np.uint8)
    np.testing.assert_allclose(
        cache.features([0], "image:statistics"), image_statistics(white), rtol=1e-5, atol=1e-5
    )
    assert cli("extract", "grey", "--rgb", "range=9:9").code == 2


@pytest.mark.usefixtures("folder")
def test_photos_without_labels_are_led_to_what_takes_them(cli, trained):
    """No answer leads in a circle: each command that is named is run."""
    photos = cli("evaluate", trained.folder, "flat")
    own = f"to classify photos without labels: featcache predict {trained.folder} flat; left out"
    assert (photos.code, own in photos.err) == (3, True), photos.err
    assert cli("predict", trained.folder, "flat").code == 0
    tuned = cli("finetune", trained.folder, "flat")
    assert (tuned.code, "fine-tuning learns from labels: name photos that have them" in tuned.err) == (
        3,
        True,
    )
    assert "--unlabelled" not in photos.err + tuned.err
    assert cli("extract", "flat", "--unlabelled", "--output", "flat-unlabelled.h5").code == 0
    head = cli("train-head", "flat")
    assert head.code == 3
    assert head.err.endswith(
        "; flat-unlabelled.h5 was made from it without labels, for featcache predict and similarity search; a head "
        "needs labels: sort the photos into class folders, flat/CLASS/image.jpg, then featcache extract flat\n"
    )
    assert cli("predict", trained.folder, "flat-unlabelled.h5").code == 0


@pytest.mark.usefixtures("folder")
def test_a_table_without_labels_is_led_to_predict_as_well(cli, trained, tmp_path):
    (tmp_path / "t.csv").write_text("path\nflat/0.png\n")
    ran = cli("evaluate", trained.folder, "csv:t.csv")
    assert ran.err.endswith(
        f"; to classify photos without labels: featcache predict {trained.folder} PHOTOS\n"
    )


@pytest.mark.usefixtures("small_backbone")
def test_photos_of_other_classes_are_called_as_they_were_given(cli, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo_folder(tmp_path / "below", {"cat": 2, "emu": 2})
    ran = cli("evaluate", trained.folder, "below")
    assert ran.err.startswith("error: below has classes this classifier does not know: emu; it knows")
