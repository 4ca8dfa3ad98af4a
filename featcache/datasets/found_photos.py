"""The photos behind a cache or a classifier, as far as they are still where they were."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from featcache.core.display import counted
from featcache.core.tasks import UNLABELLED
from featcache.datasets import Dataset, Record, open_dataset
from featcache.errors import FeatcacheError, FeatcacheWarning, ImageError

GIVE_THEM = "name where they are with --photos DATASET"


@dataclass(frozen=True)
class FoundPhotos:
    """Photos that were looked for.

    Parameters
    ----------
    dataset
        ``None`` where there is none of them.
    read
        Returns the encoded bytes of the photo with an id; raises `ImageError` or ``OSError`` where it is gone, or is
        another one than it was. ``None`` without photos.
    moved
        Why there are no pictures, or of how many, as a sentence; empty where all are there.
    """

    dataset: Dataset | None = None
    read: Callable[[str], bytes] | None = None
    moved: str = ""


def find_photos(
    spec: str,
    *,
    given: str | os.PathLike[str] | Dataset | None,
    ids: Sequence[str],
    sha256: Mapping[str, bytes],
    task: str,
) -> FoundPhotos:
    """Open the photos of a cache.

    Parameters
    ----------
    spec
        The dataset as it was extracted.
    given
        Where the user says that the photos are, under the same names; ``None`` for where they were.
    ids
        Names of the photos.
    sha256
        Id to the hash of the bytes, where it is known: another photo of the same name is not shown.
    task
        Of the cache.

    Raises
    ------
    FeatcacheError
        If what the user gave cannot be opened.
    """
    try:
        data = open_again(spec if given is None else given, task)
    except (FeatcacheError, OSError) as error:
        if given is not None:
            raise
        return FoundPhotos(
            moved=f"There are no pictures: the photos are not to be read at {spec} ({_brief(error)}); {GIVE_THEM}."
        )
    records = {record.id: record for record in data.records}
    missing = sum(name not in records for name in ids)
    place = data.spec
    if missing == len(ids):
        first = f", such as {ids[0]}" if ids else ""
        return FoundPhotos(
            moved=f"There are no pictures: {place} holds none of the {len(ids)} photos{first}; {GIVE_THEM}."
        )
    moved = (
        f"{missing} of {counted(len(ids), 'photo')} {'is' if missing == 1 else 'are'} not in {place} any more, without "
        "a picture here."
        if missing
        else ""
    )
    return FoundPhotos(data, _reader(records, sha256), moved)


def open_again(spec: str | os.PathLike[str] | Dataset, task: str) -> Dataset:
    """Open a dataset as it was extracted, without its warnings; `task` is that of its cache.

    Raises
    ------
    FeatcacheError
        If it cannot be opened.
    """
    unlabelled = task == UNLABELLED
    with warnings.catch_warnings():
        # They were told when the features were extracted; here the photos are only looked at.
        warnings.simplefilter("ignore", FeatcacheWarning)
        return open_dataset(spec, unlabelled=unlabelled, allow_empty_classes=not unlabelled)


def _reader(records: Mapping[str, Record], sha256: Mapping[str, bytes]) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        if name not in records:
            raise ImageError("unreadable file", f"{name} is not there any more")
        data = records[name].read()
        known = sha256.get(name)
        if known is not None and hashlib.sha256(data).digest() != known:
            raise ImageError(
                "unreadable file", f"{name} is another picture than its features were computed of"
            )
        return data

    return read


def _brief(error: BaseException) -> str:
    text = str(error).split("\n")[0]
    return text if len(text) <= 200 else f"{text[:199]}…"
