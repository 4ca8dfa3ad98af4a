"""Weights whose full sha256 nobody publishes: what is published is checked, and the first file is held to."""

import hashlib
import json
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.weights_server import (
    GOOD,
    GOOD_SHA256,
    HTML,
    Answer,
    Server,
    keep,
    kept_files,
    obtain,
    serving,
    use_own_home,
)

from featcache.backbones.registry import resolve
from featcache.backbones.weights import download as pretrained
from featcache.backbones.weights.download import how_to_get, is_pinned, locate
from featcache.backbones.weights.lock_file import LockRecord, forget, lock_file, read_record, remember
from featcache.core.environment import weights_folder
from featcache.errors import WeightsError

GOOD_MD5 = hashlib.md5(GOOD).hexdigest()
OTHER = GOOD[:-1] + b"x"
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()

# What may be published of a file when its full sha256 is not, and what is noted of that.
PUBLISHED = {
    "prefix": ({"sha256": GOOD_SHA256[:8]}, "sha256 prefix of torchvision"),
    "md5": ({"sha256": None, "md5": GOOD_MD5}, "md5 of torchvision"),
    "both": (
        {"sha256": GOOD_SHA256[:8], "md5": GOOD_MD5},
        "sha256 prefix of torchvision, md5 of torchvision",
    ),
    "nothing": ({"sha256": None}, "nothing published"),
}
each_published = pytest.mark.parametrize(("published", "noted"), PUBLISHED.values(), ids=PUBLISHED)

RECORDED = pytest.mark.filterwarnings("ignore:no full sha256 is published:RuntimeWarning")
"""Where it is not the matter of the test that a first file is told of."""


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    use_own_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


def recorded_sha256() -> str | None:
    record = read_record("network-1234.pth")
    return record.sha256 if record else None


# ---- the first time


@each_published
def test_first_download_is_verified_recorded_and_told_of_once(server, published, noted):
    weights = server.weights(**published)
    assert recorded_sha256() is None
    text = (
        rf"no full sha256 is published for the weights of mobilenet_v2\.tv_in1k \({noted}\): that of "
        rf"network-1234\.pth, {GOOD_SHA256}, was recorded in {lock_file()}, and a file with another one will be refused"
    )
    days = [time.strftime("%Y-%m-%d", time.gmtime())]
    with pytest.warns(RuntimeWarning, match=text) as told:
        path = obtain(weights)
    days.append(time.strftime("%Y-%m-%d", time.gmtime()))  # midnight may have passed
    assert len(told) == 1
    assert path.read_bytes() == GOOD
    entry = json.loads(lock_file().read_text())["network-1234.pth"]
    assert entry.pop("date") in days
    assert entry == {
        "url": weights.file.url,
        "sha256": GOOD_SHA256,
        "size": len(GOOD),
        "verified": noted,
    }
    assert recorded_sha256() == GOOD_SHA256
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert obtain(weights) == path
    assert len(server.asked) == 1


@each_published
def test_first_use_of_a_file_that_the_user_put_there_is_recorded(monkeypatch, published, noted):
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    weights = keep(Server(port=9).weights(**published), GOOD)
    with pytest.warns(RuntimeWarning, match="no full sha256 is published"):
        assert obtain(weights).read_bytes() == GOOD
    record = read_record("network-1234.pth")
    assert record is not None
    assert (record.sha256, record.verified) == (GOOD_SHA256, noted)


def test_a_full_sha256_is_not_recorded(server):
    weights = server.weights()
    obtain(weights)
    assert kept_files() == ["network-1234.pth"]


def last_digit_changed(digest: str) -> str:
    return digest[:-1] + ("1" if digest[-1] == "0" else "0")


NEAR_PREFIX, NEAR_MD5 = last_digit_changed(GOOD_SHA256[:8]), last_digit_changed(GOOD_MD5)

# What is published of another file than the server has: each hash is checked on its own, and all of it.
WRONG = {
    "prefix": ({"sha256": NEAR_PREFIX}, "sha256", GOOD_SHA256, NEAR_PREFIX),
    "sha256": ({"sha256": last_digit_changed(GOOD_SHA256)}, "sha256", GOOD_SHA256, GOOD_SHA256[:12]),
    "md5": ({"sha256": None, "md5": NEAR_MD5}, "md5", GOOD_MD5, GOOD_MD5[:12]),
    "md5 beside a prefix": ({"sha256": GOOD_SHA256[:8], "md5": NEAR_MD5}, "md5", GOOD_MD5, GOOD_MD5[:12]),
    "md5 beside a sha256": ({"sha256": GOOD_SHA256, "md5": NEAR_MD5}, "md5", GOOD_MD5, GOOD_MD5[:12]),
}
each_wrong = pytest.mark.parametrize(
    ("published", "algorithm", "found", "expected"), WRONG.values(), ids=WRONG
)


@each_wrong
def test_download_of_other_bytes_is_not_kept(server, published, algorithm, found, expected):
    del found, expected
    weights = server.weights(**published)
    text = (
        rf"what came back has another {algorithm} than the published file \(nothing was kept\)\. To get them"
    )
    with pytest.raises(WeightsError, match=text):
        obtain(weights)
    assert kept_files() == []


