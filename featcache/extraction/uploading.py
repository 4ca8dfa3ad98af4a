"""Publish a cache in an object store: written on this disk as always, uploaded once it is whole, and read back.

The cache lies in ``FEATCACHE_HOME/uploads``, at a place that its URL decides, so that the same command goes on with it
or adds to it. A note beside it says what was uploaded, by which the next run sees that there is nothing to upload.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from featcache.core.disk.files import make_folder, replace_file
from featcache.core.disk.names import expanded
from featcache.core.disk.storage import OTHER_HOME, storage_errors
from featcache.core.disk.store_urls import WEB, is_url, last_part, redacted, scheme_of
from featcache.core.environment import home
from featcache.datasets.remote.access import file_system
from featcache.datasets.remote.fetching import Fetcher
from featcache.errors import DataError, FeatcacheError, StorageError, UsageError

BUCKETS = ("s3", "s3a", "gs", "gcs")
"""Schemes of stores whose uploads go to a bucket that has to be there."""

_BLOCK = 2**23
_AGAIN = "run the same command again, which uploads it"


@dataclass(frozen=True)
class Uploaded:
    """A place in a store at which a cache is to be.

    Parameters
    ----------
    url
        Where it is to be.
    path
        Where it is written before.
    """

    url: str
    path: Path

    @classmethod
    def of(cls, output: str | os.PathLike[str] | None) -> "Uploaded | None":
        """Return the place that an output names; ``None`` of one on this disk.

        Raises
        ------
        UsageError
            If caches cannot be written there.
        """
        if output is None or not is_url(output):
            return None
        url = os.fspath(output)
        if scheme_of(url) in WEB:
            raise UsageError(
                f"output {redacted(url)}: web servers take no uploads; expected a path, or the URL of a store such as "
                "s3://BUCKET/cache.h5"
            )
        if not url.endswith(".h5"):
            named = f"{redacted(url)}photos.h5" if url.endswith("/") else f"{redacted(url)}.h5"
            raise UsageError(f"output {redacted(url)} must end in .h5: name it {named}")
        key = hashlib.sha256(redacted(url).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return cls(url, home() / "uploads" / key / last_part(url))

    def require_possible(self, *, overwrite: bool) -> None:
        """Refuse what would be in vain after hours of computing: no access to the store, or another's cache there.

        Raises
        ------
        UsageError
            If something else is there, and `overwrite` is false.
        DataError
            If the store cannot be asked.
        MissingExtraError
            If what opens it is not installed.
        """
        files = file_system(self.url)
        try:
            told = Fetcher().ask(self.url)
        except FileNotFoundError:
            self._require_bucket(files)
            return
        except OSError as error:
            raise DataError(
                f"output {redacted(self.url)}: the store cannot be asked: {error.strerror or error}; check the URL and "
                "your credentials"
            ) from error
        if overwrite or (told.state and told.state.hex() == self._noted().get("state")):
            return
        raise UsageError(
            f"output {redacted(self.url)}: something is there already that was not uploaded from here, or was changed "
            "since; name another, or replace it with --overwrite (overwrite=True in Python)"
        )

    def _require_bucket(self, files: Any) -> None:
        """Raise where the store says that there is no such bucket; one that may not be asked about passes."""
        bucket = self.url.partition("://")[2].partition("/")[0]
        if scheme_of(self.url) not in BUCKETS:
            return
        try:
            files.info(bucket)
        except FileNotFoundError:
            raise UsageError(
                f"output {redacted(self.url)}: there is no bucket {bucket}; name one that is there, or make it first "
                "(aws s3 mb, gcloud storage buckets create)"
            ) from None
        except Exception:  # forbidden to this user, who may be allowed to write all the same; uploading tells
            return

    def upload(self) -> bool:
        """Upload the finished cache, unless this very file is there; returns whether it was uploaded.

        Raises
        ------
        StorageError
            If it could not be uploaded, or what is there is not what was written.
        """
        fetcher = Fetcher()
        with storage_errors(self.path, "read"):
            digest, size = _digest_of(self.path), self.path.stat().st_size
        noted = self._noted()
        if noted.get("sha256") == digest and noted.get("state"):
            with suppress(OSError, FeatcacheError):
                if fetcher.ask(self.url).state.hex() == noted["state"]:
                    return False
        try:
            files = file_system(self.url)
            fetcher.again(self.url, partial(files.put_file, str(self.path), self.url))
            self._verify(fetcher, digest, size)
        except FeatcacheError:
            raise
        except OSError as error:
            raise StorageError(
                f"cannot upload to {redacted(self.url)}: {error.strerror or error}; the finished cache lies at "
                f"{self.path}: {_AGAIN}, or copy it there yourself"
            ) from error
        told = fetcher.ask(self.url)
        note = json.dumps({"sha256": digest, "state": told.state.hex()}).encode()
        with suppress(OSError):  # without the note it is only uploaded again
            replace_file(self._note, note)
        return True

    def _verify(self, fetcher: Fetcher, digest: str, size: int) -> None:
        """Read back what was uploaded by blocks, and compare its hash: stores' own checksums are of many kinds."""
        told = fetcher.ask(self.url)
        found = hashlib.sha256()
        if told.size == size:
            for start in range(0, size, _BLOCK):
                found.update(fetcher.fetch(self.url, told, (start, min(start + _BLOCK, size))))
        if told.size != size or found.hexdigest() != digest:
            raise StorageError(
                f"{redacted(self.url)} is not what was uploaded ({told.size:,} bytes of {size:,}, or others); the "
                f"finished cache lies at {self.path}: {_AGAIN}"
            )

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.uploaded.json")

    def _noted(self) -> dict[str, Any]:
        try:
            noted = json.loads(self._note.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return noted if isinstance(noted, dict) else {}


def written_to(output: str | os.PathLike[str]) -> Path:
    """Return the path at which a cache for an output is written; its folder is made where that is featcache's own."""
    place = Uploaded.of(output)
    if place is None:
        return expanded(output)
    with storage_errors(place.path, elsewhere=OTHER_HOME):
        make_folder(place.path.parent, elsewhere=OTHER_HOME)
    return place.path


def _digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
