"""Caches of photos without labels: made, continued and copied from as others, and refused by whatever needs labels."""

import json
import re

import numpy as np
import pytest
from helpers.fake_extractions import extract
from helpers.fake_network import FakeNetwork, expected
from helpers.feature_caches import feature_cache
from helpers.photo_folders import photo, photo_folder

import featcache
from featcache import FeatureCache, sweep, train_head
from featcache.cache import header
from featcache.errors import IntegrityError, UsageError

FLAT = {".": 3, "deep/er": 2}
NEEDS_LABELS = (
    r"holds images without labels, and {} needs them: extract again without unlabelled, from class folders or a table "
    r"with a column of labels \(features are copied, none is computed anew\)\. As it is, it serves featcache predict, "
    r"similarity search and clustering$"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> FeatureCache:
    root = tmp_path_factory.mktemp("unlabelled")
    return extract(photo_folder(root / "photos", FLAT), root / "a.h5", unlabelled=True).cache


def test_ids_and_features_are_kept_and_labels_are_not(cache):
    assert cache.ids == ("0.png", "1.png", "2.png", "deep/er/0.png", "deep/er/1.png")
    assert (cache.task, cache.classes, cache.splits, cache.targets) == ("unlabelled", (), ("all",), None)
    assert cache.labels.tolist() == [-1] * 5
    for row, name in enumerate(cache.ids):
        np.testing.assert_array_equal(cache.features([row])[0], expected(cache.path.parent / "photos" / name))
    assert cache.rows_of().tolist() == cache.rows_of("all").tolist() == list(range(5))
    assert cache.rows_of("all[:2]").tolist() == [0, 1]


def test_the_same_extraction_again_has_nothing_to_do(cache):
    again = extract(cache.path.parent / "photos", cache.path, unlabelled=True)
    assert (again.computed, again.reused) == (0, 5)


def test_labels_later_cost_nothing(tmp_path):
    photos = photo_folder(tmp_path / "photos", {"cat": 3, "dog": 3})
    first = extract(photos, tmp_path / "a.h5", unlabelled=True)
    labelled = extract(photos, tmp_path / "b.h5")
    assert (first.computed, labelled.computed, labelled.reused) == (6, 0, 6)
    assert labelled.cache.classes == ("cat", "dog")


def test_a_cache_without_labels_does_not_replace_one_with_them_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = photo_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    paths = [
        featcache.extract(
            photos, backbone=FakeNetwork(), unlabelled=on, workers=1, test_fraction=0.0
        ).path.name
        for on in (False, True)
    ]
    assert paths[1] == paths[0].replace("photos-", "photos-unlabelled-")


def test_pictures_in_memory(tmp_path):
    pictures = np.stack([photo("cat/1"), photo("cat/2")])
    done = featcache.extract(
        images=pictures,
        ids=["a", "b"],
        unlabelled=True,
        backbone=FakeNetwork(),
        output=tmp_path / "own.h5",
        workers=1,
    )
    assert done.cache.ids == ("a", "b")


REFUSED = {
    "a head": lambda cache, folder: train_head(cache, output=folder / "classifier"),
    "a sweep": lambda cache, folder: sweep([cache], output=folder / "sweep"),
    "a nearest-neighbour head": lambda cache, folder: train_head(cache, output=folder / "c", head="knn"),
    "an open cache": lambda cache, folder: train_head(FeatureCache(cache), output=None),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_needs_labels_refuses_it_by_name(cache, tmp_path, what):
    named = {"a nearest-neighbour head": "a head", "an open cache": "a head"}.get(what, what)
    with pytest.raises(UsageError, match=re.escape(str(cache.path)) + " " + NEEDS_LABELS.format(named)):
        REFUSED[what](cache.path, tmp_path)
    assert not list(tmp_path.iterdir())


def test_fine_tuning_and_evaluations_refuse_it_too(cache, trained):
    with pytest.raises(UsageError, match=NEEDS_LABELS.format("fine-tuning")):
        featcache.finetune(trained.folder, cache=cache.path, output=None)
    with pytest.raises(UsageError, match=NEEDS_LABELS.format("an evaluation")):
        trained.classifier.evaluate(cache)


def test_it_is_exported_without_labels(cache, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    cache.to_parquet(tmp_path / "a.parquet")
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column("id").to_pylist() == list(cache.ids)
    assert not {"class", "label"} & {*table.column_names}
    cache.to_npz(tmp_path / "a.npz")
    assert np.load(tmp_path / "a.npz")["label"].tolist() == [-1] * 5


def test_the_format_says_what_earlier_readers_do_not_know(cache, monkeypatch):
    assert cache.path.read_bytes().startswith(b"featcache 2\n")
    labelled = feature_cache(cache.path.parent / "labelled.h5", np.eye(2), [0, 1], ["train"] * 2)
    assert labelled.path.read_bytes().startswith(b"featcache 1\n")
    monkeypatch.setattr(header, "NEWEST_VERSION", 1)  # as readers were before
    with pytest.raises(
        IntegrityError, match="has format version 2, this featcache reads up to 1: upgrade featcache"
    ):
        FeatureCache(cache.path)
    assert FeatureCache(labelled.path).task == "classes"


def test_an_identity_that_contradicts_itself_is_refused(cache):
    from featcache.cache.documents import check_identity

    wrong = json.loads(json.dumps(cache.identity))
    wrong["dataset"]["classes"] = ["cat"]
    with pytest.raises(
        IntegrityError, match=r"dataset.classes.* holds names, expected none of an unlabelled dataset"
    ):
        check_identity(wrong, cache.path)
