"""Commands that are given URLs: what was fetched is listed and cleared, and uploads are told of."""

import fsspec
import pytest
from helpers.fake_extractions import extract
from helpers.photo_folders import photo_folder
from helpers.remote_photos import files_below, put

from featcache.cli.commands.extract import lines
from featcache.datasets.remote.kept import entries, fetched_folder


@pytest.fixture
def pets(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    photos = photo_folder(tmp_path / "pets", {"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/dog": 1})
    put("memory://bucket/pets", files_below(photos))
    yield "memory://bucket/pets"
    fsspec.filesystem("memory").store.clear()


def test_extract_uploads_says_so_and_gc_clears_what_was_fetched(cli, pets, tmp_path):
    done = extract(pets, "memory://bucket/a.h5")
    assert "  uploaded  memory://bucket/a.h5, and read back" in lines(done)
    assert fsspec.filesystem("memory").exists("memory://bucket/a.h5")
    assert len(list(entries(fetched_folder()))) == 8
    assert "fetched images" not in cli("cache", "gc", tmp_path, "--delete").out
    assert "would remove" in (listed := cli("cache", "gc", tmp_path, "--fetched").out)
    assert "fetched images and blocks of shards (8), which are fetched again" in listed
    assert len(list(entries(fetched_folder()))) == 8
    cli("cache", "gc", tmp_path, "--fetched", "--delete")
    assert not list(entries(fetched_folder()))
    (tmp_path / "empty").mkdir()
    assert f"nothing is left over in {tmp_path / 'empty'}" in cli("cache", "gc", tmp_path / "empty").out


def test_a_cache_with_a_url_is_to_be_copied_first(cli):
    refused = cli("train-head", "s3://bucket/a.h5")
    assert refused.code == 3
    assert (
        "s3://bucket/a.h5: caches are read at random places, and from a disk only; copy it first"
        in refused.err
    )
