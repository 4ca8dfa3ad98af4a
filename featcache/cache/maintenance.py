"""Maintain cache files: verify, repair, list and remove them, and delete leftovers of interrupted extractions."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from featcache.cache.extraction_cost import ExtractionCost
from featcache.cache.header import MAGIC
from featcache.cache.layout import PARTIAL, PREVIOUS, fresh_path, partial_path, previous_path
from featcache.cache.reader import A_CACHE, FeatureCache, share_written
from featcache.cache.set_aside import is_finished, remove_set_aside, was_set_aside
from featcache.cache.verification import Verification
from featcache.core.disk.lock import WriteLock, is_held
from featcache.core.disk.names import read_file, require_file, require_folder
from featcache.core.disk.storage import storage_error, storage_errors
from featcache.core.disk.syncing import sync_name
from featcache.core.disk.temporaries import Leftover, remove_leftover
from featcache.core.disk.temporaries import find_leftovers as find_temporary_leftovers
from featcache.core.progress import OnProgress
from featcache.errors import FeatcacheError, IntegrityError, LockedError, MissingFileError, UsageError


def verify(path: str | os.PathLike[str], *, on_progress: OnProgress | None = None) -> Verification:
    """Check every meaningful byte of a cache.

    Parameters
    ----------
    path
        The cache.
    on_progress
        Called with a `featcache.core.progress.Progress` as rows are checked.

    Raises
    ------
    MissingFileError
        If there is no such file. Damage is not raised but returned.
    """
    try:
        cache = FeatureCache(path)
    except IntegrityError as error:
        return Verification(Path(path), None, error=str(error))
    with cache:
        return cache.verify(on_progress=on_progress)


def repair(path: str | os.PathLike[str]) -> Verification:
    """Mark the damaged rows of a finished cache for computation by the next extraction.

    The file is renamed to an unfinished one: the extraction that resumes it verifies every checksum, computes the
    rows that fail and publishes. An intact cache is left alone.

    Returns
    -------
    Verification
        The damage that was found.

    Raises
    ------
    IntegrityError
        If the row table or the headers are damaged: then no row can be named, and none saved.
    UsageError
        If an unfinished extraction is in the way.
    LockedError
        If the cache is being written.
    StorageError
        If the disk is read-only or failing.
    """
    target = _named(path)
    if not target.is_file():
        remove_traces(target)
        verify(target)  # raises, and tells an unfinished cache from none
    with WriteLock(target, writes=False):
        found = verify(target)
        if found.error:
            raise IntegrityError(found.error)
        unfinished = partial_path(target)
        if found.ok or target.name.endswith(PARTIAL):
            return found
        if unfinished.exists():
            raise UsageError(
                f"{unfinished} is in the way: finish it with its featcache extract command, or delete it"
            )
        with storage_errors(target, "rename"):
            os.replace(target, unfinished)
            sync_name(unfinished)
        return found


@dataclass(frozen=True)
class CacheInfo:
    """One line of a listing.

    Parameters
    ----------
    path
        The file.
    state
        ``"finished"``, ``"unfinished"`` or ``"unreadable"``.
    detail
        Share of an unfinished cache that is complete, or why a file cannot be read.
    nbytes
        Size of the file.
    images, classes, splits, backbone, layers, dtype, dataset, created
        From the cache's metadata; layers with the shape of a row, splits with their number of rows.
    cost
        What the extraction took; ``None`` where the cache does not say.
    """

    path: Path
    state: str
    detail: str
    nbytes: int
    images: int = 0
    classes: int = 0
    splits: Mapping[str, int] = field(default_factory=dict)
    backbone: str = ""
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dtype: str = ""
    dataset: str = ""
    created: str = ""
    cost: ExtractionCost | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


def describe(path: str | os.PathLike[str]) -> CacheInfo:
    """Return a cache file's state and metadata, without reading its features."""
    path = Path(path)
    try:
        cache = FeatureCache(path)
    except MissingFileError:
        raise
    except FeatcacheError as error:
        return CacheInfo(path, "unreadable", str(error), path.stat().st_size)
    with cache:
        finished = is_finished(path) if path.name.endswith(PARTIAL) else bool(cache.written().all())
        names = cache.split_names()
        return CacheInfo(
            path,
            "finished" if finished else "unfinished",
            "" if finished else share_written(cache),
            cache.nbytes,
            images=len(cache),
            classes=len(cache.classes),
            splits={split: names.count(split) for split in cache.splits},
            backbone=cache.backbone,
            layers={name: spec.shape for name, spec in cache.layers.items()},
            dtype=cache.recipe["stored_dtype"],
            dataset=cache.identity["dataset"]["spec"],
            created=cache.identity["provenance"].get("created", ""),
            cost=cache.extraction_cost,
        )


def list_caches(folder: str | os.PathLike[str] = ".") -> list[CacheInfo]:
    """Describe every cache in a folder, unfinished ones included; other HDF5 files are left out."""
    paths = (path for path in _files(Path(folder)) if path.suffix == ".h5" and _is_ours(path) is not False)
    found = (_described(path) for path in paths if not path.name.endswith(PREVIOUS) or is_finished(path))
    return [info for info in found if info is not None]


def _described(path: Path) -> CacheInfo | None:
    """Describe a file of a listing; ``None`` if it has vanished since."""
    try:
        return describe(path)
    except FileNotFoundError:
        return None


