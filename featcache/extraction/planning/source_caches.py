"""Find the caches that an extraction may copy rows from, and refuse to replace one whose images would be lost."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache, RowTable, partial_path
from featcache.cache.checksums import PRESENT
from featcache.cache.layout import PARTIAL, PREVIOUS, previous_path
from featcache.cache.set_aside import is_finished, refuse_finished
from featcache.core.columns.digest_array import is_among, is_known, sortable
from featcache.core.columns.name_column import encode_ids
from featcache.core.environment import home
from featcache.core.warning import warn
from featcache.errors import DataError, IdentityError, IntegrityError, UnknownNameError
from featcache.extraction.planning.plan import ReusableRows, difference, refuse_difference, serves
from featcache.extraction.resolved import ResolvedExtraction, resolve
from featcache.images.colour_statistics import LAYER as STATISTICS


def with_layers_of(resolved: ResolvedExtraction, caches: Sequence[FeatureCache]) -> ResolvedExtraction:
    """Add the layers that the target already holds: adding images to a cache must not drop a layer."""
    held = [name for cache in caches[:1] for name in cache.layers if name not in resolved.specs]
    if not held:
        return resolved
    names = tuple(caches[0].layers)
    return resolve(
        replace(resolved.spec, backbone=resolved.network, layers=names, image_statistics=STATISTICS in names)
    )


def own_caches(target: Path, resolved: ResolvedExtraction, *, overwrite: bool) -> list[FeatureCache]:
    """Open the target's finished, unfinished and previous cache; refuse one of another recipe, with the differences.

    A finished cache under the name of a previous one is somebody's own, and not among them.
    """
    caches = []
    for path in (target, partial_path(target), previous_path(target)):
        if not path.exists() or (path.name.endswith(PREVIOUS) and is_finished(path)):
            continue
        try:
            found = FeatureCache(path)
        except IntegrityError:
            # An unfinished or previous file may be damaged by a kill; only a damaged target is an error.
            if path == target and not overwrite:
                raise
            continue
        if not _serves_whole(found, resolved):
            if path != target:
                refuse_finished(path, target)
            if overwrite:
                continue
            raise difference(path, found.identity, resolved.recipe, resolved.specs)
        caches.append(found)
    return caches


def _serves_whole(cache: FeatureCache, resolved: ResolvedExtraction) -> bool:
    """Return whether a cache serves a request, and whether the layers that it holds beyond it are those of the network.

    They are kept, and weights that agree as far as one layer may differ behind it.
    """
    if not serves(cache.identity, resolved.recipe, resolved.specs):
        return False
    if cache.identity["recipe"] == resolved.recipe:
        return True
    try:
        whole = with_layers_of(resolved, [cache])
    except UnknownNameError:  # the network ends before a layer that the cache holds
        return False
    return serves(cache.identity, whole.recipe, whole.specs)


def named_caches(paths: Sequence[str | os.PathLike[str]], resolved: ResolvedExtraction) -> list[FeatureCache]:
    """Open the caches of `reuse`; refuse one of another recipe."""
    caches = []
    for path in paths:
        found = FeatureCache(path)  # raises for an unfinished cache
        refuse_difference(Path(path), found.identity, resolved.recipe, resolved.specs)
        caches.append(found)
    return caches


def caches_in(
    folder: Path, resolved: ResolvedExtraction, known: Collection[str] = (), *, tell: bool = True
) -> list[FeatureCache]:
    """Open the finished caches of this recipe in a folder, but for those whose real path is known.

    With `tell`, files that cannot be used are named in a warning. In a user's own folder they may be anything.
    """
    caches, paths = [], []
    with suppress(OSError):  # FEATCACHE_HOME may be what no folder can be
        paths = sorted(folder.glob("*.h5"))
    for path in paths:
        reserved = path.name.endswith((PARTIAL, PREVIOUS))
        if _place(path) in known or (reserved and not is_finished(path)):
            continue
        try:
            found = FeatureCache(path)
        except (OSError, DataError) as error:  # of a damaged cache, or what is no file
            if tell:
                warn(f"left out: {error}")
            continue
        if serves(found.identity, resolved.recipe, resolved.specs):
            caches.append(found)
    return caches


def find_caches(
    target: Path,
    resolved: ResolvedExtraction,
    *,
    reuse: Sequence[str | os.PathLike[str]],
    overwrite: bool,
) -> tuple[ResolvedExtraction, list[FeatureCache]]:
    """Return the extraction with the target's layers, and the caches to copy rows from in order of preference.

    If a cache that rows are copied from has no image statistics, they are left out: adding them would mean reading
    all of its images again. With `overwrite`, such a target is computed again instead.

    Raises
    ------
    IdentityError
        If the target, or a cache to reuse, is of another recipe.
    """
    plain = resolved.without_statistics()
    own = own_caches(target, plain, overwrite=overwrite)
    if overwrite and resolved.image_statistics:
        own = [found for found in own if STATISTICS in found.layers]
    named = named_caches(reuse, plain)
    if not all(STATISTICS in found.layers for found in (*own, *named)):
        resolved = plain
    resolved = with_layers_of(resolved, own)
    # Of several unfinished files the older one may be of fewer layers.
    own = [found for found in own if serves(found.identity, resolved.recipe, resolved.specs)]
    for path, found in zip(reuse, named, strict=True):  # the target may hold more layers than were asked for
        refuse_difference(Path(path), found.identity, resolved.recipe, resolved.specs)
    return resolved, [*own, *named]


def found_caches(
    target: Path, resolved: ResolvedExtraction, hashes: np.ndarray, caches: Sequence[FeatureCache]
) -> list[FeatureCache]:
    """Return caches of this recipe that nobody named and that hold images that `caches` do not.

    They are looked for in the target's folder and in ``FEATCACHE_HOME/caches``. Rows are the same if the images'
    hashes are, whatever form of the dataset they were extracted from.

    Parameters
    ----------
    target, resolved
        The file to be written, and the layers that a cache must hold.
    hashes
        uint8 ``[N, 32]``: sha256 of each row's image.
    caches
        The caches that rows may be copied from already.
    """
    needed = sortable(hashes[is_known(hashes)])
    for cache in caches:
        needed = needed[~is_among(needed, _held(cache))]
    found: list[FeatureCache] = []
    known = {_place(cache.path) for cache in caches} | {_place(target)}
    for folder, is_ours in ((target.parent, False), (home() / "caches", True)):
        for cache in caches_in(folder, resolved, known, tell=is_ours) if len(needed) else ():
            there = is_among(needed, _held(cache))
            if there.any():
                needed = needed[~there]
                found.append(cache)
            known.add(_place(cache.path))
    return found


def _held(cache: FeatureCache) -> np.ndarray:
    """Return the hashes of a cache's images that have features, ``S32 [M]``."""
    return sortable(cache.sha256[cache.status == PRESENT])