@each_wrong
def test_kept_file_of_other_bytes_is_refused(published, algorithm, found, expected):
    weights = keep(Server(port=9).weights(**published), GOOD)
    text = (
        r"network-1234\.pth is damaged or not the weights of mobilenet_v2\.tv_in1k: "
        rf"its {algorithm} is {found[:12]}…, expected {expected}…\. Delete it and run again, or pass --weights PATH"
    )
    with pytest.raises(WeightsError, match=text):
        obtain(weights)
    assert kept_files() == ["network-1234.pth"]  # and nothing was recorded


@pytest.mark.parametrize("data", [HTML, b"", "\n\tNicht gefunden – später\r\n".encode(), b'{"error": 404}'])
def test_with_nothing_published_an_error_page_is_not_recorded(server, data):
    weights = server.weights(sha256=None)
    server.answer = Answer(body=data)
    text = r"what came back is empty or a text, such as an error page \(nothing was kept\)"
    with pytest.raises(WeightsError, match=text):
        obtain(weights)
    assert kept_files() == []
    with pytest.raises(
        WeightsError, match=r"damaged or not the weights.*it is empty or a text.*Delete it and run"
    ):
        obtain(keep(weights, data))
    assert not lock_file().exists()


@RECORDED
@pytest.mark.parametrize(
    "head",
    [
        b"PK\x03\x04",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        # A length of the header that is a printable letter.
        b"<\0\0\0\0\0\0\0{" + b" " * 400,
        b"\x89HDF\r\n\x1a\n" + b"a" * 400,
    ],
    ids=["torch zip", "torch legacy", "safetensors", "HDF5"],
)
def test_with_nothing_published_every_format_of_weights_is_taken(head):
    assert obtain(keep(Server(port=9).weights(sha256=None), head)).read_bytes() == head


# ---- later


@each_published
@RECORDED
def test_kept_file_that_changed_is_refused(server, published, noted):
    """With hashes that are published, too: for them, the other bytes only have to collide."""
    weights = server.weights(**published)
    path = obtain(weights)
    # The record is changed instead of the bytes, which could not have the published prefix.
    record = read_record(path.name)
    assert record is not None
    altered = lock_file().read_text().replace(GOOD_SHA256, OTHER_SHA256).replace(record.date, "2026-03-01")
    lock_file().write_text(altered)
    text = (
        rf"network-1234\.pth is not the file that was recorded on 2026-03-01: its sha256 is {GOOD_SHA256[:12]}… "
        rf"\({len(GOOD)} bytes\), recorded was {OTHER_SHA256[:12]}… \({len(GOOD)} bytes; {noted}, "
        rf"{weights.file.url}\)\. Delete the file to download it again; if this is the right one \(.*\), release "
        rf"the record, the entry 'network-1234\.pth' of {lock_file()}, by: featcache backbones forget "
        r"mobilenet_v2\.tv_in1k; or pass --weights PATH"
    )
    with pytest.raises(WeightsError, match=text):
        obtain(weights)
    assert lock_file().read_text() == altered


@RECORDED
def test_damaged_file_is_downloaded_again_once_it_is_deleted(server):
    weights = server.weights(sha256=None)
    path = obtain(weights)
    keep(weights, OTHER)
    with pytest.raises(
        WeightsError, match=r"is not the file that was recorded.*Delete the file to download it again"
    ):
        obtain(weights)
    path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is the recorded one, so there is nothing to tell
        assert obtain(weights).read_bytes() == GOOD


@RECORDED
def test_changed_upstream_is_refused_until_its_entry_is_removed(server):
    weights = server.weights(sha256=None)
    obtain(weights).unlink()
    server.answer = Answer(body=OTHER)
    text = (
        rf"cannot download the weights of mobilenet_v2\.tv_in1k from {weights.file.url}: what came back has another "
        rf"sha256 \({OTHER_SHA256[:12]}…, {len(OTHER)} bytes\) than what was recorded on \d{{4}}-\d\d-\d\d "
        rf"\({GOOD_SHA256[:12]}…, {len(GOOD)} bytes; nothing was kept\); if this is the right one \(upstream really "
        rf"changed it, or .*\), release the record, the entry 'network-1234\.pth' of {lock_file()}, by: featcache"
    )
    with pytest.raises(WeightsError, match=text):
        obtain(weights)
    assert locate(weights) is None
    forget("network-1234.pth")
    assert obtain(weights).read_bytes() == OTHER
    assert recorded_sha256() == OTHER_SHA256


