"""The training photos that predictions name, against scikit-learn, and what is said of a cache that has changed."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.tiny_finetuning import registered, tiny_network, tiny_photos
from sklearn.neighbors import NearestNeighbors

from featcache import FeatureCache, extract, train_head
from featcache.classifier.scored import training_neighbours
from featcache.errors import DataError, IdentityError, MissingFileError, UsageError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    with registered():
        root = tmp_path_factory.mktemp("near")
        photos = tiny_photos(root / "photos")
        network = tiny_network()
        made = extract(photos, backbone=network, layers=("pool",), output=root / "f.h5")
        yield replace(train_head(made, head="ridge"), network=network), photos, FeatureCache(made.path)


def expected(cache: FeatureCache, row: int, most: int) -> list[tuple[str, float]]:
    """The nearest other rows that trained the head or chose its epoch."""
    known = [other for split in ("train", "val") for other in cache.rows_of(split).tolist() if other != row]
    x = cache.features(known, "pool").astype(float)
    near = NearestNeighbors(n_neighbors=most, metric="cosine").fit(x)
    distances, places = near.kneighbors(cache.features([row], "pool").astype(float))
    return [(cache.ids[known[place]], 1 - far) for far, place in zip(distances[0], places[0], strict=True)]


@pytest.mark.parametrize("held", [0, 1 << 28])
def test_predictions_name_the_nearest_training_photos(trained, held, monkeypatch):
    monkeypatch.setattr(training_neighbours, "HELD_BYTES", held)
    classifier, photos, cache = trained
    files = [photos / name for name in cache.ids[::7]]
    of_files = classifier.predict([*files, np.zeros((16, 16, 3), np.uint8)], neighbours=3)
    of_rows = classifier.predict(cache, neighbours=3)
    assert len(of_files[-1].neighbours) == 3
    for row, each in zip(range(0, len(cache), 7), of_files, strict=False):
        want = expected(cache, row, 3)
        for found in (each, of_rows[row]):
            assert [near.id for near in found.neighbours] == [name for name, _ in want]
            got = [near.similarity for near in found.neighbours]
            assert got == pytest.approx([close for _, close in want], abs=1e-5)
            assert all(near.id.split("/")[:2] == [near.split, near.label] for near in found.neighbours)


def test_none_are_named_where_none_were_asked_for(trained):
    classifier, _, cache = trained
    assert classifier.predict(cache)[0].neighbours is None
    with pytest.raises(UsageError, match="neighbours -1: expected 0 or more"):
        classifier.predict(cache, neighbours=-1)


def test_a_copy_in_the_training_photos_is_not_a_neighbour_of_itself(tmp_path):
    x, labels = blobs(20)
    cache = feature_cache(tmp_path / "c.h5", x, labels, ["train"] * 20, images=[0, 0, 0, *range(3, 20)])
    found = train_head(cache, head="prototype").predict(cache, neighbours=17)
    assert len(found[0].neighbours) == 17
    assert {near.id for near in found[0].neighbours} == {f"train/{row}.jpg" for row in range(3, 20)}


def test_a_training_cache_that_is_not_as_it_was_is_told(tmp_path):
    x, labels = blobs(30)
    splits = ["train"] * 20 + ["val"] * 10
    path = tmp_path / "c.h5"
    classifier = train_head(feature_cache(path, x, labels, splits), head="prototype")
    asked = feature_cache(tmp_path / "asked.h5", x[:4], labels[:4], ["test"] * 4, images=range(900, 904))
    shutil.copy(path, tmp_path / "kept.h5")
    path.unlink()
    with pytest.raises(
        MissingFileError, match=r"c\.h5, which is gone; make it again, or leave neighbours out"
    ):
        classifier.predict(asked, neighbours=2)
    feature_cache(path, x, labels, splits, images=range(50, 80))
    with pytest.raises(DataError, match="holds none of the photos that the classifier was trained on"):
        classifier.predict(asked, neighbours=2)
    with pytest.raises(IdentityError, match="made by an older featcache, does not record which"):
        replace(classifier, seen=None).predict(asked, neighbours=2)
    path.unlink()
    feature_cache(path, x, labels, splits, layer="other")
    with pytest.raises(IdentityError, match="holds other features by now"):
        classifier.predict(asked, neighbours=2)
    # Further photos in it have trained nobody.
    path.unlink()
    more = np.concatenate([x[:4], x])
    feature_cache(
        path, more, [*labels[:4], *labels], ["train"] * 4 + splits, images=[*range(500, 504), *range(30)]
    )
    found = classifier.predict(asked, neighbours=34)
    assert {near.id for near in found[0].neighbours} == {
        f"{split}/{row}.jpg" for row, split in enumerate(["train"] * 4 + splits) if row >= 4
    }
