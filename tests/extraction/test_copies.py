"""Copies of a photo in a dataset without splits: on one side, told where labels differ, and old splits stay."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.fake_network import FakeNetwork
from helpers.photo_folders import photo_folder, save_photo

from featcache import FeatureCache, extract
from featcache.core.columns.digest_array import digest_array
from featcache.errors import FeatcacheWarning
from featcache.extraction.planning import row_table
from featcache.extraction.planning.row_table import SplitRule


def run(photos, **options):
    return extract(str(photos), backbone=FakeNetwork(), output=photos.parent / "out.h5", **options)


def torn(cache):
    """How many images are in more than one split."""
    sides = {}
    for split in cache.splits:
        for row in cache.rows_of(split):
            sides.setdefault(cache.sha256[row].tobytes(), set()).add(split)
    return sum(len(own) > 1 for own in sides.values())


@pytest.fixture
def copied(tmp_path):
    """Photos of which a third is there twice."""
    photos = photo_folder(tmp_path / "photos", {"cat": 9, "dog": 9})
    for kind in ("cat", "dog"):
        for number in range(5):
            shutil.copy(photos / kind / f"{number}.png", photos / kind / f"copy {number}.png")
    return photos


def earlier(monkeypatch):
    """Draw as before copies were drawn as one."""
    monkeypatch.setattr(
        row_table, "SplitRule", lambda fraction, seed=0: SplitRule(fraction, seed, together=False)
    )
    monkeypatch.setattr("featcache.extraction.arguments.SplitRule", row_table.SplitRule)


def test_copies_come_to_one_side(copied):
    for seed in range(6):
        cache = run(copied, seed=seed, overwrite=True).cache
        assert torn(cache) == 0
        assert len(cache.rows_of("test")) in (4, 5, 6)


def test_a_finished_cache_keeps_the_split_that_was_drawn(copied, monkeypatch):
    seed = 2
    with monkeypatch.context() as patch:
        earlier(patch)
        before = run(copied, seed=seed).cache
        held, identity = before.path.read_bytes(), before.identity
    assert torn(before) == 1, "a seed whose border divides copies"
    assert run(copied, seed=seed).computed == 0
    assert before.path.read_bytes() == held
    assert FeatureCache(before.path).identity == identity
    assert identity["dataset"]["rule"]["rule"] == "stratified by content"
    # Other images are another dataset, and are drawn as one.
    save_photo(copied / "cat" / "new.png")
    after = run(copied, seed=seed).cache
    assert torn(after) == 0


def test_the_rule_has_its_old_name_where_it_draws_as_before(tmp_path, copied):
    plain = run(photo_folder(tmp_path / "plain" / "photos", {"cat": 9, "dog": 9})).cache
    assert plain.identity["dataset"]["rule"]["rule"] == "stratified by content"
    mended = run(copied, seed=2).cache.identity["dataset"]["rule"]
    assert mended == {"rule": "stratified by content, copies together", "test_fraction": 0.2, "seed": 2}


def test_unreadable_files_are_no_copies_of_each_other(tmp_path):
    photos = photo_folder(tmp_path / "photos", {"cat": 12, "dog": 12})
    from featcache import open_dataset

    data = open_dataset(str(photos))
    hashes = digest_array([row_table.UNREADABLE if n % 2 else b"%032d" % n for n in range(24)])
    labels = np.array([record.label for record in data.records])
    drawn = SplitRule(0.5).draw(data, hashes, labels)
    assert drawn.tolist() == replace(SplitRule(0.5), together=False).draw(data, hashes, labels).tolist()


def test_copies_with_different_labels_are_named(copied):
    shutil.copy(copied / "cat" / "7.png", copied / "dog" / "no dog.png")
    told = (
        r"^1 image is there more than once with different labels \(cat/7\.png \(cat\) = dog/no dog\.png \(dog\)\): no "
        "head can learn both; correct the labels, or remove the copies, and extract again, which computes nothing anew$"
    )
    with pytest.warns(FeatcacheWarning, match=told):
        run(copied)
    with pytest.warns(FeatcacheWarning, match=told):  # of a finished cache too
        run(copied)
    for number in range(4):
        shutil.copy(copied / "dog" / f"{number}.png", copied / "cat" / f"no cat {number}.png")
    with pytest.warns(FeatcacheWarning, match=r"^5 images are there .*\), and 2 more\): no head"):
        run(copied)