@pytest.mark.parametrize("there", [False, True], ids=["to download", "kept"])
def test_another_process_that_records_first_is_agreed_with(server, monkeypatch, there):
    """It does so between our look into the lock file and our own entry."""
    theirs = LockRecord("https://here", GOOD_SHA256, len(GOOD), "2026-03-01", "nothing published")

    def too_late(filename: str, ours: LockRecord) -> LockRecord:
        remember(filename, theirs)
        return remember(filename, ours)

    monkeypatch.setattr(pretrained, "remember", too_late)
    weights = server.weights(sha256=None)
    if there:
        keep(weights, GOOD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # they told of it
        path = obtain(weights)
    assert read_record(path.name) == theirs
    path.unlink()
    forget(path.name)
    theirs = replace(theirs, sha256=OTHER_SHA256)
    with pytest.raises(WeightsError, match="recorded on 2026-03-01"):
        obtain(keep(weights, GOOD) if there else weights)


@RECORDED
@pytest.mark.parametrize("there", [False, True], ids=["to download", "kept"])
def test_damaged_lock_file_is_named_and_left_alone(server, there):
    weights = server.weights(sha256=GOOD_SHA256[:8])
    if there:
        keep(weights, GOOD)
    weights_folder().mkdir(parents=True, exist_ok=True)
    lock_file().write_text('{"network-1234.pth": ')
    with pytest.raises(
        WeightsError, match=rf"{lock_file()} is damaged: not an object .*: .*line 1 column 22"
    ):
        obtain(weights)
    assert lock_file().read_text() == '{"network-1234.pth": '
    assert (locate(weights) is not None) == there
    # Those whose full sha256 is published have nothing to do with it.
    assert obtain(server.weights()).read_bytes() == GOOD


@RECORDED
def test_other_users_may_read_what_was_kept(server):
    """A folder of weights is often shared; a temporary file's own permissions would lock the others out."""
    path = obtain(server.weights(sha256=None))
    plain = path.with_name("plain")
    plain.write_bytes(b"")
    assert path.stat().st_mode == lock_file().stat().st_mode == plain.stat().st_mode


# ---- the user's own file


@pytest.mark.parametrize(
    ("published", "data", "answer"),
    [
        ({"sha256": GOOD_SHA256}, GOOD, True),
        ({"sha256": GOOD_SHA256}, OTHER, False),
        ({"sha256": GOOD_SHA256[:8]}, GOOD, True),
        ({"sha256": GOOD_SHA256[:8]}, OTHER, False),
        ({"sha256": None, "md5": GOOD_MD5}, GOOD, True),
        ({"sha256": None, "md5": GOOD_MD5}, OTHER, False),
        ({"sha256": GOOD_SHA256[:8], "md5": "0" * 32}, GOOD, False),
        # Nothing says that it is.
        ({"sha256": None}, GOOD, False),
    ],
)
def test_own_file_is_the_published_one_if_all_that_is_published_holds(tmp_path, published, data, answer):
    path = tmp_path / "mine.bin"
    path.write_bytes(data)
    assert is_pinned(Server(port=9).weights(**published), path) is answer
    assert kept_files() == []  # asking records nothing


@RECORDED
@each_published
def test_own_file_is_held_to_the_record(server, tmp_path, published, noted):
    del noted
    weights = server.weights(**published)
    obtain(weights)
    same, other = tmp_path / "same.bin", tmp_path / "other.bin"
    same.write_bytes(GOOD)
    other.write_bytes(OTHER)
    assert is_pinned(weights, same)
    assert not is_pinned(weights, other)
    # A file of the published prefix or md5 that is not the recorded one.
    lock_file().write_text(lock_file().read_text().replace(GOOD_SHA256, OTHER_SHA256))
    assert not is_pinned(weights, same)


def test_own_file_in_a_package_format_is_compared_in_full(tmp_path):
    weights = resolve("efficientnet_lite0")
    assert is_pinned(weights, obtain(weights))
    (tmp_path / "other").write_bytes(OTHER)
    assert not is_pinned(weights, tmp_path / "other")


@RECORDED
def test_a_file_is_read_once_for_all_its_digests(monkeypatch):
    weights = keep(Server(port=9).weights(sha256=GOOD_SHA256[:8], md5=GOOD_MD5), GOOD)
    opened = []
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *mode, **how: opened.append(path) or real(path, *mode, **how)
    )
    path = obtain(weights)
    assert opened.count(path) == 1
    assert is_pinned(weights, path)
    assert opened.count(path) == 2


# ---- files that share their name upstream


@RECORDED
def test_file_is_kept_and_recorded_under_its_own_name(server, monkeypatch):
    weights = server.weights(sha256=None, name="vit_tiny.timm_in1k.safetensors")
    weights = replace(weights, source="timm, on the Hugging Face hub")
    assert obtain(weights) == weights_folder() / "vit_tiny.timm_in1k.safetensors" == locate(weights)
    assert list(json.loads(lock_file().read_text())) == ["vit_tiny.timm_in1k.safetensors"]
    assert server.asked == ["/models/network-1234.pth"]


def test_how_to_get_names_the_file_to_make():
    weights = Server(port=9).weights(sha256=None, name="vit_tiny.timm_in1k.safetensors")
    target = re.escape(str(weights_folder() / "vit_tiny.timm_in1k.safetensors"))
    text = rf"download http://127\.0\.0\.1:9/models/network-1234\.pth on .* put it at {target} \(or pass"
    assert re.match(text, how_to_get(weights))
