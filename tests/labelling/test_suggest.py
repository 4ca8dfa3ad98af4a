"""`suggest` as its user sees it: round by round on real photos, and what it refuses."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_extractions import extract
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

import featcache
from featcache.errors import (
    DataError,
    FeatcacheWarning,
    IdentityError,
    MissingFileError,
    UnknownNameError,
    UsageError,
)


def fill(table: Path) -> None:
    """Write into each row's label what the photo's folder says."""
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(row | {"label": Path(row["path"]).parts[-2]} for row in rows)


@pytest.fixture
def photos(tmp_path) -> Path:
    return photo_folder(tmp_path / "photos", {"cat": 12, "dog": 12, "owl": 12})


def test_round_by_round_until_nothing_is_left(tmp_path, photos):
    pool = extract(photos, tmp_path / "pool.h5", unlabelled=True).path
    table = tmp_path / "labels.csv"
    first = featcache.suggest(pool, count=12, table=table)
    assert (first.method, len(first), first.unlabelled, first.labelled) == ("typical", 12, 36, 0)
    assert first.to_csv(table) == 12
    fill(table)
    labelled = extract(f"csv:{table}?no_label=skip", tmp_path / "l1.h5")
    assert labelled.cache.classes == ("cat", "dog", "owl")
    with pytest.warns(FeatcacheWarning, match="fewer than 5 train rows|simple statistics"):
        classifier = featcache.train_head(
            labelled.cache, head="prototype", output=tmp_path / "c", test="none"
        )

    second = featcache.suggest(pool, tmp_path / "c", count=50, table=table)
    assert (second.method, len(second), second.labelled) == ("unsure", 24, 12)
    assert not {each.id for each in first.photos} & {each.id for each in second.photos}
    assert second.notes == ("50 photos were asked for, and 24 are left without a label",)
    for each in second.photos:
        assert each.guess == each.probabilities[0][0]
        assert f"{each.guess} " in each.why
        assert each.unsure == pytest.approx(1 - each.probabilities[0][1] + each.probabilities[1][1], abs=1e-6)
    assert second.to_csv(table) == 24
    fill(table)
    assert len(extract(f"csv:{table}", tmp_path / "l2.h5").cache) == 36
    with pytest.raises(DataError, match="all of its 36 readable photos are labelled already"):
        featcache.suggest(pool, classifier, table=table)


def test_photos_are_not_called_unlike_others_where_all_are_suggested(tmp_path, photos):
    extract(photos, tmp_path / "u.h5", unlabelled=True)
    assert {each.why for each in featcache.suggest(tmp_path / "u.h5", count=1000).photos} == {""}
    assert all(each.why for each in featcache.suggest(tmp_path / "u.h5", count=2).photos)


def test_a_table_that_names_other_photos_says_so(tmp_path, photos):
    pool = extract(photos, tmp_path / "pool.h5", unlabelled=True).path
    table = tmp_path / "labels.csv"
    table.write_text("path,label\nphotos/cat/0.png,cat\nphotos/cat/1.png,\nelse/x.png,dog\n")
    found = featcache.suggest(pool, count=3, table=table)
    assert (found.labelled, found.unlabelled) == (1, 35)
    assert found.notes == (f"1 photo with a label in {table} is not in {pool}",)


def test_the_list_as_a_page_a_folder_and_numbers(tmp_path, photos):
    pool = extract(photos, tmp_path / "pool.h5", unlabelled=True).path
    found = featcache.suggest(pool, count=4)
    page = found.to_html(tmp_path / "sheet.html")
    assert (tmp_path / "sheet.html").read_text() == page
    assert page.count('role="img"') == 4
    assert "4 photos to label, of 36 without a label" in page
    assert found.to_folder(tmp_path / "links").linked == 4
    ids = [each.id for each in found.photos]
    for number, (name, path) in enumerate(
        zip(ids, sorted((tmp_path / "links").iterdir()), strict=True), start=1
    ):
        assert path.name == f"{number}-{Path(name).name}"
        assert path.samefile(photos / name)
    assert [row["id"] for row in found.to_json()["photos"]] == ids == found.to_frame()["id"].tolist()
    assert "What to label next" in found._repr_html_()
    with pytest.raises(UsageError, match=r"lies in .*photos, whose photos are to be labelled"):
        found.to_folder(photos / "next")


def test_photos_that_have_moved_are_said_and_found_where_they_are(tmp_path, photos):
    pool = extract(photos, tmp_path / "pool.h5", unlabelled=True).path
    photos.rename(tmp_path / "moved")
    found = featcache.suggest(pool, count=2)
    assert "the photos are not to be read at" in found.to_html()
    with pytest.raises(
        DataError, match=r"links: no photo was put there. There are no pictures.*--photos DATASET"
    ):
        found.to_folder(tmp_path / "links")
    found = featcache.suggest(pool, count=2, photos=tmp_path / "moved")
    assert found.to_folder(tmp_path / "links").linked == 2


@pytest.fixture
def labelled(tmp_path):
    features, labels = blobs(30)
    return feature_cache(tmp_path / "l.h5", features, labels, ["train"] * 20 + ["test"] * 10)


def test_a_cache_with_labels_is_refused_with_both_readings_and_taken_by_split(labelled):
    said = (
        r"l.h5 has the labels of its photos.*extract PHOTOS --unlabelled.*or, to see what would be suggested.*"
        r"split train \(20 images\), split test \(10 images\), or split all"
    )
    with pytest.raises(UsageError, match=said):
        featcache.suggest(labelled)
    found = featcache.suggest(labelled, count=5, split="test")
    assert {each.split for each in found.photos} == {"test"}
    classifier = featcache.train_head(labelled, head="prototype", output=None)
    assert featcache.suggest(labelled, classifier, split="all").unlabelled == 10


@pytest.mark.slow
def test_numbers_and_answers_are_asked_about_too(tmp_path):
    features, labels = blobs(40)
    splits = ["train"] * 20 + ["test"] * 20
    answers = np.eye(3)[labels]
    cache = feature_cache(tmp_path / "a.h5", features, answers, splits, task="answers")
    head = featcache.train_head(cache, output=None, epochs=3)
    found = featcache.suggest(cache, head, count=4, split="test")
    assert found.method == "unsure"
    assert all(each.why.startswith("least sure of: ") and not each.guess for each in found.photos)
    cache = feature_cache(
        tmp_path / "n.h5", features, features[:, :1], splits, task="numbers", classes=("age",)
    )
    head = featcache.train_head(cache, output=None)
    found = featcache.suggest(cache, head, count=4, split="test")
    assert (found.method, found.photos[0].unsure) == ("typical", None)
    assert found.words.endswith("as numbers do not say how sure they are")
    assert found.photos[0].why.startswith("age ")


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"count": 0}, UsageError, "count 0: expected at least 1 photo to suggest"),
        ({"count": 2.5}, UsageError, "count 2.5: expected a whole number"),
        ({"seed": -1}, UsageError, r"seed -1: expected a whole number in 0..2\^32"),
        ({"layer": "nope"}, UnknownNameError, "holds no layer 'nope'"),
        ({"split": "nope"}, UnknownNameError, "has no split 'nope'"),
        ({"table": "labels.txt"}, UsageError, "labels.txt: expected a file that ends in .csv"),
        ({"classifier": "nope"}, MissingFileError, "no classifier in nope"),
    ],
)
def test_what_cannot_be_is_refused(labelled, given, error, said):
    with pytest.raises(error, match=said):
        featcache.suggest(labelled, **{"split": "all", **given})


def test_a_classifier_of_other_features_is_refused(tmp_path, labelled):
    features, labels = blobs(30)
    other = feature_cache(tmp_path / "o.h5", features, labels, ["train"] * 30, layer="blocks.3")
    head = featcache.train_head(other, head="prototype", output=None, test="none")
    with pytest.raises(
        IdentityError, match=r"featcache extract photos --backbone CLASSIFIER --layer blocks.3 -o NEW"
    ):
        featcache.suggest(labelled, head, split="all")
    head = featcache.train_head(labelled, head="prototype", output=None)
    with pytest.raises(
        UsageError, match=r"layer blocks.3: this classifier reads pool, and no other; leave it out"
    ):
        featcache.suggest(labelled, head, split="all", layer="blocks.3")
