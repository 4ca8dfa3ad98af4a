"""What is said of a folder's URL at which nothing is found, or that may not be read: what to check, by its kind."""

import pytest

from featcache.datasets.remote import access, listing
from featcache.datasets.remote.fetching import Fetcher
from featcache.datasets.remote.listing import list_below
from featcache.errors import DataError, MissingExtraError, MissingFileError


@pytest.mark.parametrize(
    ("url", "failure", "error", "says"),
    [
        (
            "https://h/a/",
            FileNotFoundError(),
            MissingFileError,
            r"no such page \(404\); expected .* https://HOST/photos/",
        ),
        (
            "s3://b/a",
            FileNotFoundError(),
            MissingFileError,
            "nothing lies below it; check the names of bucket and folder",
        ),
        ("https://h/a/", OSError("no route"), DataError, "no route; check the URL and the network$"),
        (
            "gs://b/a",
            OSError("no route"),
            DataError,
            "no route; check the URL, the network and your credentials$",
        ),
        (
            "s3://b/a",
            OSError("NoCredentialsError: none"),
            DataError,
            r"""is read with FSSPEC_S3='\{"anon": true\}' in""",
        ),
    ],
)
def test_what_to_check_is_said_by_kind(monkeypatch, url, failure, error, says):
    def find(folder, fetcher):
        raise failure

    monkeypatch.setattr(listing, "_find_on_web", find)
    monkeypatch.setattr(listing, "_find_in_store", find)
    with pytest.raises(error, match=says):
        list_below(url, Fetcher())


def test_azure_names_the_package_that_no_extra_brings(monkeypatch):
    def opened(scheme):
        raise ImportError("Install adlfs")

    monkeypatch.delenv("FEATCACHE_OFFLINE", raising=False)
    monkeypatch.setattr(access, "_opened", opened)
    with pytest.raises(MissingExtraError, match=r"pip install 'featcache\[remote\]' adlfs \("):
        access.file_system("az://c/photos")
