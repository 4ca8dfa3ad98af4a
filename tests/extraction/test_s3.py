"""S3 as moto serves it on this machine: the rows of files, failures in between, and a cache that is uploaded."""

import random
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_extractions import extract
from helpers.photo_folders import photo_folder
from helpers.remote_photos import files_below, put, require_same, rows, shard_of

from featcache.datasets import open_dataset
from featcache.datasets.remote import access
from featcache.datasets.remote.fetching import Patience
from featcache.errors import DataError, MissingFileError, UsageError

pytestmark = pytest.mark.slow


class Failing:
    """Answers some requests with S3's own way to say that they come too fast, or cuts what it sends."""

    def __init__(self, app: Any, seed: int) -> None:
        self._app, self._drawn = app, random.Random(seed)
        self.share = 0.0
        self.failed = 0

    def __call__(self, environ: Any, start: Any) -> Any:
        if self._drawn.random() >= self.share:
            return self._app(environ, start)
        self.failed += 1
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        start("503 Slow Down", [("Content-Length", str(len(body))), ("Content-Type", "application/xml")])
        return [body]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, own_home) -> Iterator[Failing]:
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_MAX_ATTEMPTS": "1",  # what botocore tries itself comes on top, and waits
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FEATCACHE_OFFLINE", raising=False)
    monkeypatch.setattr(Patience, "wait", lambda self, attempt, asked: 0.0)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
    access._opened.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    failing = Failing(server._server.app, seed=0)
    server._server.app = failing
    try:
        access.file_system("s3://photos").mkdir("s3://photos")
        yield failing
    finally:
        access._opened.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


def test_folders_tables_and_shards_in_s3_are_those_of_files(s3, tmp_path):
    photos = photo_folder(tmp_path / "pets", {"train/cat": 5, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    names = [name for name in files_below(photos) if name.startswith("train")]
    table = "".join(["path,label\n", *(f"{name},{name.split('/')[1]}\n" for name in names)])
    (photos / "a.csv").write_text(table)
    members = {}
    for number, name in enumerate(names):
        members |= {
            f"{number}.png": (photos / name).read_bytes(),
            f"{number}.cls": name.split("/")[1].encode(),
        }
    (tmp_path / "s-0.tar").write_bytes(shard_of(members))
    put("s3://photos/pets", files_below(photos))
    put("s3://photos/shards", {"s-0.tar": (tmp_path / "s-0.tar").read_bytes()})
    put("s3://photos/pets", {"train/": b""})  # as web consoles mark a folder
    for local, remote in (
        (f"folder:{photos}", "folder:s3://photos/pets"),
        (f"csv:{photos}/a.csv", "csv:s3://photos/pets/a.csv"),
        (f"tar:{tmp_path}/s-0.tar", "tar:s3://photos/shards/s-{0..0}.tar"),
        (f"tar:{tmp_path}/s-0.tar", "tar:s3://photos/shards"),
    ):
        there = open_dataset(remote)
        assert rows(there) == rows(open_dataset(local)), remote
        assert all(len(record.state) == 16 for record in there.records)
    with pytest.raises(MissingFileError, match="no dataset folder s3://photos/none: nothing lies below it"):
        open_dataset("s3://photos/none")
    with pytest.raises(MissingFileError, match="no dataset folder s3://other"):
        open_dataset("s3://other")
    with pytest.raises(DataError, match=r"s3://photos/pets/train/cat/1\.png is an object and no folder"):
        open_dataset("s3://photos/pets/train/cat/1.png")


def test_one_failure_in_twenty_changes_no_row_and_the_cache_is_uploaded(s3, tmp_path):
    photos = photo_folder(tmp_path / "pets", {"cat": 60, "dog": 60})
    put("s3://photos/pets", files_below(photos))
    s3.share = 0.05
    done = extract("s3://photos/pets", "s3://photos/caches/pets.h5")
    assert s3.failed
    assert (done.quarantined, done.images, done.computed) == ({}, 120, 120)
    s3.share = 0.0
    extract(photos, tmp_path / "local.h5")
    (tmp_path / "copy.h5").write_bytes(_stored("s3://photos/caches/pets.h5"))
    require_same(tmp_path / "local.h5", tmp_path / "copy.h5")
    again = extract("s3://photos/pets", "s3://photos/caches/pets.h5")
    assert (again.computed, again.uploaded) == (0, "s3://photos/caches/pets.h5")
    assert (done.uploaded_before, again.uploaded_before) == (False, True)
    with pytest.raises(
        UsageError, match=r"output s3://nobody/a\.h5: there is no bucket nobody; name one that is there"
    ):
        extract(photos, "s3://nobody/a.h5")
    assert len(rows(open_dataset("S3://photos/pets"))) == 120
    put("s3://photos/caches", {"pets.h5": b"another's"})
    with pytest.raises(UsageError, match="something is there already"):
        extract("s3://photos/pets", "s3://photos/caches/pets.h5")


def _stored(url: str) -> bytes:
    content = access.file_system(url).cat_file(url)
    assert isinstance(content, bytes)
    return content


def test_a_store_that_stays_too_busy_is_told_of(s3, tmp_path: Path, monkeypatch):
    s3.share = 1.0
    with pytest.raises(DataError, match=r"cannot list s3://photos/pets: .*SlowDown|reduce your request rate"):
        open_dataset("s3://photos/pets")
