"""Features of images that arrive in portions: a folder of cache files, one for each portion of new images."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from featcache.cache import FeatureCache
from featcache.core.disk.names import expanded
from featcache.core.disk.storage import storage_errors
from featcache.core.parallel import default_workers
from featcache.datasets import Dataset, Record
from featcache.datasets.dataset import why_unread
from featcache.errors import DataError, ImageError
from featcache.extraction.extract import extract
from featcache.extraction.output_path import with_folder
from featcache.extraction.planning.content_hashes import hash_records
from featcache.extraction.planning.plan import Plan, build_plan
from featcache.extraction.planning.source_caches import caches_in, named_caches, sources_of
from featcache.extraction.resolved import ResolvedExtraction
from featcache.images.resizing import prepare


@dataclass(frozen=True)
class FeatureStore:
    """A folder of cache files, and perhaps one given cache file.

    Parameters
    ----------
    folder
        Folder of cache files of any recipes; those of the requested recipe are read.
    given
        A cache file that is read too, and never changed.
    """

    folder: Path
    given: Path | None = None

    @classmethod
    def at(cls, place: str | os.PathLike[str]) -> "FeatureStore":
        """Return the store of a folder; or of a cache file and the folder ``NAME.more`` beside it."""
        path = expanded(place)
        return cls(path.with_suffix(".more"), path) if path.suffix == ".h5" else cls(path)

    def features(
        self,
        records: Sequence[Record],
        request: ResolvedExtraction,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> np.ndarray:
        """Return the features of the request's one layer, float32 ``[N, D]``; computes and keeps what is missing.

        Raises
        ------
        ImageError
            If an image cannot be read; the message names the first. Features of the others are kept.
        IdentityError
            If the given file holds other features.
        """
        # Records are named by their paths, so remembered hashes are kept apart by store.
        location = f"store:{self.folder.resolve()}"
        data = Dataset("images", "images", ("image",), records, location=location)
        failures: dict[int, ImageError] = {}
        threads = workers or default_workers()
        hashes = hash_records(data, workers=threads, report=lambda progress: None, failures=failures)
        for row, error in sorted(failures.items()):
            raise _unreadable(records[row], error.reason, error.detail)
        caches = self._caches(request)
        plan = _plan(hashes, caches)
        if plan.compute:
            lock = FileLock(with_folder(self.folder / ".lock"))
            # Another process may be computing the same images, for another fold or grid point: wait, then reuse them.
            with storage_errors(self.folder, elsewhere="name another folder"):
                held = lock.acquire()
            with held:
                plan = _plan(hashes, self._caches(request))
                if plan.compute:
                    target = (
                        self.folder / f"{_name(request, [bytes(hashes[row]) for row in plan.compute])}.h5"
                    )
                    some = replace(data, records=[records[row] for row in plan.compute])
                    _compute(some, request, target, batch_size, workers)
            caches = self._caches(request)
            plan = _plan(hashes, caches)
        return _read(plan, caches, request)

    def _caches(self, request: ResolvedExtraction) -> list[FeatureCache]:
        given = named_caches([self.given], request) if self.given else []
        return [*given, *caches_in(self.folder, request)]


def _plan(hashes: np.ndarray, caches: Sequence[FeatureCache]) -> Plan:
    return build_plan(hashes, np.zeros(len(hashes), bool), sources_of(caches))


def _name(request: ResolvedExtraction, hashes: Sequence[bytes]) -> str:
    """Return a file name that follows from images and recipe, so that an interrupted run is continued."""
    digest = hashlib.sha256(b"".join(sorted(hashes)))
    for spec in request.specs.values():
        digest.update(spec.fingerprint.encode())
    return digest.hexdigest()[:16]


def _compute(
    data: Dataset, request: ResolvedExtraction, target: Path, batch_size: int | None, workers: int | None
) -> None:
    try:
        done = extract(
            data,
            backbone=request.network,
            layers=list(request.specs),
            output=target,
            dtype=next(iter(request.specs.values())).dtype,
            compute_dtype=request.compute_dtype,
            image_statistics=False,
            batch_size=batch_size,
            workers=workers,
        )
    except DataError:  # none of the images could be read
        _name_unreadable(data.records, request)
        raise
    if done.quarantined:
        bad = [record for record in data.records if record.id in done.quarantined]
        _name_unreadable(bad, request)
        raise ImageError(done.quarantined[bad[0].id], f"{bad[0].id}; it can be read now: try again")


def _name_unreadable(records: Sequence[Record], request: ResolvedExtraction) -> None:
    """Raise an error for the first of these images that cannot be read."""
    for record in records:
        try:
            prepare(record.read(), request.transforms)
        except (OSError, MemoryError, ImageError) as error:
            why = why_unread(error, record.size)
            raise _unreadable(record, why.reason, why.detail) from error


def _unreadable(record: Record, reason: str, detail: str) -> ImageError:
    return ImageError(reason, f"{record.id}: {detail}; repair it, or leave it out with its label")


def _read(plan: Plan, caches: Sequence[FeatureCache], request: ResolvedExtraction) -> np.ndarray:
    """Return the features in order; every row is checked against its checksum."""
    [(layer, spec)] = request.specs.items()
    found = np.empty((len(plan.reuse), int(np.prod(spec.shape))), np.float32)
    for position, cache in enumerate(caches):
        rows = np.flatnonzero(plan.reuse.positions == position)
        if len(rows):
            found[rows] = cache.features(plan.reuse.places[rows], layer).reshape(len(rows), -1)
    return found
