"""The section on the data: its numbers are those of the files, counted by hand."""

from collections import Counter

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder
from helpers.small_caches import small
from helpers.tiny_finetuning import registered, tiny_network

from featcache import extract
from featcache.reports.material import Material
from featcache.reports.sections import data


class Drawn:
    """In the place of `Sprites`: remembers who asked for what."""

    def __init__(self):
        self.asked = []

    def of(self, name):
        self.asked.append(name)
        return len(self.asked)


def shown(cache, **more):
    return data.section(Material(path=cache.path, sprites=Drawn(), cache=cache, **more))


def test_counts_by_class_and_split_are_those_of_the_rows(tmp_path):
    splits = ["train"] * 30 + ["val"] * 9 + ["test"] * 6
    features, labels = blobs(45)
    cache = feature_cache(tmp_path / "a.h5", features, labels, splits)
    found = shown(cache)
    want = Counter((split, cache.classes[label]) for split, label in zip(splits, labels, strict=True))
    assert {(s, c): n for s, own in found.data["counts"].items() for c, n in own.items()} == want
    (chart,) = found.charts
    assert chart.y.categories == cache.classes
    for series in chart.series:
        assert list(series.x) == [want[series.name, name] for name in cache.classes]
    assert found.content["cells"][0] == ("ant", 10, 3, 2, 15)
    assert found.headline == "45 photos (train 30, val 9, test 6); 3 classes of about as many each"


def test_many_classes_draw_the_largest_and_the_smallest_and_the_table_has_all(tmp_path):
    counts = list(range(1, 61))
    labels = np.repeat(np.arange(60), counts)
    names = [f"class {number:02}" for number in range(60)]
    features = np.ones((len(labels), 2), np.float32)
    cache = feature_cache(tmp_path / "a.h5", features, labels, ["train"] * len(labels), classes=names)
    found = shown(cache)
    (chart,) = found.charts
    assert chart.y.categories == (*names[:20], *names[-20:])
    assert len(found.content["cells"]) == 60
    assert "Of 60 classes, the 20 largest and the 20 smallest" in chart.note
    assert "from 1 of class 00 to 60 of class 59" in found.headline


def test_copies_across_splits_are_leaks_and_stand_first(tmp_path):
    splits = ["train"] * 6 + ["test"] * 6
    images = [0, 1, 2, 3, 4, 4, 2, 7, 8, 9, 10, 11]
    labels = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    features = np.ones((12, 2), np.float32)
    cache = feature_cache(tmp_path / "a.h5", features, labels, splits, classes=("a", "b"), images=images)
    found = shown(cache)
    assert found.data["copies"] == [["train/2.jpg", "test/6.jpg"], ["train/4.jpg", "train/5.jpg"]]
    assert found.data["leaks"] == [["train/2.jpg", "test/6.jpg"]]
    assert [what for what, _ in found.content["copies"]] == ["leak", "copy, contradictory labels"]
    assert found.headline.endswith("1 photo is in several splits; 1 photo is there with different labels")
    assert any("1 of 6 test rows are copies of train rows" in text for text in found.data["findings"])


def test_what_was_left_out_is_told_with_its_reason(tmp_path):
    photos = photo_folder(tmp_path / "photos", {"cat": 3, "dog": 3})
    (photos / "cat" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (photos / "cat" / "notes.txt").write_text("text")
    with registered(), pytest.warns(match="unreadable"):
        cache = extract(photos, backbone=tiny_network(), output=tmp_path / "a.h5").cache
    from featcache.reports.opening import open_material
    from featcache.reports.wishes import Wishes

    material = open_material([cache.path], Wishes())
    found = data.section(Material(**{**vars(material), "sprites": Drawn()}))
    assert list(found.data["unreadable"]) == ["cat/0.png"]
    assert found.data["skipped"] == dict(material.dataset.skipped) != {}
    assert "1 could not be read" in found.headline
    cats, dogs = found.content["samples"]
    assert ({own["name"] for own in cats["photos"]}, cats["count"]) == ({"cat/1.png", "cat/2.png"}, 2)
    assert {own["name"] for own in dogs["photos"]} == {"dog/0.png", "dog/1.png", "dog/2.png"}
    split = dict(zip(cache.ids, cache.split_names(), strict=True))
    assert all(own["caption"] == split[own["name"]] for own in cats["photos"] + dogs["photos"])


def test_other_tasks_have_their_own_counts(tmp_path):
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 3)).astype(np.float32)
    splits = ["train"] * 30 + ["test"] * 10
    answers = (random.random((40, 3)) < 0.4).astype(np.float32)
    found = shown(feature_cache(tmp_path / "m.h5", features, answers, splits, task="answers"))
    names = ("ant", "bee", "cat")
    assert found.data["counts"]["test"] == dict(zip(names, answers[30:].sum(axis=0).astype(int), strict=True))
    numbers = random.normal(size=(40, 1)).astype(np.float32)
    cache = feature_cache(tmp_path / "r.h5", features, numbers, splits, task="numbers", classes=("age",))
    found = shown(cache)
    (chart,) = found.charts
    assert sum(sum(series.y) for series in chart.series) == 40
    edges = np.histogram_bin_edges(numbers[:, 0], bins=data.BINS)
    assert list(chart.series[1].y) == np.histogram(numbers[30:, 0], edges)[0].tolist()


def test_names_of_another_code_and_quarantined_rows_are_no_obstacle(tmp_path):
    found = shown(small().publish(tmp_path / "a.h5"))
    assert sum(sum(own.values()) for own in found.data["counts"].values()) == 11
    assert len(found.data["unreadable"]) == 2


def test_no_cache_no_section(tmp_path):
    assert data.section(Material(path=tmp_path, sprites=Drawn())) is None
