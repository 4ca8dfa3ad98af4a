"""The section of photos: which are shown, what is said of them, and their nearest training photos."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.report_material import HOSTILE, CountingSprites, answers, certain, material_of
from sklearn.neighbors import NearestNeighbors

import featcache
from featcache.reports.material import Material
from featcache.reports.sections.predictions import MISTAKES, OF_CLASSES, SAMPLE, section


def made(labels, values, **how):
    labels = np.asarray(labels)
    names = [f"{row}.jpg" for row in range(len(labels))]
    found = section(material_of(labels, values, **{"names": names, **how}))
    assert found is not None
    return found


def places(pictures) -> list[int]:
    return [picture.row for picture in pictures]


def test_the_surest_mistakes_and_the_least_sure_right_answers_are_shown():
    labels, values = answers(300)
    found, confidence, right = made(labels, values), values.max(axis=1), values.argmax(axis=1) == labels
    every = range(300)
    mistakes = sorted((row for row in every if not right[row]), key=lambda row: -confidence[row])
    unsure = sorted((row for row in every if right[row]), key=lambda row: confidence[row])
    assert places(found.content["mistakes"]) == mistakes[:MISTAKES]
    assert places(found.content["unsure"]) == unsure[:24]
    assert {picture.kind for picture in found.content["mistakes"]} == {"wrong"}
    assert {picture.kind for picture in found.content["unsure"]} == {"right"}
    assert (found.content["wrong"], found.content["right"]) == (len(mistakes), len(unsure))
    first, shown = mistakes[0], found.data["mistakes"][0]
    assert shown["file"] == f"{first}.jpg"
    assert shown["probability"] == confidence[first]
    assert shown["truth_probability"] == values[first, labels[first]]
    assert (shown["truth"], shown["guess"]) == (f"class {labels[first]}", f"class {values[first].argmax()}")
    assert list(shown["probabilities"].values()) == sorted(values[first].tolist(), reverse=True)[:3]
    assert f"{len(mistakes)} mistakes; it is surest of calling class {labels[first]} " in found.headline


def test_the_sample_is_drawn_by_the_seed():
    labels, values = answers(300)
    one, again, other = (made(labels, values, seed=seed).content["sample"] for seed in (0, 0, 1))
    assert places(one) == places(again) != places(other)
    assert len(set(places(one))) == SAMPLE
    assert {picture.kind for picture in one} == {"right", "wrong"}


def test_each_class_has_its_own_mistakes_and_right_answers():
    labels, values = answers(300)
    guesses = values.argmax(axis=1)
    for each in made(labels, values).content["by_class"]:
        own = labels == each.number
        assert (
            f"{(own & (guesses == labels)).sum()} right, {(own & (guesses != labels)).sum()} wrong"
            in each.words
        )
        assert (len(each.mistakes), len(each.unsure)) == (4, 4)
        assert all(labels[picture.row] == each.number for picture in (*each.mistakes, *each.unsure))


def test_many_classes_and_photos_stay_a_small_page():
    labels, values = answers(5000, 101)
    material = material_of(labels, values, names=[f"{row}.jpg" for row in range(5000)])
    found = section(material)
    assert found is not None
    assert isinstance(material.sprites, CountingSprites)
    assert len(material.sprites.asked) <= OF_CLASSES + 3 * SAMPLE
    assert len(found.content["by_class"]) == 101
    assert made(*answers(900, 450)).content["by_class"] == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Material:
    x, labels = blobs(120)
    cache = feature_cache(
        tmp_path_factory.mktemp("near") / "blobs.h5", x, labels, ["train"] * 80 + ["test"] * 40
    )
    classifier = featcache.train_head(cache, head="ridge")
    rows = np.arange(80, 120)
    return Material(
        path=Path("made"), sprites=CountingSprites(), classifier=classifier, cache=cache, rows=rows, split="test",
        values=classifier.values(x[rows]), labels=labels[rows],
    )  # fmt: skip


def test_the_nearest_training_photos_are_those_of_scikit_learn(trained):
    found, cache = section(trained), trained.cache
    assert found is not None
    oracle = NearestNeighbors(n_neighbors=3, metric="cosine", algorithm="brute")
    oracle.fit(cache.features(np.arange(80)))
    for picture in found.content["sample"]:
        distances, rows = oracle.kneighbors(cache.features([80 + picture.row]))
        assert [each.name for each in picture.near] == [cache.ids[row] for row in rows[0]]
        np.testing.assert_allclose([each.similarity for each in picture.near], 1 - distances[0], atol=1e-6)
        assert [each.label for each in picture.near] == [cache.classes[cache.labels[row]] for row in rows[0]]
        assert all(each.thumbnail for each in picture.near)


def test_a_training_photo_is_not_its_own_neighbour(trained):
    rows = np.arange(10)
    own = replace(
        trained, rows=rows, labels=trained.cache.labels[rows], values=trained.values[rows], split="train"
    )
    found = section(own)
    assert found is not None
    for picture in found.content["sample"]:
        assert len(picture.near) == 3
        assert picture.name not in [each.name for each in picture.near]


def test_photos_of_another_cache_have_names_of_neighbours_but_no_pictures_of_them(trained, tmp_path):
    x, labels = blobs(6, seed=9)
    other = feature_cache(tmp_path / "new.h5", x, labels, ["test"] * 6, images=range(900, 906))
    values = trained.classifier.values(x)
    material = replace(trained, cache=other, rows=np.arange(6), labels=labels, values=values)
    found = section(material)
    assert found is not None
    near = found.content["sample"][0].near
    assert near[0].name.startswith("train/")
    assert all(each.thumbnail is None for each in near)
    gone = {**trained.classifier.provenance, "cache": str(tmp_path / "gone.h5")}
    found = section(replace(material, classifier=replace(trained.classifier, provenance=gone)))
    assert found is not None
    assert not found.content["near"]
    assert material.notes == [
        f"No nearest training photos are shown: the cache that the classifier was trained on, {tmp_path / 'gone.h5'}, "
        "is gone or holds other features."
    ]


def test_a_training_cache_whose_rows_cannot_be_told_leaves_out_neighbours_and_says_why(trained):
    asked = {**trained.classifier.training, "selection": {"train": "other"}}
    material = replace(trained, classifier=replace(trained.classifier, training=asked), notes=[])
    found = section(material)
    assert found is not None
    assert not found.content["near"]
    assert "no split 'other'" in material.notes[0]


@pytest.mark.parametrize(
    ("labels", "guesses", "words"),
    [
        ([0, 1], [0, 1], "No mistake among the 2 test photos; the least sure answer has 100.0 %"),
        ([0, 0], [1, 1], "2 mistakes; it is surest of calling class 0 class 1 (100.0 %)"),
        ([0], [2], "1 mistake; it is surest of calling class 0 class 2 (100.0 %)"),
    ],
)
def test_all_right_all_wrong_and_one_row_are_said(labels, guesses, words):
    found = made(labels, certain(guesses, 3))
    assert found.headline == words
    assert len(found.content["sample"]) == len(labels)
    assert len(found.content["by_class"]) == len(set(labels))


def test_ties_keep_their_order():
    found = made([0, 1, 0, 1], np.full((4, 2), 0.5, np.float32))
    assert (places(found.content["unsure"]), places(found.content["mistakes"])) == ([0, 2], [1, 3])


def test_hostile_names_are_printable_and_pictures_may_be_missing():
    found = made(
        range(5), certain([1, 2, 3, 4, 0], 5), classes=HOSTILE, names=HOSTILE, there=False,
        moved="The photos are not where they were.",
    )  # fmt: skip
    assert not found.content["pictured"]
    assert found.content["moved"] == "The photos are not where they were."
    texts = [text for each in found.content["sample"] for text in (each.name, each.caption, *each.lines)]
    assert all(text.isprintable() for text in (*texts, found.headline))
    assert {each["file"] for each in found.data["sample"]} == set(HOSTILE)
    assert section(material_of(np.zeros(0, int), np.zeros((0, 2)))) is None
