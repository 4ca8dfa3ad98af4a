"""Files that are named by a ``file://`` URL, as browsers and labelling tools write them."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from featcache.errors import UsageError

_DOWNLOADS = {"http": "curl -O {}", "https": "curl -O {}", "ftp": "curl -O {}"} | {
    "s3": "aws s3 cp {} .",
    "gs": "gcloud storage cp {} .",
}
"""What saves the file of a URL, by its scheme."""


def local_path(given: str | os.PathLike[str]) -> Path:
    """Return the path of a file or folder, also of one that is given as a ``file://`` URL.

    Raises
    ------
    UsageError
        If it is the URL of something else.
    """
    text = given if isinstance(given, str) else ""
    scheme = text.partition("://")[0].casefold() if "://" in text else ""
    if scheme in _DOWNLOADS:
        raise UsageError(
            f"{text}: photos are not downloaded; save it first ({_DOWNLOADS[scheme].format(text)}) and name the "
            "file, or give its bytes"
        )
    if scheme != "file":
        return Path(given)
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"{text}: the file is on another machine, {parts.netloc}; expected file:///PATH")
    return Path(
        url2pathname(parts.path) if os.name == "nt" else unquote(parts.path, errors="surrogateescape")
    )
