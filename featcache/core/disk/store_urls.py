"""URLs of object stores and web servers: recognised, joined, and shown without what is secret in them."""

import os
import posixpath
import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

WEB = ("http", "https")
SCHEMES = (*WEB, "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory")
"""What fsspec opens of a path that begins so. ``file://`` is of this machine, and is read as the path in it."""

_ANY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://")
_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,20}):/{1,2}(.+)", re.DOTALL)
_IN_TEXT = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]{1,20}://)"
    r"(?:[^\s/]*@|[^\s/:@?\#]*:(?!\d*(?:[/?\#'\"<>\s]|$))[^\s@]*@)?"
    r"([^\s'\"<>]*)"
)
"""A URL in a text: users and passwords may hold what ends a URL elsewhere, such as a quote or a slash."""

_PARAMETER = re.compile(r"[?&;#]([\w%-]+)=[^\s&;#'\"<>]*")

_SECRET = re.compile(
    r"(?i)x-(amz|goog|ms)-.*|.*(signature|secret|token|password|passwd|credential|api[-_]?key|jwt|hmac).*|sig|se|sp|sr"
    r"|sv|st|spr|sas|pwd|pass|skoid|sktid|skt|ske|sks|skv|key|auth|policy|expires|key-pair-id|awsaccesskeyid|googleaccessid"
)
"""Parameters by which S3, Google, Azure, CloudFront and others sign URLs, and the usual names of keys."""

_SIGNATURE = re.compile(r"(?i)x-(amz|goog|ms)-.*|sig|signature")
_SIGNED = re.compile(
    r"(?i)se|sp|sr|sv|st|spr|sk(oid|tid|t|e|s|v)|policy|expires|key-pair-id|awsaccesskeyid|googleaccessid"
)
"""Parameters that differ each time one object is signed: always, and beside a signature."""


def scheme_of(text: object) -> str:
    """Return the scheme of any URL in lower case; empty of what is none.

    Examples
    --------
    >>> scheme_of("S3://bucket/a"), scheme_of("photos/a"), scheme_of("C:/photos")
    ('s3', '', '')
    """
    if not isinstance(text, str | os.PathLike):
        return ""
    found = _ANY.match(os.fspath(text))
    return found[0][:-3].casefold() if found else ""


def is_url(text: object) -> bool:
    """Return whether a text is the URL of an object, a file or a folder on another machine, `SCHEMES`."""
    return scheme_of(text) in SCHEMES


def url_of_path(path: object) -> str:
    """Return the URL that a path was made of, which has one slash less then; empty of other paths.

    Examples
    --------
    >>> from pathlib import PurePosixPath
    >>> url_of_path(PurePosixPath("s3://bucket/cache.h5")), url_of_path("photos/a")
    ('s3://bucket/cache.h5', '')
    """
    found = _PATH.match(str(path))
    return f"{found[1]}://{found[2]}" if found and found[1].casefold() in SCHEMES else ""


def redacted(text: str) -> str:
    """Return a text whose URLs hold neither users with passwords nor signatures and keys; all else stays.

    Parameters
    ----------
    text
        A URL, or a message in which there are some.

    Examples
    --------
    >>> redacted("cannot read https://me:pw@host/a.jpg?v=2&X-Amz-Signature=12ab: HTTP 403")
    'cannot read https://host/a.jpg?v=2 HTTP 403'
    >>> redacted("s3://bucket/cat/1.jpg")
    's3://bucket/cat/1.jpg'
    """
    shown = _IN_TEXT.sub(lambda found: f"{found[1]}{_without(_SECRET, found[2])}", text)
    if "://" not in shown or "=" not in shown:
        return shown
    # A URL with a space in it ends there as far as a text tells; what is secret may stand behind.
    return _PARAMETER.sub(lambda found: "" if _SECRET.fullmatch(unquote(found[1])) else found[0], shown)


def unsigned(url: str) -> str:
    """Return what tells an object from others: its URL without users, and without what each signing changes.

    Unlike `redacted`, it keeps keys and tokens: ``?key=`` may be what names the object. It is compared and hashed, and
    never shown.

    Examples
    --------
    >>> unsigned("https://me:pw@host/a?key=1.jpg&sp=2"), unsigned("https://host/a?v=2&sp=r&sig=12ab")
    ('https://host/a?key=1.jpg&sp=2', 'https://host/a?v=2')
    """
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    plain = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    bare = _without(_SIGNATURE, plain)
    return plain if bare == plain else _without(_SIGNED, bare)


def _without(names: re.Pattern[str], rest: str) -> str:
    """Return a URL without the parameters of these names, in its query or its fragment."""
    parts = re.split(r"([?&;#])", rest)
    kept = [parts[0]]
    for sign, part in zip(parts[1::2], parts[2::2], strict=True):
        name, equals, _ = part.partition("=")
        # A part without a value is text, such as the rest of an object's name that holds one of the signs.
        if not (equals and names.fullmatch(unquote(name.removeprefix("amp;")))):
            # What follows a "?" that is left out begins the query.
            kept += ["?" if sign == "&" and not any("?" in each for each in kept) else sign, part]
    return "".join(kept)


def joined(folder: str, name: str) -> str:
    """Return the URL of what a relative name means below a folder; ``""`` where it leads out of it.

    Names are plain text, as in a table: what a web address spells otherwise (``%`` and ``?`` in a name) is quoted.

    Examples
    --------
    >>> joined("https://host/data/", "cat/a 1.jpg"), joined("s3://bucket/data", "cat/a 1.jpg")
    ('https://host/data/cat/a%201.jpg', 's3://bucket/data/cat/a 1.jpg')
    >>> joined("https://host/data", "../secret"), joined("https://host/data", "/etc/passwd")
    ('', '')
    """
    plain = posixpath.normpath(name.replace("\\", "/"))
    if plain.startswith(("/", "..")) or plain == ".":
        return ""
    return f"{folder.rstrip('/')}/{quote(plain) if scheme_of(folder) in WEB else plain}"


def last_part(url: str) -> str:
    """Return the name of what a URL leads to, without its folder and query; of a bucket or a host, its own.

    Examples
    --------
    >>> last_part("https://host/data/photos%201.csv?v=1"), last_part("s3://bucket/"), last_part("s3://b/a?.jpg")
    ('photos 1.csv', 'bucket', 'a?.jpg')
    """
    if scheme_of(url) in WEB:
        parts = urlsplit(url)
        return unquote(parts.path.rstrip("/").rpartition("/")[2]) or (parts.hostname or "")
    return url.rstrip("/").rpartition("/")[2]


def parent_of(url: str) -> str:
    """Return the URL of the folder that a file is in, without a query."""
    if scheme_of(url) in WEB:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path.rpartition("/")[0], "", ""))
    return url.rstrip("/").rpartition("/")[0]
