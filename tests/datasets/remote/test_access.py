"""What opens a URL, what is said where nothing does, and URLs as they are shown."""

import sys

import pytest

from featcache.core.disk import store_urls
from featcache.datasets import open_dataset
from featcache.datasets.remote import access
from featcache.datasets.remote.kept import Kept, byte_limit
from featcache.errors import MissingExtraError, UsageError


def test_without_fsspec_the_extra_is_named(monkeypatch):
    access._opened.cache_clear()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"s3://bucket/photos: .* pip install 'featcache\[remote\]'"):
        open_dataset("s3://bucket/photos")
    access._opened.cache_clear()


def test_offline_no_store_is_asked(monkeypatch):
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    with pytest.raises(
        UsageError, match="s3://bucket/photos is on the network, which FEATCACHE_OFFLINE forbids"
    ):
        open_dataset("s3://bucket/photos")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h/a?X-Amz-Credential=1&X-Amz-Signature=2", "https://h/a"),
        ("https://h/a?w=3&sig=1&se=2", "https://h/a?w=3"),
        ("https://h/a.csv?", "https://h/a.csv?"),
        ("s3://u:p@b/a", "s3://b/a"),
        ("two https://u@h/a and https://h/b?token=x", "two https://h/a and https://h/b"),
        ("photos/a@b?c", "photos/a@b?c"),
        (
            "no https://u:p'w@h/a, https://u:p/w@h/a and https://u:p?w@h/b",
            "no https://h/a, https://h/a and https://h/b",
        ),
        ("https://h/a?w=3;sig=1#access_token=x", "https://h/a?w=3"),
        ("https://h/a?sig=1&w=3&X%2DAmz%2DDate=2", "https://h/a?w=3"),
        ("no 'https://h/a b/?sig=1&w=2' here", "no 'https://h/a b/&w=2' here"),
        ("https://h:80/a@b s3://b/a?b#2", "https://h:80/a@b s3://b/a?b#2"),
    ],
)
def test_what_is_secret_is_not_shown(url, shown):
    assert store_urls.redacted(url) == shown


def test_a_limit_that_is_no_number(monkeypatch):
    monkeypatch.setenv("FEATCACHE_FETCHED_GB", "much")
    with pytest.raises(UsageError, match="FEATCACHE_FETCHED_GB='much': expected a number of gigabytes"):
        byte_limit()
    monkeypatch.setenv("FEATCACHE_FETCHED_GB", "0")
    kept = Kept()
    kept.put(kept.key("u", b"s"), b"x")
    assert kept.get(kept.key("u", b"s")) is None
