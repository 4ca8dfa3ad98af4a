"""What lies below the URL of a folder: the objects of a store, or the files that a web server's own pages list."""

import html.parser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from featcache.core.disk.store_urls import WEB, redacted, scheme_of
from featcache.core.parallel import ordered_map
from featcache.datasets.remote.access import file_system
from featcache.datasets.remote.fetching import Fetcher, Told, told_by
from featcache.datasets.remote.pieces import THREADS
from featcache.errors import DataError, MissingFileError

MOST_PAGES = 100_000
"""Folders of a web server that are looked into."""
_LARGEST_PAGE = 2**26


@dataclass(frozen=True, slots=True)
class Listed:
    """An object below a folder.

    Parameters
    ----------
    name
        Relative to the folder, with slashes.
    url, told
        Where it is, and what is told of it.
    """

    name: str
    url: str
    told: Told


def list_below(url: str, fetcher: Fetcher) -> list[Listed]:
    """Return all objects below a folder's URL, in the order of their names.

    Raises
    ------
    MissingFileError
        If nothing lies there.
    DataError
        If the store or server cannot be read, or shows no listing.
    """
    scheme = scheme_of(url)  # in lower case, as fsspec knows it
    folder = f"{scheme}{url[len(scheme) :]}".rstrip("/")
    find = _find_on_web if scheme_of(url) in WEB else _find_in_store
    try:
        found = sorted(find(folder, fetcher), key=lambda each: each.name)
    except FileNotFoundError as error:
        raise _nothing(url) from error
    except OSError as error:
        raise DataError(
            f"cannot list {redacted(url)}: {error.strerror or error}; {_what_to_check(scheme, error)}"
        ) from error
    if not found:
        raise _nothing(url)
    return found


def _nothing(url: str) -> MissingFileError:
    if scheme_of(url) in WEB:
        return MissingFileError(
            f"no dataset folder {redacted(url)}: the server has no such page (404); expected the URL of a folder whose "
            "files the server lists, such as https://HOST/photos/; of a table or a shard it is csv:URL or tar:URL"
        )
    return MissingFileError(
        f"no dataset folder {redacted(url)}: nothing lies below it; check the names of bucket and folder; expected the "
        "URL of a folder such as s3://BUCKET/FOLDER"
    )


def _what_to_check(scheme: str, error: OSError) -> str:
    if scheme in WEB:
        return "check the URL and the network"
    if "NoCredentials" in str(error):
        return (
            "sign in as for aws s3 ls (AWS_PROFILE, AWS_ACCESS_KEY_ID); a public bucket is read with "
            """FSSPEC_S3='{"anon": true}' in the environment"""
        )
    return "check the URL, the network and your credentials"


# Stores -------------------------------------------------------------------------------------------------------


def _find_in_store(folder: str, fetcher: Fetcher) -> Iterator[Listed]:
    files = file_system(folder)
    held: dict[str, Any] = fetcher.again(folder, partial(files.find, folder, detail=True))
    above = files._strip_protocol(folder).rstrip("/")
    scheme = folder.partition("://")[0]
    for name, about in held.items():
        if name.rstrip("/") == above:
            if name == above and about.get("type") == "file":
                raise DataError(
                    f"{redacted(folder)} is an object and no folder; expected the URL of a folder; of a table or a "
                    "shard it is csv:URL or tar:URL"
                )
            continue
        url = f"{scheme}://{name.lstrip('/')}"
        if (
            name.endswith("/") or about.get("type") == "directory"
        ):  # made by a web console in the place of a folder
            continue
        yield Listed(name[len(above) :].lstrip("/"), url, told_by(url, about))


# Web servers --------------------------------------------------------------------------------------------------


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if tag == "a" and key == "href" and value:
                self.found[value] = None


def links_of(page: bytes, folder: str) -> list[str]:
    """Return the URLs of what a page links to right in its folder, the folders with a slash at their end.

    Links elsewhere, and those that only sort the page (``?C=M;O=A``), are none.

    Examples
    --------
    >>> links_of(b'<a href="../">up</a> <a href="cat/">cat</a> <a href="/d/1.jpg">1</a> <a href="?C=N">', "http://h/d/")
    ['http://h/d/cat/', 'http://h/d/1.jpg']
    """
    parser = _Links()
    parser.feed(page.decode("utf-8", "replace"))
    base = urlsplit(folder)
    found: dict[str, None] = {}
    for link in parser.found:
        try:
            parts = urlsplit(urljoin(folder, link))
        except ValueError:
            continue
        name = parts.path.removeprefix(base.path)
        inside = parts.path.startswith(base.path) and name.strip("/") and "/" not in name[:-1]
        if inside and not parts.query and (parts.scheme, parts.hostname) == (base.scheme, base.hostname):
            found[base._replace(path=parts.path, query="", fragment="").geturl()] = None
    return list(found)


def _find_on_web(folder: str, fetcher: Fetcher) -> Iterator[Listed]:
    root = f"{folder}/"
    files = list(_walk(root, fetcher))
    prefix = len(urlsplit(root).path)
    for url, told in zip(files, tell_all(files, fetcher), strict=True):
        yield Listed(unquote(urlsplit(url).path[prefix:]), url, told)


def _walk(root: str, fetcher: Fetcher) -> Iterator[str]:
    waiting, seen = [root], {root}
    while waiting:
        here = waiting.pop()
        page = fetcher.fetch(here)
        if len(page) > _LARGEST_PAGE:
            raise _too_much(root, f"the page of {redacted(here)} has {len(page):,} bytes")
        links = links_of(page, here)
        if here == root and not links:
            raise DataError(
                f"{redacted(root)} shows no listing of its files, as web servers need not; list them in a table with "
                "their URLs (csv:TABLE), pack them (tar:URL), or name a store (s3://, gs://)"
            )
        for link in links:
            if not link.endswith("/"):
                yield link
            elif link not in seen:
                if len(seen) == MOST_PAGES:
                    raise _too_much(root, f"it has more than {MOST_PAGES:,} folders")
                seen.add(link)
                waiting.append(link)


def _too_much(root: str, why: str) -> DataError:
    """Return the refusal of a listing that is not read to its end: a part of it would pass for the whole."""
    return DataError(
        f"{redacted(root)} is more than is listed of a web server: {why}; list its files in a table with their URLs "
        "(csv:TABLE), or name a folder below it"
    )


def tell_all(urls: list[str], fetcher: Fetcher) -> Iterator[Told]:
    """Yield what is told of each object, asked of several at once; of those that do not answer, nothing."""
    ask: Callable[[str], Told] = partial(_told_or_nothing, fetcher)
    yield from ordered_map(ask, urls, workers=THREADS, ahead=4 * THREADS)


def _told_or_nothing(fetcher: Fetcher, url: str) -> Told:
    try:
        return fetcher.ask(url)
    except (OSError, DataError):  # reading it says why, as of a file that is missing
        return Told()
