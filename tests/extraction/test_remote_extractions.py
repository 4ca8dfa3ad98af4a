"""Extractions of photos that lie elsewhere: the rows of files, whatever fails on the way; and uploads."""

import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from helpers.fake_extractions import extract, extract_until
from helpers.object_server import Fault, ObjectServer, object_server
from helpers.photo_folders import photo_folder
from helpers.remote_photos import files_below, put, require_same, serve

import featcache
from featcache.cache import FeatureCache
from featcache.datasets.remote.fetching import Patience
from featcache.errors import DataError, MissingFileError, StorageError, UsageError


@pytest.fixture(autouse=True)
def _near(own_home, monkeypatch) -> Iterator[None]:
    monkeypatch.delenv("FEATCACHE_OFFLINE", raising=False)
    monkeypatch.setenv("FEATCACHE_FETCH_TIMEOUT", "20")
    monkeypatch.setattr(Patience, "wait", lambda self, attempt, asked: 0.0)
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def web() -> Iterator[tuple[ObjectServer, str]]:
    with object_server() as served:
        yield served


def fetched(server: ObjectServer) -> dict[str, int]:
    """Return how often each object was fetched."""
    return {
        name: count
        for (method, name), count in server.requests.items()
        if method == "GET" and name in server.files
    }


def test_each_object_is_fetched_once_and_not_again(photos, tmp_path, web):
    server, url = web
    serve(server, "pets", files_below(photos))
    extract(photos, tmp_path / "local.h5")
    extract(f"{url}/pets", tmp_path / "web.h5")
    require_same(tmp_path / "local.h5", tmp_path / "web.h5")
    assert fetched(server) == dict.fromkeys((name for name in server.files), 1)
    again = extract(f"{url}/pets", tmp_path / "web.h5")
    assert (again.computed, again.reused) == (0, 8)
    # The sample of remembered hashes that is read again comes from what was kept.
    assert set(fetched(server).values()) == {1}
    extract(f"{url}/pets", tmp_path / "web.h5", verify=True)
    assert set(fetched(server).values()) == {2}


def test_a_changed_object_is_noticed(photos, tmp_path, web):
    server, url = web
    serve(server, "pets", files_below(photos))
    extract(f"{url}/pets", tmp_path / "web.h5")
    first, other = sorted(name for name in server.files if "cat" in name)[:2]
    server.files[first] = server.files[other]
    done = extract(f"{url}/pets", tmp_path / "web.h5")
    assert done.computed == 0  # its features are those of the other
    cache = FeatureCache(tmp_path / "web.h5")
    row = cache.ids.index(first.removeprefix("pets/"))
    assert cache.sha256[row].tobytes() == hashlib.sha256(server.files[other]).digest()


@pytest.mark.one_by_default
@pytest.mark.parametrize("seed", range(3))
def test_one_failure_in_twenty_loses_and_changes_nothing(tmp_path, web, seed):
    """Every row is right: those of failures that stay are set aside, with a reason, and come with the next run."""
    server, url = web
    photos = photo_folder(tmp_path / "pets", {"cat": 40, "dog": 40})
    serve(server, "pets", files_below(photos))
    kinds = [Fault("status", 503), Fault("status", 429), Fault("reset"), Fault("short"), Fault("wrong")]
    drawn = random.Random(seed)
    # A length that HEAD and GET state alike, and that comes, is the length for all that can be known.
    of_heads = kinds[:3]
    server.choose = lambda number, method, name: (
        drawn.choice(kinds if method == "GET" else of_heads) if drawn.random() < 0.05 else None
    )
    lost = {
        "pets/cat/3.png": Fault("status", 503),
        "pets/dog/7.png": Fault("wrong"),
        "pets/dog/9.png": Fault("short"),
    }
    server.faults = dict(lost)
    done = extract(f"{url}/pets", tmp_path / "web.h5")
    assert {f"pets/{name}" for name in done.quarantined} == set(lost)
    assert set(done.quarantined.values()) == {"unreadable file"}
    assert "HTTP 503" in done.details["cat/3.png"]
    assert "expected" in done.details["dog/7.png"]
    server.faults.clear()
    done = extract(f"{url}/pets", tmp_path / "web.h5")
    assert (done.quarantined, done.computed) == ({}, 3)
    extract(photos, tmp_path / "local.h5")
    require_same(tmp_path / "local.h5", tmp_path / "web.h5")


