"""What is opened of a path: a classifier with its answers, a sweep, a cache, a run; what is missing is said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder
from helpers.tiny_finetuning import registered, tiny_classifier, tiny_network, tiny_photos

from featcache import Classifier, FeatureCache, extract, sweep, train_head
from featcache.errors import DataError, MissingFileError, UsageError
from featcache.reports.opening import open_material
from featcache.reports.wishes import Wishes

SPLITS = ["train"] * 60 + ["val"] * 15 + ["test"] * 30


def opened(*paths, **wishes):
    return open_material(paths, Wishes(**wishes))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a cache, two classifiers, a sweep."""
    root = tmp_path_factory.mktemp("made")
    features, labels = blobs(len(SPLITS))
    cache = feature_cache(root / "own.h5", features, labels, SPLITS)
    train_head(cache, output=root / "linear", head="ridge")
    train_head(cache, output=root / "prototype", head="prototype")
    sweep(cache, head="prototype,ridge", l2=(0.1, 1.0), output=root / "sweep")
    return root


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy of it that may be changed; the cache stays where the classifiers say that it is."""
    shutil.copytree(made, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    return tmp_path / "made"


def test_a_classifier_is_opened_with_its_answers_on_its_test_rows(made):
    found = opened(made / "linear")
    cache, classifier = FeatureCache(made / "own.h5"), Classifier.load(made / "linear")
    features, labels = cache.arrays("test")
    assert found.split == "test"
    assert np.array_equal(found.rows, cache.rows_of("test"))
    assert np.array_equal(found.values, classifier.values(features))
    assert np.array_equal(found.labels, labels)
    assert found.evaluation.to_json() == classifier.evaluate().to_json()
    assert (found.folder, found.sweep, found.run, found.compared) == (made / "linear", None, None, ())


def test_photos_that_are_not_there_leave_the_page_without_pictures_and_it_says_so(made):
    found = opened(made / "linear")
    assert (found.dataset, found.read) == (None, None)
    assert found.moved.startswith(
        "There are no pictures: the photos are not to be read at photos (no dataset"
    )
    assert found.moved.endswith("name where they are with --photos DATASET.")
    assert opened(made / "linear", pictures=0).moved == "There are no pictures: none were asked for."


def test_rows_that_the_head_learnt_from_at_last_are_answered_by_the_head_before(tmp_path):
    """Without a test split, val rows judge it: they trained the head that is used, not the one that was judged."""
    features, labels = blobs(90)
    cache = feature_cache(tmp_path / "own.h5", features, labels, ["train"] * 60 + ["val"] * 30)
    kept = train_head(cache, output=tmp_path / "head", head="ridge")
    assert kept.judged is not None
    found = opened(tmp_path / "head")
    assert found.split == "val"
    assert found.evaluation.accuracy == kept.metrics["val"]["accuracy"]
    assert found.evaluation.loss == kept.metrics["val"]["loss"]
    assert any("fitted again on all 90 training and validation images" in note for note in found.notes)


def test_a_classifier_whose_cache_is_gone_keeps_the_scores_it_was_saved_with(place):
    path = place / "linear" / "classifier.json"
    kept = Classifier.load("linear")
    own = place / "gone.h5"
    moved = train_head(_copy(place / "own.h5", own), output=place / "moved", head="ridge")
    own.unlink()
    found = opened(place / "moved")
    assert (found.evaluation, found.rows, found.cache) == (None, None, None)
    assert found.classifier.metrics == moved.metrics
    assert "The scores are those that the classifier was saved with" in found.notes[0]
    assert f"{own}, is gone" in found.notes[0]
    again = opened(place / "moved", cache=place / "own.h5")
    assert again.evaluation.count == 30
    assert path.exists()
    assert kept.classes == again.classifier.classes


def _copy(source: Path, target: Path) -> Path:
    shutil.copyfile(source, target)
    return target


def test_a_classifier_whose_cache_is_gone_is_scored_on_photos_that_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    with registered():
        network = tiny_network()
        photos = tiny_photos(tmp_path / "photos", train=2)
        classifier = tiny_classifier(network, photos, epochs=1)
        classifier.save(tmp_path / "head")
        photos.with_suffix(".h5").unlink()
        photos.rename(tmp_path / "moved")
        found = opened(tmp_path / "head", photos=tmp_path / "moved")
    assert (found.split, found.evaluation.count) == ("test", 12)
    assert found.dataset is not None
    assert found.moved == ""
    name = found.cache.ids[int(found.rows[0])]
    assert found.read(name) == (tmp_path / "moved" / name).read_bytes()


def test_a_photo_that_is_another_one_now_is_not_shown(tmp_path):
    photos = photo_folder(tmp_path / "photos", {"train/cat": 3, "train/dog": 3})
    with registered():
        cache = extract(photos, backbone=tiny_network(), output=tmp_path / "own.h5").cache
    same, other, gone = cache.ids[:3]
    shutil.copyfile(photos / cache.ids[3], photos / other)
    (photos / gone).unlink()
    found = opened(tmp_path / "own.h5")
    assert found.moved == f"1 of 6 photos is not in {photos} any more, without a picture here."
    assert found.read(same) == (photos / same).read_bytes()
    with pytest.raises(DataError, match="is another picture than its features were computed of"):
        found.read(other)
    with pytest.raises(DataError, match="is not there any more"):
        found.read(gone)
    photos.rename(tmp_path / "elsewhere")
    assert opened(tmp_path / "own.h5", photos=tmp_path / "elsewhere").dataset is not None
    with pytest.raises(MissingFileError, match="no dataset folder"):
        opened(tmp_path / "own.h5", photos=photos)
    strangers = photo_folder(tmp_path / "strangers", {"a": 1, "b": 1})
    assert "holds none of the 6 photos" in opened(tmp_path / "own.h5", photos=strangers).moved


def test_a_sweep_is_opened_with_its_lines_and_the_chosen_classifier(made):
    found = opened(made / "sweep")
    assert len(found.lines) == found.sweep["heads"] == 3
    assert found.folder == made / "sweep" / "classifier"
    assert found.evaluation.to_json() == Classifier.load(found.folder).evaluate().to_json()


def test_a_sweep_without_a_classifier_is_shown_without(place):
    shutil.rmtree("sweep/classifier")
    (note,) = opened("sweep").notes
    assert note == "The sweep saved no classifier, so there is none to look into."


def test_damaged_lines_of_a_sweep_are_left_out_and_counted(place):
    path = Path("sweep/results.jsonl")
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([first.replace('"backbone": "m', '"backbone": "n'), *others]) + "\n")
    before = path.read_bytes()
    found = opened("sweep")
    assert len(found.lines) == 2
    assert found.notes[0].startswith("1 of the sweep's results are damaged and left out")
    assert path.read_bytes() == before, "whoever only reads changes nothing"


def test_a_cache_is_opened_alone(made):
    found = opened(made / "own.h5")
    assert (found.classifier, found.values, found.evaluation) == (None, None, None)
    assert found.split == "all"
    assert np.array_equal(found.labels, found.cache.labels)
    assert len(opened(made / "own.h5", split="val").rows) == 15
    with pytest.raises(UsageError, match="is a cache, and so is --cache"):
        opened(made / "own.h5", cache=made / "own.h5")


def test_a_run_is_opened_with_its_history_and_the_classifier_it_made(place):
    """`featcache finetune` writes both; here they are written by hand."""
    folder = Path("linear.run")
    folder.mkdir()
    document = {"format": "featcache-run", "format_version": 1, "identity": {}, "finished": {"best_epoch": 1}}
    (folder / "run.json").write_text(json.dumps(document))
    (folder / "history.jsonl").write_text('{"epoch": 0, "val_loss": 1.0}\n{"epoch": 1, "val_loss": 0.5}\n')
    found = opened(folder)
    assert [record["epoch"] for record in found.history] == [0, 1]
    assert found.run["finished"] == {"best_epoch": 1}
    assert found.folder == Path("linear")
    assert found.evaluation.count == 30
    shutil.rmtree("linear")
    assert opened(folder).notes == [
        "The run has made no classifier yet; go on with featcache finetune … --resume."
    ]


def test_several_are_compared_on_the_same_rows(made):
    found = opened(made / "linear", made / "sweep", made / "prototype")
    assert [own.name for own in found.compared] == ["linear", "sweep", "prototype"]
    assert len({own.rows_sha256 for own in found.compared}) == 1
    for own in found.compared:
        assert own.scores == own.classifier.evaluate().to_json()
        assert own.right.mean() == pytest.approx(own.scores["accuracy"])
    assert found.folder == made / "linear", "the first is shown in full"


def test_names_of_what_is_compared_are_the_shortest_that_tell_them_apart(made, tmp_path):
    shutil.copytree(made / "linear", tmp_path / "linear")
    names = [own.name for own in opened(made / "linear", tmp_path / "linear").compared]
    assert names == [f"{made.name}/linear", f"{tmp_path.name}/linear"]


def test_what_cannot_be_compared_is_told(made):
    with pytest.raises(UsageError, match=r"own\.h5 is a cache, which has no scores to compare"):
        opened(made / "linear", made / "own.h5")
    with pytest.raises(UsageError, match="no path: expected a classifier"):
        opened()


def test_a_path_that_is_something_else_is_told(place):
    Path("text").write_text("text")
    photo_folder(place / "photos", {"cat": 1})
    for path, said in {
        "gone": r"nothing at gone; expected a classifier, a sweep, a cache, a fine-tuning run or records of "
        r"experiments; check the name",
        "linea": r"nothing at linea; .*; did you mean linear\?",
        "text": r"text is a file; expected a classifier",
        "photos": r"photos is a folder of photos; expected a classifier",
        "linear/classifier.json": r"linear/classifier.json is a file of a classifier; name its folder, linear",
    }.items():
        with pytest.raises(DataError, match=said):
            opened(path)
