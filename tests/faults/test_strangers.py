"""Files that cannot be used beside those that can: left out and named in one line, never fatal."""

import json
import math

import numpy as np
import pytest
from helpers.fake_network import FakeNetwork
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

import featcache
from featcache.cache import CacheWriter, FeatureCache, gc, list_caches
from featcache.cli.app import run
from featcache.cli.console import Console
from featcache.core.environment import home
from featcache.errors import IntegrityError
from featcache.sweeps.sweep import sweep

SPLITS = ["train"] * 60 + ["val"] * 20 + ["test"] * 20


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """A cache, one of a label that is no class, and a file that is none."""
    features, labels = blobs(100)
    feature_cache(tmp_path / "good.h5", features, labels, SPLITS).close()
    with monkeypatch.context() as earlier:  # a version that did not look at labels
        earlier.setattr("featcache.cache.header.check_columns", lambda *given: None)
        wrong = np.where(labels == 2, 2**31 - 1, labels)
        feature_cache(tmp_path / "label.h5", features, wrong, SPLITS).close()
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(5000))
    return tmp_path


def test_a_listing_names_them(caches, capsys):
    assert run(["cache", "ls", str(caches)]) == 0
    said = capsys.readouterr()
    assert [line.split()[0].rpartition("/")[2] for line in said.out.splitlines()[1:]] == [
        "good.h5",
        "label.h5",
    ]
    (line,) = said.err.splitlines()
    assert (
        f"unreadable: {caches / 'label.h5'}: the row table is damaged: label of row 2 is 2147483647, expected 0 to 2"
        in line
    )
    assert run(["cache", "ls", str(caches), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["result"]["caches"]
    assert [each["state"] for each in listed] == ["finished", "unreadable"]


def test_cleaning_up_goes_round_them(caches):
    (caches / "label.h5").rename(caches / "label.partial.h5")
    (left,) = gc(caches)
    assert (left.path, left.removable) == (caches / "label.partial.h5", True)
    assert [info.path.name for info in list_caches(caches)] == ["good.h5"]


def test_an_extraction_leaves_them_out(caches):
    photos = photo_folder(caches / "photos", {"cat": 2, "dog": 2})
    (home() / "caches").mkdir(parents=True)
    for name in ("good.h5", "label.h5", "weights.h5"):
        (caches / name).rename(home() / "caches" / name)
    with pytest.warns(RuntimeWarning) as said:
        done = featcache.extract(photos, backbone=FakeNetwork(), output=caches / "a.h5", workers=1)
    assert done.computed == 4
    assert [str(each.message).partition(":")[0] for each in said] == ["left out", "left out"]
    assert "label.h5: the row table is damaged" in str(said[0].message)
    assert "weights.h5 is no featcache cache: it is an HDF5 file of something else" in str(said[1].message)


def test_a_sweep_over_many_leaves_them_out(caches):
    named = sorted(caches.glob("*.h5"))
    result = sweep(named, output=caches / "sweep", head="prototype", metric="cosine", save_best=False)
    assert [text.partition(":")[0] for text in result.warnings[:2]] == ["left out", "left out"]
    assert "label.h5: the row table is damaged" in result.warnings[0]
    assert result.caches == (FeatureCache(caches / "good.h5").backbone,)
    for alone in (named[1:2], named[1:]):
        with pytest.raises(IntegrityError, match=r"label\.h5: the row table is damaged"):
            sweep(alone, output=caches / "none", head="prototype")
    assert not (caches / "none").exists()


def test_nan_is_null_in_answers(capsys):
    value = {"loss": math.nan, "all": [math.inf, np.float32("nan"), np.int64(3), (1.5,)]}
    Console("evaluate", as_json=True).result(value, [])
    answer = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert answer["result"] == {"loss": None, "all": [None, None, 3, [1.5]]}


def test_views_and_seeds_beyond_the_format_are_refused(tmp_path):
    photos = photo_folder(tmp_path / "photos", {"train/cat": 1, "train/dog": 1})
    for options, text in (
        ({"views": 10_001}, "views 10001: expected at least 1, which is the plain image, at most 10,000"),
        (
            {"views": 2, "view_seed": 2**63},
            "view_seed 9223372036854775808: expected a whole number of 64 bits",
        ),
    ):
        with pytest.raises(featcache.errors.UsageError, match=text):
            featcache.extract(photos, backbone=FakeNetwork(), output=tmp_path / "a.h5", **options)
    assert CacheWriter.resume(tmp_path / "a.h5") is None