def test_a_missing_and_a_forbidden_object_are_set_aside_with_the_reason(photos, tmp_path, web):
    server, url = web
    serve(server, "pets", files_below(photos))
    rows = "".join(f"{url}/pets/{name},{name.split('/')[1]}\n" for name in files_below(photos))
    (tmp_path / "a.csv").write_text(
        f"path,label\n{rows}{url}/pets/gone.png,cat\n{url}/pets/no.png?token=hunter2,dog\n"
    )
    server.faults["pets/no.png"] = Fault("status", 403)
    done = extract(f"csv:{tmp_path}/a.csv", tmp_path / "web.h5")
    assert set(done.quarantined) == {f"{url}/pets/gone.png", f"{url}/pets/no.png"}
    assert "404" in done.details[f"{url}/pets/gone.png"]
    assert "403" in done.details[f"{url}/pets/no.png"]
    assert b"hunter2" not in (tmp_path / "web.h5").read_bytes()


# Uploads ------------------------------------------------------------------------------------------------------


def _stored(url: str) -> bytes:
    return fsspec.filesystem("memory").cat_file(url)


def test_a_cache_is_uploaded_once_it_is_finished(photos, tmp_path):
    url = "memory://out/a.h5"
    done = extract(photos, url)
    assert done.uploaded == url
    assert _stored(url) == done.path.read_bytes()
    (tmp_path / "copy.h5").write_bytes(_stored(url))
    extract(photos, tmp_path / "local.h5")
    require_same(tmp_path / "local.h5", tmp_path / "copy.h5")


def test_what_is_there_is_not_uploaded_again_and_additions_are(photos, monkeypatch):
    url, store = "memory://out/a.h5", fsspec.filesystem("memory")
    extract(photos, url)
    uploads, own = [], type(store).put_file
    monkeypatch.setattr(
        type(store), "put_file", lambda *given, **named: uploads.append(1) or own(*given, **named)
    )
    extract(photos, url)
    assert not uploads
    shutil.copy(photos / "train/cat/1.png", photos / "train/cat/9.png")
    done = extract(photos, url)
    assert uploads == [1]
    assert _stored(url) == done.path.read_bytes()


def test_what_another_put_there_is_not_replaced(photos):
    put("memory://out", {"a.h5": b"another's"})
    with pytest.raises(UsageError, match=r"memory://out/a\.h5: something is there already .* --overwrite"):
        extract(photos, "memory://out/a.h5")
    done = extract(photos, "memory://out/a.h5", overwrite=True)
    assert _stored("memory://out/a.h5") == done.path.read_bytes()


def test_an_upload_that_fails_or_arrives_changed_says_where_the_cache_lies(photos, monkeypatch):
    url, store = "memory://out/a.h5", type(fsspec.filesystem("memory"))

    def refused(*given, **named):
        raise OSError("the store is down")

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_file", refused)
        with pytest.raises(
            StorageError, match=r"the store is down.*the finished cache lies at .*a\.h5: run the same"
        ):
            extract(photos, url)
    with monkeypatch.context() as patch:
        patch.setattr(store, "put_file", lambda self, local, remote, **named: self.pipe_file(remote, b"else"))
        with pytest.raises(StorageError, match=r"is not what was uploaded \(4 bytes of"):
            extract(photos, url)
    done = extract(photos, url, overwrite=True)
    assert done.computed == 0
    assert _stored(url) == done.path.read_bytes()


def test_an_interrupted_extraction_goes_on_and_is_uploaded(photos):
    extract_until(photos, "memory://out/a.h5", 1)
    assert not fsspec.filesystem("memory").exists("memory://out/a.h5")
    done = extract(photos, "memory://out/a.h5")
    assert done.resumed
    assert _stored("memory://out/a.h5") == done.path.read_bytes()


def test_what_cannot_be_uploaded_to_or_read_is_said(photos):
    with pytest.raises(UsageError, match="web servers take no uploads"):
        extract(photos, "https://host/a.h5")
    for output, instead in {"a.hdf": "a.hdf.h5", "caches/": "caches/photos.h5"}.items():
        with pytest.raises(
            UsageError, match=f"output memory://out/{output} must end in .h5: name it memory://out/{instead}"
        ):
            extract(photos, f"memory://out/{output}")
    for path in ("s3://bucket/a.h5", Path("s3://bucket/a.h5")):
        with pytest.raises(MissingFileError, match=r"s3://bucket/a\.h5: caches are read at random places"):
            featcache.FeatureCache(path)
    with pytest.raises(DataError, match="memory://none"):
        extract("memory://none", "memory://out/a.h5")