def find_leftovers(folder: str | os.PathLike[str] = ".") -> list[Leftover]:
    """List what interrupted commands left in a folder, except what is in use; nothing is removed.

    That is files of extractions, and whatever else is replaced at one blow and was half written: classifiers, exports,
    files of sweeps.
    """
    root = Path(folder)
    targets = {target for path in _files(root) if (target := _target_of(path)) is not None}
    with storage_errors(root, "list"):
        found = [left for target in sorted(targets) if not is_held(target) for left in _leftovers_of(target)]
        return found + find_temporary_leftovers(root)


def gc(folder: str | os.PathLike[str] = ".", *, unfinished: bool = False) -> list[Leftover]:
    """Remove what interrupted commands left in a folder; see `find_leftovers`.

    Parameters
    ----------
    folder
        Where to look; folders below it are not searched.
    unfinished
        Also remove unfinished extractions, which the same command could still resume.

    Returns
    -------
    list of Leftover
        The removed files.
    """
    chosen = (
        left
        for left in find_leftovers(folder)
        if left.removable or (unfinished and _target_of(left.path) is not None)
    )
    return [left for left in chosen if _remove_leftover(left.path)]


def _remove_leftover(path: Path) -> bool:
    """Remove what was left; false if a new writer of a cache has taken it meanwhile: then it is no leftover."""
    target = _target_of(path)
    with storage_errors(path, "remove"):
        if target is None:
            return remove_leftover(path)
        try:
            with WriteLock(target, writes=False):  # whose end removes the lock's own files
                path.unlink(missing_ok=True)
        except LockedError:
            return False
    return True


def remove(path: str | os.PathLike[str]) -> None:
    """Delete a cache and all that belongs to it.

    Raises
    ------
    MissingFileError
        If there is nothing of that name.
    IntegrityError
        If the file is something else than a cache.
    LockedError
        If it is being written.
    StorageError
        If the disk is read-only or failing; a full one is no obstacle.
    """
    target = _named(path)
    with storage_errors(target, "find"):
        own = [p for p in (partial_path(target), previous_path(target)) if p.is_file() and not is_finished(p)]
        paths = [p for p in (target,) if p.is_file()] + own
    if not paths:
        remove_traces(target)
        require_file(
            target, A_CACHE, missing=f"no cache {target}; featcache cache ls FOLDER lists those in a folder"
        )
    foreign = [p for p in paths if not _is_ours(p, strict=True)]
    if foreign:
        raise IntegrityError(f"{foreign[0]} is no featcache cache; delete it by other means if you want to")
    with WriteLock(target, writes=False):
        for each in (*paths, fresh_path(target)):
            with storage_errors(each, "remove"):
                each.unlink(missing_ok=True)


def remove_traces(target: Path) -> None:
    """Remove what a process that was killed in its first or last steps left beside a cache.

    That is its lock, a file that it was just creating, and earlier rows that it had copied. Nothing is lost if it does
    not succeed, and the next writer does the same; so no error is raised.
    """
    fresh, previous = fresh_path(target), previous_path(target)
    with suppress(OSError):  # LockedError is one: somebody is writing
        lock = WriteLock(target, writes=False)
        if lock.leaves_traces() or fresh.exists() or previous.exists():
            with lock:
                fresh.unlink(missing_ok=True)
                if target.exists() and not partial_path(target).exists():
                    remove_set_aside(target)


def _named(path: str | os.PathLike[str]) -> Path:
    """Return the path of a cache; raise where it has no name that others could be made of, as ``.`` and ``/``."""
    target = Path(path)
    if not target.name:
        require_file(target, A_CACHE)
    return target


def _files(folder: Path) -> Iterator[Path]:
    require_folder(folder, "a folder to look for caches in")
    with storage_errors(folder, "list"):
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    yield from paths


def _is_ours(path: Path, *, strict: bool = False) -> bool | None:
    """Return whether a file begins as a cache does; ``None`` if it cannot be read, or an error where `strict`."""
    try:
        return read_file(path, len(MAGIC)) == MAGIC
    except OSError as error:
        if strict:
            raise storage_error(error, path, "read") from error
        return None


def _target_of(path: Path) -> Path | None:
    """Return the cache that a leftover belongs to; ``None`` for any other file."""
    name = path.name
    for ending, plain in (
        (f"{PARTIAL}.new", ".h5"),
        (PARTIAL, ".h5"),
        (PREVIOUS, ".h5"),
        (".h5.lock", ".h5"),
        (".h5.owner.json", ".h5"),
    ):
        if name.endswith(ending):
            return path.with_name(name.removesuffix(ending) + plain)
    return None


def _leftovers_of(target: Path) -> Iterator[Leftover]:
    partial, previous = partial_path(target), previous_path(target)
    going_on = partial.is_file() and _is_ours(partial) and not is_finished(partial)
    if going_on:
        info = _described(partial)
        if info is not None:
            reason = f"unfinished extraction ({info.detail})"
            yield _leftover(partial, reason, removable=info.state == "unreadable")
    if previous.is_file() and was_set_aside(previous):
        superseded = target.is_file() and not going_on
        reason = "older rows of an extraction that has finished" if superseded else "older rows to be copied"
        yield _leftover(previous, reason, removable=superseded)
    fresh = fresh_path(target)
    if fresh.is_file():
        yield _leftover(fresh, "file that was just being created", removable=True)
    lock = WriteLock(target)
    ours = lock.record.is_file() or going_on or (target.is_file() and _is_ours(target))
    for path in (lock.record, lock.lock_file):
        # Other programs use such names for their locks, too.
        if path.is_file() and ours:
            yield _leftover(path, "lock of a process that is gone", removable=True)


def _leftover(path: Path, reason: str, *, removable: bool) -> Leftover:
    size = 0
    with suppress(FileNotFoundError):  # another process has removed it just now
        size = path.stat().st_size
    return Leftover(path, size, reason, removable)
