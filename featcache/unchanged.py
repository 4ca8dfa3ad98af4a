"""What an extraction finds where it is to write: the same, which needs no network, or what would be lost."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featcache import plan as planning
from featcache.cache import FeatureCache, RowTable
from featcache.cache.layout import table_digest
from featcache.errors import IdentityError, IntegrityError
from featcache.hashing import hash_records
from featcache.parts import Part, output_path
from featcache.progress import OnProgress
from featcache.request import Wanted
from featcache.sources import Dataset
from featcache.tasks import CLASSES


def identify_rows(
    data: Dataset, hashes: Sequence[bytes], rule: planning.SplitRule, split: str | None = None
) -> tuple[RowTable, dict[str, Any]]:
    """Return the row table, and what the identity says of the dataset, of which `split` is the slice taken."""
    rows, splits, drawn = planning.build_rows(data, hashes, rule)
    document = {"spec": data.spec, "classes": list(data.classes), "splits": list(splits), "rule": drawn}
    if data.task != CLASSES:
        document["task"] = data.task
    if split is not None:
        document["slice"] = split
    return rows, document


def guessed_target(
    data: Dataset, wanted: Wanted, output: str | os.PathLike[str] | None, part: Part
) -> Path | None:
    """Where the cache is if the backbone was named as files name it; no network is loaded to find out."""
    if not isinstance(wanted.backbone, str) or (output is None and os.sep in wanted.backbone):
        return None
    target = output_path(data, wanted.backbone, output, part)
    return target if target.is_file() else None


def unchanged_cache(
    data: Dataset, wanted: Wanted, target: Path, rule: planning.SplitRule, threads: int, report: OnProgress
) -> FeatureCache | None:
    """Return the finished cache if the same was asked for by the same code and no image has changed."""
    try:
        cache = FeatureCache(target)
    except IntegrityError:  # to be refused, or replaced, by what follows
        return None
    digest = wanted.digest()
    if digest is None or cache.identity["provenance"].get("request") != digest:
        return None
    rows, document = identify_rows(data, hash_records(data, workers=threads, report=report), rule)
    return cache if same_rows(cache.identity, rows, document) else None


def same_rows(identity: Mapping[str, Any], rows: RowTable, document: Mapping[str, Any]) -> bool:
    """Whether a cache has exactly these rows, classes and splits (how the dataset was spelled is no matter)."""
    held = identity["dataset"]
    return identity["rows"]["sha256"] == table_digest(rows.columns()) and all(
        held.get(key) == document.get(key) for key in ("classes", "splits", "rule", "task")
    )


def dropped_images(
    caches: Sequence[FeatureCache],
    target: Path,
    hashes: Sequence[bytes],
    document: Mapping[str, Any],
    *,
    overwrite: bool,
) -> int:
    """Return how many images of the finished cache at `target` the new one will not have.

    Images that are removed from a dataset leave its cache, too. A cache of another dataset is not taken for that.

    Parameters
    ----------
    caches
        All that rows may be copied from; that at `target` may be one of them.
    hashes
        sha256 of the new images.
    document
        What the identity will say of the dataset.
    overwrite
        Whether losing a cache of another dataset is wanted.

    Raises
    ------
    IdentityError
        If images would be lost because another dataset, or another slice, is written over it.
    """
    held = next((cache for cache in caches if cache.path == target), None)
    if held is None:
        return 0
    present = held.sha256[held.rows_of()]
    dropped = len({digest.tobytes() for digest in present} - set(hashes))
    was, now = ((told["spec"], told.get("slice")) for told in (held.identity["dataset"], document))
    if dropped and was != now and not overwrite:
        raise IdentityError(
            f"{target} holds another dataset, {_named(was)}: {dropped} of its images are not in {_named(now)}, and "
            "their features would be lost; write to another file with --output, or replace it with --overwrite"
        )
    return dropped


def _named(dataset: tuple[str, str | None]) -> str:
    return " ".join(filter(None, dataset))
