"""What a notebook shows: public objects in a short line, a small table, a frame; and in other processes."""

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

import featcache
from featcache import Classifier, FeatureCache
from featcache.core.tasks import MULTILABEL, REGRESSION
from featcache.extraction.dry_run import PlanReport
from featcache.finetuning.dry_run import FineTuningPlan
from featcache.finetuning.result import FineTuning
from featcache.metrics.classification import Scores
from featcache.metrics.comparison import compare

MOST = 300
"""Characters of a line that a terminal still shows well."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> FeatureCache:
    features, labels = blobs(90)
    splits = ["train"] * 60 + ["val"] * 15 + ["test"] * 15
    return feature_cache(tmp_path_factory.mktemp("blobs") / "x.h5", features, labels, splits)


def test_a_classifier(trained):
    loaded = Classifier.load(trained.folder)
    accuracy = 100 * loaded.metrics["test"]["accuracy"]
    text = repr(loaded)
    assert len(text) < MOST
    assert text.startswith(
        f"Classifier(linear head on {loaded.backbone} pool, 3 classes: cat, dog, owl; validation "
    )
    assert text.endswith(f"test {accuracy:.1f} %)")
    shown = loaded._repr_html_()
    assert f"{accuracy:.1f} % of 12 (95 % interval " in shown
    assert len(shown) < 2000


def test_its_history_is_arrays(cache, trained):
    made = trained.classifier
    told = made.training["history"]
    assert {name: values.tolist() for name, values in made.history.items()} == told
    assert made.history["val_loss"].dtype == np.float64
    assert list(made.history.to_frame()["val_loss"]) == told["val_loss"]
    assert len(featcache.train_head(cache, output=None, head="ridge").history) == 0


def test_a_cache_an_extraction_and_a_dataset(trained, network, tmp_path):
    assert len(repr(FeatureCache(trained.cache))) < MOST
    shown = FeatureCache(trained.cache)._repr_html_()
    assert "train 18, val 9, test 12" in shown
    photos = photo_folder(tmp_path / "photos", {"cat": 3, "d<o>g": 3})
    (photos / "cat" / "bad.jpg").write_text("no photo")
    with pytest.warns(featcache.FeatcacheWarning, match="unreadable 1"):
        done = featcache.extract(photos, backbone=network, layers=("stem",), output=tmp_path / "x.h5")
    assert repr(done) == f"Extraction('{tmp_path}/x.h5', 7 images: 6 computed, 1 unreadable)"
    assert "6 computed, 1 unreadable" in done._repr_html_()
    data = featcache.open_dataset(str(photos))
    assert repr(data) == f"Dataset('{photos}', 7 images, 2 classes: cat, d<o>g)"
    assert "d&lt;o&gt;g" in done.cache._repr_html_()


def test_a_backbone(network):
    assert repr(network).startswith(f"LoadedBackbone({network.name}, 4.7 million parameters, 64×64 pixels)")


def test_a_sweep(cache, tmp_path):
    result = featcache.sweep(cache, output=tmp_path / "sweep", head="ridge,knn", l2="1,10", neighbours="5")
    chosen = result.chosen
    assert len(repr(result)) < MOST
    assert repr(chosen) in repr(result)
    assert repr(chosen).startswith(f"Choice({chosen.entry.key.settings.head} on pool: validation ")
    assert repr(chosen).endswith(f"test {100 * chosen.test.mean:.1f} %)")
    frame = result.to_frame()
    assert list(frame["val_accuracy"]) == pytest.approx(
        [own.accuracy for own in result.leaderboard], rel=1e-6
    )
    assert sorted(frame["l2"].dropna()) == [1, 10]
    assert set(frame["head"]) == {"ridge", "knn"}
    assert repr(chosen) in result._repr_html_()


@pytest.mark.one_by_default
@pytest.mark.parametrize("task", ["classes", MULTILABEL, REGRESSION])
def test_an_evaluation(tmp_path, task):
    features, labels = blobs(60)
    targets = {"classes": labels, MULTILABEL: np.eye(3)[labels], REGRESSION: features[:, :3]}[task]
    made = feature_cache(tmp_path / "x.h5", features, targets, ["train"] * 40 + ["test"] * 20, task=task)
    head: Any = {} if task == MULTILABEL else {"head": "ridge"}
    scores = featcache.train_head(made, output=None, epochs=2, **head).evaluate(split="test")
    text = repr(scores)
    assert len(text) < MOST
    assert text.startswith(f"{type(scores).__name__}(test: ")
    assert " 20 " in text
    assert "<table>" in scores._repr_html_()
    assert "bee" in scores._repr_html_()


def test_plans():
    plan = PlanReport(
        path=Path("<x>.h5"), images=10, computed=7, reused=3, duplicates=0, resumed=0, bytes=2_000_000, views=2,
        seconds=5.2, skipped={"<not an image>": 2}, dropped=1, task="classes", classes=3,
    )  # fmt: skip
    shown = plan._repr_html_()
    for text in (
        "&lt;x&gt;.h5",
        "10 of 2 views each",
        "7 computed, 3 reused, 1 dropped",
        "2.0 MB",
        "about 5 s",
    ):
        assert text in shown
    assert "2 &lt;not an image&gt;" in shown
    tuning = FineTuningPlan(
        trained=("b4", "b5"), frozen=("b1", "<b2>"), trained_parameters=1000, parameters=5000, train=8, val=2, test=1,
        epoch_from_photos=12.0, epoch_from_cut=3.0, cut="b3:map", extract_seconds=20.0, cut_bytes=9,
        command="featcache extract <photos>",
    )  # fmt: skip
    shown = tuning._repr_html_()
    for text in (
        "b4 to b5, and the head: 1,000 of 5,000",
        "b1, &lt;b2&gt;",
        "about 12 s",
        "extract &lt;photos&gt;",
    ):
        assert text in shown


def test_a_fine_tuning(trained):
    before, after = (Scores("test", 40, share, (share - 0.1, share), None, 0.5, 0.1) for share in (0.8, 0.9))
    right = np.repeat([1.0, 0.0], [36, 4]), np.repeat([1.0, 0.0], [32, 8])
    done = FineTuning(
        classifier=Classifier.load(trained.folder), folder=Path("tuned"), best_epoch=2, frozen=before, tuned=after,
        history=[{"epoch": 0, "val_loss": 1.0}, {"epoch": 1, "val_loss": 0.5, "loss": 2.0}],
        comparison=compare(*right), seconds=1.0, stopped="diverged: loss is NaN", unreadable={"a.jpg": "truncated"},
        trained=("a",), frozen_stages=("b",), parameters=3,
    )  # fmt: skip
    assert len(repr(done)) < MOST
    assert repr(done) == f"FineTuning('tuned', epoch 2 of 1 kept; {done.verdict})"
    assert "90.0 %" in done._repr_html_()
    assert list(done.to_frame()["val_loss"]) == [1.0, 0.5]
    assert done.warnings == (
        "it diverged: loss is NaN; the best epoch was kept. Try a tenth of the learning rate",
        "1 images could not be read, such as a.jpg: truncated",
    )


# In other processes -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_classifier_is_pickled_before_and_after_predicting(trained, small_backbone):
    loaded = Classifier.load(trained.folder)
    photo = sorted(trained.photos.glob("test/*/*.png"))[0]
    before = pickle.dumps(loaded)
    said = loaded.predict(photo)
    after = pickle.dumps(loaded)
    assert len(after) == len(before), "compiled programs stay behind"
    for content in (before, after):
        assert pickle.loads(content).predict(photo) == said


def test_one_with_a_backbone_of_its_own_is_pickled(trained, network):
    from dataclasses import replace

    own = replace(Classifier.load(trained.folder), network=network)
    photo = sorted(trained.photos.glob("test/*/*.png"))[0]
    said = own.predict(photo)
    assert pickle.loads(pickle.dumps(own)).predict(photo) == said


def first_class(classifier, features) -> int:
    return int(classifier.values(features).argmax())


@pytest.mark.slow
def test_it_works_in_a_spawned_process(trained):
    loaded = Classifier.load(trained.folder)
    features = FeatureCache(trained.cache).features([0])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(first_class, (loaded, features)) == first_class(loaded, features)


@pytest.mark.filterwarnings("ignore:.*fork.*")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on Unix alone")
def test_a_forked_process_is_told_at_once(trained):
    loaded = Classifier.load(trained.folder)
    features = FeatureCache(trained.cache).features([0])
    first_class(loaded, features)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        waiting = pool.apply_async(first_class, (loaded, features))
        with pytest.raises(featcache.FeatcacheError, match="forked after JAX had started"):
            waiting.get(60)  # without the refusal it would wait for ever
