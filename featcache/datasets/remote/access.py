"""File systems of fsspec by the scheme of a URL, and what strangers' URLs may not reach."""

import ipaddress
import socket
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from featcache.core.disk.store_urls import SCHEMES, WEB, redacted, scheme_of
from featcache.core.environment import offline
from featcache.errors import ImageError, MissingExtraError, UsageError, first_line

AZURE = ("az", "abfs", "abfss", "adl")
"""Schemes that need a package of their own, which no extra brings: it was never tried."""

_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
"""Addresses besides the link-local ones at which clouds tell a machine's credentials (AWS, Alibaba, Oracle)."""

_CONNECTIONS = 64
"""To all servers together."""


class ForbiddenAddressError(OSError):
    """A server's name leads to an address that data may not name."""


def file_system(url: str) -> Any:
    """Return the file system of fsspec that opens a URL; the same one for each scheme.

    Raises
    ------
    MissingExtraError
        If fsspec, or what it opens this scheme with, is not installed.
    UsageError
        If the network is forbidden (``FEATCACHE_OFFLINE``).
    """
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        raise UsageError(f"{redacted(url)}: expected a URL of {', '.join(f'{own}://' for own in SCHEMES)}")
    if offline() and scheme != "memory":
        raise UsageError(f"{redacted(url)} is on the network, which FEATCACHE_OFFLINE forbids; unset it")
    try:
        return _opened(scheme)
    except ImportError as error:
        azure = " adlfs" if scheme in AZURE else ""
        raise MissingExtraError(
            f"{redacted(url)}: reading {scheme}:// needs fsspec and what it opens that with: pip install "
            f"'featcache[remote]'{azure} ({first_line(error)})"
        ) from error


@cache
def _opened(scheme: str) -> Any:
    import fsspec

    if scheme in WEB:
        # One for both schemes. No listings are kept: they would be as old as the process.
        return fsspec.filesystem("http", get_client=_client, use_listings_cache=False, block_size=0)
    return fsspec.filesystem(scheme, use_listings_cache=False)


async def _client(**options: Any) -> Any:
    import aiohttp

    options.pop("loop", None)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS, socket_factory=_socket)
    # trust_env: proxies, and ~/.netrc for hosts that ask for a password.
    return aiohttp.ClientSession(connector=connector, trust_env=True, **options)


def _socket(address: Any) -> socket.socket:
    """Return a socket for an address, whatever name or redirect led to it, unless it may not be reached."""
    family, kind, protocol, _, place = address
    if is_forbidden(place[0]):
        raise ForbiddenAddressError(f"{place[0]} is an address at which clouds tell credentials")
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setblocking(False)
    return made


def is_forbidden(host: str) -> bool:
    """Return whether a numeric address is link-local, or one at which a cloud tells a machine's credentials.

    Examples
    --------
    >>> is_forbidden("169.254.169.254"), is_forbidden("127.0.0.1"), is_forbidden("example.org")
    (True, False, False)
    """
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_link_local or address in _METADATA


def require_allowed(url: str) -> None:
    """Refuse a URL that a table may not name.

    Raises
    ------
    ImageError
        With the reason ``outside the dataset``: its scheme is another than `SCHEMES`, such as ``file://``, or its host
        is an address at which clouds tell credentials.
    """
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        raise ImageError(
            "outside the dataset",
            f"{redacted(url)}: a table may name {', '.join(f'{own}://' for own in SCHEMES[:5])} and paths, "
            f"not {scheme}://; write the path alone",
        )
    try:
        host = urlsplit(url).hostname or "" if scheme in WEB else ""
    except ValueError as error:
        raise ImageError("outside the dataset", f"{redacted(url)}: {error}") from error
    if is_forbidden(host):
        raise ImageError(
            "outside the dataset", f"{host} is an address at which clouds tell credentials; it is not read"
        )
