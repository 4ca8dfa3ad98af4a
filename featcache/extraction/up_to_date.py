"""What an extraction finds where it is to write: the same, which needs no network, or what would be lost."""

import os
from pathlib import Path

from featcache.cache import FeatureCache
from featcache.core.progress import OnProgress
from featcache.datasets import Dataset
from featcache.datasets.subset import Subset
from featcache.errors import IntegrityError
from featcache.extraction.content_hashes import hash_records
from featcache.extraction.output_path import output_path
from featcache.extraction.row_table import SplitRule, identify_rows, same_rows
from featcache.extraction.spec import ExtractionSpec


def guessed_target(
    data: Dataset, wanted: ExtractionSpec, output: str | os.PathLike[str] | None, part: Subset
) -> Path | None:
    """Where the cache is if the backbone was named as files name it; no network is loaded to find out."""
    if not isinstance(wanted.backbone, str) or (output is None and os.sep in wanted.backbone):
        return None
    target = output_path(data, wanted.backbone, output, part)
    return target if target.is_file() else None


def unchanged_cache(
    data: Dataset, wanted: ExtractionSpec, target: Path, rule: SplitRule, threads: int, report: OnProgress
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
