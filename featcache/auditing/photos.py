"""The photos of the rows that are audited, as far as they are still where they were."""

from collections.abc import Callable
from typing import Any, Literal

from featcache.auditing.ranked import AuditedRows
from featcache.datasets.found_photos import FoundPhotos, find_photos

Read = Callable[[str], bytes]
"""Returns the encoded bytes of the photo with an id; raises `ImageError` or ``OSError`` where it cannot be read."""

Pictures = Read | Literal["found"] | None
"""How an audit comes to the photos: ``"found"`` where they were when the features were computed; ``None``: not."""


def found_photos(rows: AuditedRows, *, given: Any = None) -> FoundPhotos:
    """Return the photos of audited rows; none where the rows are of no cache.

    Parameters
    ----------
    rows
        The audited rows; those of `featcache.auditing.material.Audited` have a cache.
    given
        Where the user says that the photos are, as for `find_photos`.
    """
    cache = getattr(rows, "cache", None)
    if cache is None:
        return FoundPhotos()
    return find_photos(
        cache.identity["dataset"]["spec"],
        given=given,
        ids=rows.ids,
        sha256={name: digest.tobytes() for name, digest in zip(rows.ids, rows.sha256, strict=True)},
        task=rows.task,
    )


def reader(rows: AuditedRows, pictures: Pictures) -> Read | None:
    """Return what reads a photo by its id; ``None`` where there are no photos."""
    return found_photos(rows).read if pictures == "found" else pictures
