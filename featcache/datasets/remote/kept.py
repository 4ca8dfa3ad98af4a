"""Bytes that were fetched, kept on this disk for the second time that an extraction reads them.

An entry is a file in ``FEATCACHE_HOME/fetched``, named by a digest of the object, its state, and the part of it; it
begins with the sha256 of its bytes, which is verified whenever it is read. Nothing else says what is there, so that
there is nothing to keep in step with it: any file may be deleted, cut or spoiled at any time, and is fetched again.
"""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from featcache.core.disk.files import make_folder
from featcache.core.disk.storage import OTHER_HOME, free_bytes
from featcache.core.disk.store_urls import unsigned
from featcache.core.disk.temporaries import held_file
from featcache.core.environment import home
from featcache.errors import FeatcacheError, UsageError

_MAGIC = b"featcache fetched 1\n"
_GIGABYTES = 20.0
_LEFT_FREE = 2**30
"""Bytes of the disk that are left to others."""


def fetched_folder() -> Path:
    """Return the folder in which fetched bytes are kept; it need not exist."""
    return home() / "fetched"


def byte_limit() -> int:
    """Return how many bytes may be kept: ``FEATCACHE_FETCHED_GB``, 20 GB by default; 0 keeps nothing.

    Raises
    ------
    UsageError
        If it is no number.
    """
    given = os.environ.get("FEATCACHE_FETCHED_GB", "")
    try:
        gigabytes = float(given) if given.strip() else _GIGABYTES
        return int(max(0.0, gigabytes) * 1e9)
    except (ValueError, OverflowError):
        raise UsageError(
            f"FEATCACHE_FETCHED_GB={given!r}: expected a number of gigabytes, such as 20, or 0 to keep nothing"
        ) from None


class Kept:
    """The bytes that were fetched, by what they are of; for several threads and processes.

    Once the limit is reached, entries of earlier runs go, the oldest first. Those of this one stay, and what does not
    fit beside them is not kept: a run reads its images in the same order twice, and dropping the oldest of its own
    would leave none that is asked for again.

    Parameters
    ----------
    limit
        In bytes; `byte_limit` by default.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = byte_limit() if limit is None else limit
        self.folder = fetched_folder()
        self._lock = threading.Lock()
        self._began = time.time()
        self._own = secrets.token_bytes(16)  # for objects without a state: of use to this process alone
        self._held, self._full = -1, False

    def key(self, url: str, state: bytes, part: tuple[int, int] | None = None) -> str:
        """Return the name of an entry: of what tells the object from others, its state, and a part of it."""
        place = f"{unsigned(url)}\0{part}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(place + b"\0" + (state or self._own), digest_size=20).hexdigest()

    def get(self, key: str) -> bytes | None:
        """Return the bytes of an entry; ``None`` if there is none, or it is damaged (then it is removed)."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        start = len(_MAGIC) + 32
        if content[:start] == _MAGIC + hashlib.sha256(memoryview(content)[start:]).digest():
            return content[start:]
        self.drop(key)
        return None

    def put(self, key: str, data: bytes) -> None:
        """Keep bytes, if there is room; a disk that refuses them only means that they are fetched again."""
        size = len(_MAGIC) + 32 + len(data)
        path = self._path(key)
        # Not synced: what a power cut spoils does not fit its hash.
        with suppress(OSError, FeatcacheError):
            make_folder(path.parent, elsewhere=OTHER_HOME)
            if not self._take_room(size):
                return
            with held_file(path) as stream:
                try:
                    stream.write(_MAGIC + hashlib.sha256(data).digest())
                    stream.write(data)
                    stream.flush()
                    os.replace(stream.name, path)
                except BaseException:
                    with suppress(OSError):
                        os.unlink(stream.name)
                    raise

    def drop(self, key: str) -> None:
        """Forget an entry, so that it is fetched again."""
        with suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _take_room(self, size: int) -> bool:
        with self._lock:
            if self._held < 0:
                self._held = sum(nbytes for _, nbytes, _ in entries(self.folder))
            if self._full:
                return False
            if self._held + size > self.limit:
                self._evict(size)
                self._full = self._held + size > self.limit
            free = free_bytes(self.folder)
            if self._held + size > self.limit or (free is not None and free < size + _LEFT_FREE):
                return False
            self._held += size
            return True

    def _evict(self, size: int) -> None:
        """Delete the oldest entries of earlier runs, some more than are needed now."""
        self._held, old = 0, []
        for path, nbytes, when in entries(self.folder):
            self._held += nbytes
            if when < self._began:
                old.append((when, nbytes, path))
        for _, nbytes, path in sorted(old):
            if self._held + size <= self.limit * 0.9:
                return
            with suppress(OSError):
                path.unlink()
            self._held -= nbytes


def entries(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Yield path, size and time of each entry, in no order."""
    for above in _listed(folder):
        if len(above.name) == 2 and above.is_dir(follow_symlinks=False):
            for entry in _listed(above.path):
                if not entry.name.startswith("."):
                    with suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        yield Path(entry.path), status.st_size, status.st_mtime


def _listed(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
