# ruff: noqa: E501 - an answer is one line, as its user sees it
"""Swapped, mistaken and mistyped paths: each is answered in one or two sentences that mend it, with its exit code."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import feature_caches
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

from featcache import FeatureCache, train_head


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A cache, a classifier, the folders of a sweep and a fine-tuning, photos, a table, weights."""
    root = tmp_path_factory.mktemp("given")
    features, labels = blobs(12)
    feature_cache(root / "cache.h5", features, labels, ["train"] * 8 + ["test"] * 4).close()
    train_head(root / "cache.h5", head="prototype", output=root / "classifier", calibrate=False)
    photo_folder(root / "photos", {"cat": 1, "dog": 1})
    shutil.copy(root / "photos" / "cat" / "0.png", root / "a.png")
    for name in ("sweep", "tuned.run", "bare"):
        (root / name).mkdir()
    for name in ("results.jsonl", "summary.json"):
        (root / "sweep" / name).write_text("")
        (root / "bare" / name).write_text("")
    (root / "tuned.run" / "run.json").write_text("{}")
    shutil.copytree(root / "classifier", root / "sweep" / "classifier")
    shutil.copytree(root / "classifier", root / "tuned")
    (root / "model.keras").write_bytes(b"PK\x03\x04" + bytes(100))
    (root / "photos.csv").write_text("path,label\na.png,cat\n")
    (root / "export.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    return root


FIRST = "where CLASSIFIER is the folder that featcache train-head made"
NO_CACHE = "no cache of features; name the cache, the .h5 file that featcache extract writes"
NO_PHOTOS = "no dataset of photos; name a folder of class folders, ROOT/CLASS/image.jpg"

ANSWERS = {
    # In another order.
    "evaluate cache.h5 classifier": (2, "classifier is a classifier, which comes first: featcache evaluate classifier cache.h5"),
    "evaluate photos classifier": (2, "classifier is a classifier, which comes first: featcache evaluate classifier photos"),
    "predict photos classifier": (2, "classifier is a classifier, which comes first: featcache predict classifier photos"),
    "predict a.png classifier": (2, "classifier is a classifier, which comes first: featcache predict classifier a.png"),
    "finetune photos classifier": (2, "classifier is a classifier, which comes first: featcache finetune classifier photos"),
    # Without what comes first.
    "predict a.png": (2, f"a.png is a photo, and the classifier comes first: featcache predict CLASSIFIER a.png, {FIRST} (or without one: --backbone NAME)"),
    "predict nowhere.jpg": (2, f"nowhere.jpg is a photo, and the classifier comes first: featcache predict CLASSIFIER nowhere.jpg, {FIRST} (or without one: --backbone NAME)"),
    "predict photos": (2, f"photos is a folder of photos, and the classifier comes first: featcache predict CLASSIFIER photos, {FIRST} (or without one: --backbone NAME)"),
    "predict mobilenet_v2 a.png": (2, "mobilenet_v2 is a backbone, no classifier; for its own classes: featcache predict --backbone mobilenet_v2 a.png"),
    "evaluate photos/": (2, f"photos is a folder of photos, and the classifier comes first: featcache evaluate CLASSIFIER photos, {FIRST}"),
    "evaluate cache.h5": (2, f"cache.h5 is a cache of features, and the classifier comes first: featcache evaluate CLASSIFIER cache.h5, {FIRST}"),
    "finetune photos": (2, f"photos is a folder of photos, and the classifier comes first: featcache finetune CLASSIFIER photos, {FIRST}"),
    # Something else in the place of a classifier.
    "predict cache.h5 a.png": (3, "cache.h5 is a cache of features, no classifier; train one on it: featcache train-head cache.h5"),
    "predict sweep a.png": (3, "sweep is the results of a sweep, no classifier; its best head is the classifier sweep/classifier"),
    "predict bare a.png": (3, "bare is the results of a sweep, no classifier; it saved no classifier"),
    "evaluate tuned.run": (3, "tuned.run is the checkpoints of a fine-tuning, no classifier; the classifier it made is tuned"),
    "evaluate classifier/classifier.json": (3, "classifier/classifier.json is a file of a classifier, no classifier; name its folder, classifier"),
    "evaluate model.keras": (3, "model.keras is a file of a network's weights, no classifier; name the folder that featcache train-head wrote; weights go with featcache extract --weights model.keras"),
    # Something else in the place of a cache.
    "train-head photos/": (3, "photos is a folder of photos, no cache of their features; first: featcache extract photos"),
    "train-head classifier": (3, f"classifier is a classifier, {NO_CACHE}; to score it: featcache evaluate classifier"),
    "train-head a.png": (3, "a.png is a photo, no cache of features; features are made of a folder of them: featcache extract FOLDER"),
    "train-head photos.csv": (4, "photos.csv is no featcache cache: it is text; name the .h5 file that featcache extract writes"),
    "train-head csv:photos.csv": (3, "no cache csv:photos.csv; of a dataset of that name, first: featcache extract csv:photos.csv"),
    "train-head model.keras": (3, "model.keras is a file of a network's weights, no cache of features; make one with them: featcache extract DATASET --backbone NAME --weights model.keras"),
    "sweep classifier": (3, f"classifier is a classifier, {NO_CACHE}; to score it: featcache evaluate classifier"),
    "sweep sweep": (3, f"sweep is the results of a sweep, {NO_CACHE}; its best head is the classifier sweep/classifier"),
    "cache info tuned.run": (3, f"tuned.run is the checkpoints of a fine-tuning, {NO_CACHE}; the classifier it made is tuned"),
    "evaluate classifier --cache classifier": (3, f"classifier is a classifier, {NO_CACHE}; to score it: featcache evaluate classifier"),
    "evaluate classifier --cache model.keras": (3, "model.keras is a file of a network's weights, no cache of features; make one with them: featcache extract DATASET --backbone NAME --weights model.keras"),
    "cache verify sweep": (3, f"sweep is the results of a sweep, {NO_CACHE}; its best head is the classifier sweep/classifier"),
    # Something else in the place of photos.
    "extract cache.h5": (3, "cache.h5 is a cache of features, no dataset of photos; it holds features already, so train on it: featcache train-head cache.h5"),
    "extract a.png": (3, f"a.png is a photo, {NO_PHOTOS}; to classify one photo: featcache predict CLASSIFIER a.png"),
    "extract classifier": (3, f"classifier is a classifier, {NO_PHOTOS}; its network is --backbone classifier"),
    "extract export.h5": (3, f"export.h5 is a file of a network's weights, {NO_PHOTOS}; weights go with --backbone NAME --weights export.h5"),
    "data check cache.h5": (3, "cache.h5 is a cache of features, no dataset of photos; it holds features already, so train on it: featcache train-head cache.h5"),
    "evaluate classifier sweep": (3, "sweep is the results of a sweep, no dataset of photos; its best head is the classifier sweep/classifier"),
    "finetune classifier cache.h5": (2, "cache.h5 is a cache of features, no photos; to train from it: featcache finetune classifier --cache cache.h5"),
    "predict classifier photos.csv": (3, "photos.csv is a table or a dataset, no photo; to score what it lists: featcache evaluate classifier csv:photos.csv"),
    "predict classifier folder:photos?splits=none": (3, "folder:photos?splits=none is a table or a dataset, no photo; to score what it lists: featcache evaluate classifier 'folder:photos?splits=none'"),
    "predict classifier sweep": (3, "sweep is the results of a sweep, no photo; name photos, or folders of them"),
    # Something else in the place of a backbone.
    "extract photos -b model.keras": (2, "model.keras is a file of a network's weights; name the network that they are of: --backbone NAME --weights model.keras"),
    "extract photos -b sweep": (2, "sweep is the results of a sweep, no backbone; its best head is the classifier sweep/classifier"),
    # The two names of an export the wrong way round, and a folder in the place of a file.
    "export -o classifier model.onnx": (2, "output classifier is a classifier, which is what an export reads; run: featcache export classifier -o model.onnx"),
    "export classifier -o photos": (2, "output photos is a folder, expected a file or nothing; name a file in it, such as photos/model.onnx"),
    # Mistyped.
    "predict clasifier a.png": (3, "no classifier in clasifier (no classifier.json); did you mean classifier?"),
    "evaluate sweep/clasifier": (3, "no classifier in sweep/clasifier (no classifier.json); did you mean sweep/classifier?"),
    "export clasifier": (3, "no classifier in clasifier (no classifier.json); did you mean classifier?"),
    "train-head cahce.h5": (3, "no cache cahce.h5; did you mean cache.h5?"),
    "train-head cache": (3, "no cache cache; did you mean cache.h5?"),
    "train-head nothing": (3, "no cache nothing; make one with: featcache extract DATASET"),
    "extract phots": (3, "no dataset folder phots; did you mean photos?"),
    "extract phtos.csv": (3, "no dataset phtos.csv; did you mean photos.csv?"),
    "evaluate classifier phots": (3, "no dataset folder phots; did you mean photos?"),
    "predict classifier phots": (3, "no image phots; did you mean photos?"),
}  # fmt: skip


@pytest.mark.parametrize("call", ANSWERS)
def test_a_wrong_path_is_answered_with_what_mends_it(cli, made, monkeypatch, call):
    code, says = ANSWERS[call]
    monkeypatch.chdir(made)
    ran = cli(*call.split())
    assert (ran.err, ran.code, ran.out) == (f"error: {says}\n", code, "")


def test_a_folder_of_class_folders_may_hold_any_file(tmp_path, cli):
    """What lies beside class folders says nothing: only where no photos are found is it looked at."""
    photo_folder(tmp_path / "photos", {"cat": 2, "dog": 2})
    for name in ("results.jsonl", "run.json", "classifier.json"):
        (tmp_path / "photos" / name).write_text("{}")
    ran = cli("data", "check", tmp_path / "photos", "--json")
    assert ran.code == 0, ran.err


def test_the_features_of_another_backbone_are_refused_in_two_sentences(made, cli, monkeypatch, tmp_path):
    monkeypatch.chdir(made)
    features, labels = blobs(12)
    other = replace(feature_caches.RECIPE, arch="resnet50", weights_sha256="cd" * 32)
    monkeypatch.setattr(feature_caches, "RECIPE", other)
    feature_cache(tmp_path / "other.h5", features, labels, ["test"] * 12).close()
    ran = cli("evaluate", "classifier", tmp_path / "other.h5")
    photos = FeatureCache(tmp_path / "other.h5").identity["dataset"]["spec"]
    says = (
        f"error: {tmp_path}/other.h5 holds other features than this classifier was trained on (backbone.arch: resnet50 in "
        "the cache, mobilenet_v2 asked for; and 1 other difference). Score the photos themselves, featcache evaluate CLASSIFIER "
        f"{photos}, or make their features with its network, featcache extract {photos} --backbone CLASSIFIER --layer pool\n"
    )
    assert (ran.code, ran.err) == (4, says)


def test_commands_that_are_named_are_quoted_as_a_shell_needs(cli, made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for old, new in (("photos", "my photos"), ("classifier", "my head"), ("cache.h5", "my cache.h5")):
        (tmp_path / new).symlink_to(made / old)
    says = {
        ("train-head", "my photos"): "first: featcache extract 'my photos'",
        ("evaluate", "my photos", "my head"): "first: featcache evaluate 'my head' 'my photos'",
        ("extract", "my cache.h5"): "train on it: featcache train-head 'my cache.h5'",
        ("train-head", "my head"): "to score it: featcache evaluate 'my head'",
        ("finetune", "my head", "my cache.h5"): "featcache finetune 'my head' --cache 'my cache.h5'",
        ("evaluate", "my cache.h5"): "featcache evaluate CLASSIFIER 'my cache.h5'",
    }
    for call, words in says.items():
        assert words in cli(*call).err, call
