"""``featcache suggest``: what it prints, writes and advises."""

import numpy as np
import pytest
from helpers.fake_extractions import extract
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

from featcache import train_head


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """A cache of 30 photos without labels, of which one stands there twice, and a classifier of ten of them."""
    monkeypatch.chdir(tmp_path)
    features, labels = blobs(31)
    rows = {"classes": (), "task": "unlabelled", "images": [*range(30), 0]}
    feature_cache(tmp_path / "pool.h5", features, labels, ["all"] * 31, **rows).close()
    own = feature_cache(
        tmp_path / "l.h5", features[10:20], labels[10:20], ["train"] * 10, images=range(10, 20)
    )
    train_head(own, head="prototype", output="c", test="none")


@pytest.mark.usefixtures("pool")
def test_a_ranked_list_with_why(cli):
    ran = cli("suggest", "pool.h5", "--count", "3")
    head, *lines = ran.out.splitlines()
    assert head == (
        "3 photos to label, of 30 without a label (1 copy of another left out): photos that are typical of many "
        "others without a label"
    )
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert all("typical of " in line for line in lines)
    assert "next: --csv LABELS.csv writes a table to fill in" in ran.err
    ran = cli("suggest", "pool.h5", "c", "--count", "12")
    head, *lines = ran.out.splitlines()
    assert head.startswith(
        "12 photos to label, of 20 without a label (10 labelled already, 1 copy of another left out): typical photos, "
        "unlike each other, of many that the classifier is unsure of"
    )
    assert lines[0].startswith(" 1  all/")
    assert all(" sure: " in line for line in lines)


@pytest.mark.usefixtures("pool")
def test_json_has_the_same(cli):
    found = cli("suggest", "pool.h5", "c", "--count", "2", "--csv", "labels.csv", "--json").result
    assert (found["method"], found["unlabelled"], found["labelled"], found["copies"]) == ("unsure", 20, 10, 1)
    assert found["written"] == ["labels.csv"]
    one = found["photos"][0]
    assert list(one["probabilities"].values()) == sorted(one["probabilities"].values(), reverse=True)
    assert one["guess"] == next(iter(one["probabilities"]))
    assert np.isclose(sum(one["probabilities"].values()), 1, atol=1e-5)


def test_what_is_written_is_said_with_what_comes_next(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extract(photo_folder(tmp_path / "photos", {".": 6}), tmp_path / "pool.h5", unlabelled=True)
    line = [
        "suggest",
        "pool.h5",
        "--count",
        "2",
        "--csv",
        "labels.csv",
        "--links",
        "next",
        "-o",
        "sheet.html",
    ]
    ran = cli(*line)
    extracted = "featcache extract 'csv:labels.csv?no_label=skip' -b "
    assert f"labels.csv: 2 photos added. Fill in the column label, then: {extracted}" in ran.err
    assert "next: 2 photos. Sort them into a folder for each class, then: featcache extract next " in ran.err
    assert "next: open sheet.html in a browser" in ran.err
    assert (tmp_path / "labels.csv").read_text().startswith("path,label,guess,why\nphotos/")
    ran = cli("suggest", "pool.h5", "--count", "2", "--csv", "labels.csv")
    assert "labels.csv: 0 photos added, 2 stood there already. Fill in" in ran.err
    ran = cli(*line)
    assert (ran.code, "next is there and holds 1-" in ran.err) == (2, True)


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("c pool.h5", 2, "c is a classifier, and the cache comes first: featcache suggest pool.h5 c"),
        ("c", 2, "c is a classifier, and the cache comes first: featcache suggest CACHE c"),
        ("l.h5", 2, "l.h5 has the labels of its photos, so it is not plain which are to be labelled"),
        ("l.h5", 2, "say which rows count as unlabelled: --split train (10 images), or --split all"),
        ("pool.h5 l.h5", 3, "l.h5 is a cache"),
        ("pool.h5 -o sheet.txt", 2, "--output sheet.txt: expected a page, FILE.html; --csv writes a table"),
        ("pool.h5 --csv labels.txt", 2, "labels.txt: expected a file that ends in .csv"),
        ("pool.h5 --csv no/labels.csv", 1, "cannot write no/labels.csv: No such file or directory"),
        ("pool.h5 --count 0", 2, "--count 0: expected at least 1 photo to suggest"),
    ],
)
def test_what_is_refused(cli, line, code, said):
    ran = cli("suggest", *line.split())
    assert ran.code == code
    assert said in ran.err


def test_photos_are_no_cache(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo_folder(tmp_path / "photos", {".": 2})
    ran = cli("suggest", "photos")
    assert ran.code == 3
    assert ran.err == (
        "error: photos is a folder of photos, no cache of features; featcache extract photos --unlabelled -o NEW.h5, "
        "then featcache suggest NEW.h5\n"
    )


@pytest.mark.usefixtures("pool")
def test_no_table_grows_where_the_photos_of_the_folder_have_moved(cli, tmp_path):
    ran = cli("suggest", "pool.h5", "--count", "3", "--links", "new", "--csv", "labels.csv")
    assert ran.code == 3
    assert "no photo was put there" in ran.err
    assert ran.out.startswith("3 photos to label, of 30 without a label"), (
        "what was found is printed all the same"
    )
    assert not (tmp_path / "labels.csv").exists()


@pytest.mark.usefixtures("pool")
def test_one_name_is_not_given_to_two_options(cli, tmp_path):
    ran = cli("suggest", "pool.h5", "--csv", "a.csv", "--links", "./a.csv")
    assert (ran.code, (tmp_path / "a.csv").exists()) == (2, False)
    assert "--csv and --links both name a.csv; give each a name of its own" in ran.err


def test_photos_that_cannot_be_read_any_more_are_counted(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = photo_folder(tmp_path / "photos", {".": 6})
    extract(photos, tmp_path / "pool.h5", unlabelled=True)
    first, second, *_ = sorted(photos.rglob("*.png"))
    first.unlink()
    second.write_bytes(b"another picture")
    ran = cli("suggest", "pool.h5", "--count", "6", "--links", "new")
    assert ran.code == 0
    assert "new: 4 photos; 2 photos could not be read, such as " in ran.err
