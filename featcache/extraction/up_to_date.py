"""Detect that a cache is up to date without loading a network."""

import os
from pathlib import Path

from featcache.cache import FeatureCache
from featcache.core.progress import OnProgress
from featcache.datasets import Dataset
from featcache.datasets.subset import Subset
from featcache.errors import IntegrityError
from featcache.extraction.arguments import ExtractionArguments
from featcache.extraction.content_hashes import hash_records
from featcache.extraction.output_path import output_path
from featcache.extraction.row_table import identify_rows, same_rows


def unchanged_cache(
    arguments: ExtractionArguments, data: Dataset, part: Subset, report: OnProgress
) -> FeatureCache | None:
    """Return the finished cache if arguments, code and images are unchanged; ``None`` otherwise."""
    if arguments.verify or arguments.reuse:
        return None
    target = _guessed_target(arguments, data, part)
    if target is None:
        return None
    try:
        cache = FeatureCache(target)
    except IntegrityError:  # the extraction itself refuses or replaces it
        return None
    digest = arguments.spec.digest()
    if digest is None or cache.identity["provenance"].get("request") != digest:
        return None
    hashes = hash_records(data, workers=arguments.threads, report=report)
    rows, document = identify_rows(data, hashes, arguments.rule)
    return cache if same_rows(cache.identity, rows, document) else None


def _guessed_target(arguments: ExtractionArguments, data: Dataset, part: Subset) -> Path | None:
    """Return the existing cache at the path that the backbone's name gives, without resolving the name."""
    backbone, output = arguments.spec.backbone, arguments.output
    if not isinstance(backbone, str) or (output is None and os.sep in backbone):
        return None
    target = output_path(data, backbone, output, part)
    return target if target.is_file() else None