def _place(path: Path) -> str:
    return os.path.realpath(path)


def sources_of(caches: Sequence[FeatureCache]) -> list[ReusableRows]:
    """Return the rows that may be copied: those with valid checksums, so that damaged rows are computed again."""
    found = []
    for cache in caches:
        intact = cache.intact()
        usable = (cache.status == PRESENT) & intact
        found.append(ReusableRows(cache.sha256, usable, int((~intact).sum())))
    return found


def dropped_images(
    caches: Sequence[FeatureCache],
    target: Path,
    rows: RowTable,
    document: Mapping[str, Any],
    *,
    overwrite: bool,
    why_absent: Callable[[str], str] | None = None,
) -> int:
    """Return how many images of the finished cache at `target` the dataset no longer has.

    Images that were removed from a dataset are dropped from its cache; those of another dataset are not. Files that
    cannot be read at the moment are still there, and are not counted. Nor are those below a link that leads nowhere
    for now taken for removed.

    Parameters
    ----------
    caches
        The caches that rows may be copied from; the one at `target` may be among them.
    rows
        The new row table.
    document
        The dataset's entry in the new identity.
    overwrite
        Whether a cache of another dataset may be replaced.
    why_absent
        See `featcache.datasets.Dataset`.

    Raises
    ------
    IdentityError
        If images would be lost because the target holds another dataset, or another slice of it, or because it cannot
        be said whether they are gone.
    """
    held = next((cache for cache in caches if cache.path == target), None)
    if held is None:
        return 0
    keys = sortable(held.sha256)
    is_lost = (held.status == PRESENT) & ~is_among(keys, sortable(rows.sha256))
    lost = len(np.unique(keys[is_lost]))
    was, now = ((told["spec"], told.get("slice")) for told in (held.identity["dataset"], document))
    if lost and was != now and not overwrite:
        raise IdentityError(
            f"{target} holds another dataset, {_name_of(was)}: {lost} of its images are not in {_name_of(now)}, "
            "and their features would be lost; write to another file with --output, or replace it with --overwrite"
        )
    unreadable = np.flatnonzero(~is_known(rows.sha256))
    if lost and len(unreadable):
        names = encode_ids([rows.ids[row] for row in unreadable.tolist()])
        spared = keys[is_among(encode_ids(held.ids), names)]
        is_lost &= ~is_among(keys, spared)
    if is_lost.any() and why_absent is not None and not overwrite:
        _require_gone(held, np.flatnonzero(is_among(keys, keys[is_lost])), rows, why_absent)
    return len(np.unique(keys[is_lost]))


def _require_gone(
    held: FeatureCache, lost: np.ndarray, rows: RowTable, why_absent: Callable[[str], str]
) -> None:
    """Raise if rows of a cache whose images are lost have a name that no row has, and may be there nevertheless."""
    names = [held.ids[row] for row in lost.tolist()]
    there = is_among(encode_ids(names), encode_ids(rows.ids))
    absent = [
        name for name, known in zip(names, there.tolist(), strict=True) if not known and why_absent(name)
    ]
    if absent:
        raise IdentityError(
            f"{why_absent(absent[0])}, and the features of {len(absent)} images in {held.path} would be lost, such as "
            f"{absent[0]}. Make it readable again; or, if they are gone for good, delete it or use --overwrite"
        )


def _name_of(dataset: tuple[str, str | None]) -> str:
    return " ".join(filter(None, dataset))
