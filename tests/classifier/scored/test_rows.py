"""What an evaluation scores where nobody says it: every photo where there are no splits, else the rows for it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

from featcache import Classifier, FeatureCache, open_dataset, train_head
from featcache.core.environment import home
from featcache.errors import DataError, UsageError


@pytest.fixture
def classifier(tmp_path):
    """A head that was trained on the images 0 to 59, and tested on 60 to 89."""
    features, labels = blobs(90)
    cache = feature_cache(tmp_path / "own.h5", features, labels, ["train"] * 60 + ["test"] * 30)
    return train_head(cache, output=None, epochs=2)


@pytest.fixture
def cache(tmp_path):
    """Makes a cache of other images with these splits."""

    def make(splits, *, first: int = 200, drawn: bool = False) -> FeatureCache:
        features, labels = blobs(len(splits))
        images = range(first, first + len(splits))
        return feature_cache(tmp_path / "other.h5", features, labels, splits, images=images, drawn=drawn)

    return make


def test_of_photos_without_splits_every_one_is_scored(classifier, cache):
    found = classifier.evaluate(cache(["train"] * 14 + ["test"] * 4, drawn=True))
    assert (found.split, found.count, found.seen) == ("all", 18, 0)
    assert found.note.startswith(
        "every image is scored: photos has no splits of its own, train and test were drawn"
    )
    assert classifier.evaluate(cache(["train"] * 9 + ["test"] * 9, drawn=True), "test").count == 9


@pytest.mark.parametrize("name", ["features", "features.bin", "other.hdf5"])
def test_a_cache_is_known_by_its_content_whatever_it_is_called(classifier, cache, tmp_path, name):
    place = cache(["train"] * 6 + ["test"] * 3).path.rename(tmp_path / name)
    assert classifier.evaluate(place).count == 3


def test_other_files_of_its_container_are_none(classifier, tmp_path):
    (tmp_path / "weights.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(504))
    with pytest.raises(
        DataError, match=r"weights\.hdf5 is a file of a network's weights, no dataset of photos"
    ):
        classifier.evaluate(tmp_path / "weights.hdf5")


@pytest.mark.parametrize(
    ("splits", "split", "note"),
    [
        (["train"] * 6 + ["val"] * 3 + ["test"] * 3, "test", ""),
        (["train"] * 6 + ["val"] * 3, "val", "there is no test split: val was scored"),
        (["val"] * 6, "val", "there is no test split: val was scored"),
        (["train"] * 6, "train", "train was scored, the only split there is"),
        (["winter"] * 6, "winter", "winter was scored, the only split there is"),
    ],
)
def test_of_photos_with_splits_the_test_rows_or_what_there_is(classifier, cache, splits, split, note):
    found = classifier.evaluate(cache(splits))
    assert (found.split, found.count, found.note) == (split, splits.count(split), note)
    assert found.to_json()["note"] == note


def test_splits_of_which_none_is_for_that_are_refused_with_what_can_be_meant(classifier, cache):
    with pytest.raises(UsageError, match="not plain what to score") as error:
        classifier.evaluate(cache(["train"] * 6 + ["winter"] * 3))
    for reading in ("--split train (6 images)", "--split winter (3 images)", "--split all (9)"):
        assert reading in str(error.value)


def test_a_drawn_share_of_photos_that_trained_it_is_refused_with_both_readings(classifier, cache):
    partly = cache(["train"] * 14 + ["test"] * 4, first=50, drawn=True)  # the images 50 to 67
    with pytest.raises(
        UsageError, match="10 of its 18 images trained this classifier or chose its epoch"
    ) as error:
        classifier.evaluate(partly)
    for reading in ("--split train (14 images)", "--split test (4 images)", "--split all (18)"):
        assert reading in str(error.value)
    assert classifier.evaluate(partly, "test").seen == 0
    assert classifier.evaluate(partly, "all").seen == 10, "the check of leaks stays"


def test_of_its_own_cache_without_a_test_split_the_validation_rows(tmp_path):
    features, labels = blobs(60)
    own = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 40 + ["val"] * 20)
    found = train_head(own, output=None, epochs=2).evaluate()
    assert (found.split, found.count, found.seen) == ("val", 20, 20)
    assert (
        found.note == "there is no test split: val was scored, whose images chose the epoch and calibrated it"
    )


def test_of_its_own_cache_with_one_split_nothing_is_meant(tmp_path):
    features, labels = blobs(60)
    own = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 60)
    with pytest.raises(
        UsageError, match=r"no split 'test' and no 'val'.*--split train \(60 images\).*other photos"
    ):
        train_head(own, output=None, epochs=2).evaluate()


# Photos -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded(trained, network) -> Classifier:
    """Loaded once: it keeps its backbone."""
    return replace(Classifier.load(trained.folder), network=network)


@pytest.fixture
def photos(tmp_path, trained) -> Path:
    """Photos of two of the three classes, without splits; one is a copy of a training photo, one cannot be read."""
    folder = photo_folder(tmp_path / "new", {"cat": 5, "owl": 4})
    shutil.copy(trained.photos / "train" / "owl" / "0.png", folder / "owl" / "seen.png")
    (folder / "cat" / "broken.jpg").write_text("no photo")
    return folder


def test_every_readable_photo_of_a_folder_is_scored_as_predict_sees_it(photos, loaded):
    classifier = loaded
    found = classifier.evaluate(photos)
    assert (found.split, found.count, found.seen) == ("all", 10, 1)
    assert found.note == (
        f"every image is scored: {photos} has no splits of its own; 1 of 11 images could not be read and are not scored"
    )
    files = [photos / name for name in found.images.files]
    assert {file.name for file in files} >= {"seen.png", "4.png"}
    np.testing.assert_allclose(found.images.probabilities, classifier.predict_proba(files), atol=1e-5)
    truth = [file.parent.name for file in files]
    assert found.accuracy == np.mean(
        [p.classes[0] == t for p, t in zip(classifier.predict(files), truth, strict=True)]
    )
    support = {own.name: own.support for own in found.classes}
    assert support == {"cat": 5, "dog": 0, "owl": 5}


def test_features_are_computed_once_and_nobodys_cache_changes(photos, trained, loaded, monkeypatch):
    before = trained.cache.read_bytes()
    first = loaded.evaluate(photos)
    monkeypatch.setattr(
        "featcache.extraction.runner.FeatureRunner.chunks",
        lambda *args, **kwargs: pytest.fail("computed again"),
    )
    again = loaded.evaluate(f"folder:{photos}")
    assert again.to_json() | {"note": ""} == first.to_json() | {"note": ""}
    own = loaded.evaluate(open_dataset(trained.photos))
    assert (own.split, own.count) == ("test", 12), "copied from the cache that it was trained on"
    assert trained.cache.read_bytes() == before
    assert len([*(home() / "caches").glob("new-*.h5")]) >= 1
    assert not [*photos.parent.glob("*.h5")]


@pytest.mark.parametrize("kind", ["", "folder:", "csv:"])
def test_one_class_is_enough_to_be_scored(loaded, tmp_path, kind):
    folder = photo_folder(tmp_path / "one", {"dog": 3})
    (tmp_path / "one.csv").write_text("path,label\n" + "".join(f"one/dog/{n}.png,dog\n" for n in range(3)))
    found = loaded.evaluate(f"csv:{tmp_path / 'one.csv'}" if kind == "csv:" else f"{kind}{folder}")
    assert (found.count, found.classes[1].support) == (3, 3)
    assert found.balanced_accuracy == found.classes[1].recall == found.accuracy


def test_a_table_is_scored_and_a_class_that_it_does_not_know_is_named(photos, loaded):
    (photos / "few.csv").write_text("path,label\ncat/0.png,cat\nowl/1.png,owl\nowl/2.png,owl\n")
    classifier = loaded
    assert classifier.evaluate(f"csv:{photos / 'few.csv'}").count == 3
    (photos / "emu").mkdir()
    shutil.copy(photos / "cat" / "1.png", photos / "emu" / "1.png")
    with pytest.raises(
        UsageError, match="has classes this classifier does not know: emu; it knows cat, dog, owl"
    ):
        classifier.evaluate(photos)
    with pytest.raises(DataError, match="no dataset folder"):
        classifier.evaluate(photos / "nowhere")
