"""Decide whether a finished cache leaves anything to do; without loading a network, if the request is unchanged."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from featcache.cache import FeatureCache, partial_path
from featcache.core.parallel import ordered_map
from featcache.core.progress import OnProgress, Progress
from featcache.datasets import Dataset
from featcache.datasets.subset import Subset
from featcache.errors import ImageError, IntegrityError
from featcache.extraction.arguments import ExtractionArguments, PreparedExtraction
from featcache.extraction.output_path import output_path
from featcache.extraction.planning.content_hashes import hash_records
from featcache.extraction.planning.plan import ReusableRows, build_plan
from featcache.extraction.planning.row_table import identify_rows, same_rows
from featcache.extraction.result import temporary_rows
from featcache.images.decoding import TEMPORARY_REASONS


def unchanged_cache(
    arguments: ExtractionArguments,
    data: Dataset,
    part: Subset,
    report: OnProgress,
    failures: dict[int, ImageError],
) -> FeatureCache | None:
    """Return the finished cache if arguments, code and images are unchanged and every row holds; ``None`` otherwise.

    Every row is verified: what is called finished must not be refused by the next command.

    Parameters
    ----------
    arguments, data, part, report
        The arguments, the dataset, which part of another it is, and a function to call after every file.
    failures
        Filled with the number and the error of each record whose bytes could not be read.
    """
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
    hashes = hash_records(data, workers=arguments.threads, report=report, failures=failures)
    rows, document = identify_rows(data, hashes, arguments.rule, held=cache.identity)
    if not same_rows(cache.identity, rows, document):
        return None
    # Files without a hash were tried again just now, in vain. The others that left no features may be readable.
    if hashes[temporary_rows(cache)].any():
        return None
    if has_other_reasons(cache, failures):
        return None
    report(Progress("verify", len(rows), len(rows)))
    return cache if cache.intact().all() else None


def has_other_reasons(cache: FeatureCache, failures: Mapping[int, ImageError]) -> bool:
    """Return whether a row is quarantined for a reason that lasts and should be for one that may pass, or vice versa.

    Parameters
    ----------
    cache
        The finished cache of these records.
    failures
        Number and error of each record whose bytes could not be read just now.
    """
    passing = {*temporary_rows(cache).tolist()}
    return any((error.reason in TEMPORARY_REASONS) != (row in passing) for row, error in failures.items())


def leaves_work(held: FeatureCache, rows: ReusableRows, prepared: PreparedExtraction) -> bool:
    """Return whether a finished cache of these images and this recipe has rows that can be computed or copied.

    Such are damaged rows, and images that were left out for a reason that has passed: each is read and decoded to find
    out, until one can be. If none can, the cache stays as it is.

    Parameters
    ----------
    held, rows
        The finished cache at the target, and what may be copied from it.
    prepared
        The extraction.
    """
    waiting = temporary_rows(held)
    if has_other_reasons(held, prepared.failures):
        return True
    if rows.damaged or not len(waiting):
        return bool(rows.damaged)
    if partial_path(prepared.target).exists():  # of a run that was killed while it computed them
        return True
    done = np.ones(len(held), bool)
    done[waiting] = False
    sources = [ReusableRows(cache.sha256, cache.usable()) for cache in prepared.caches]
    known = build_plan(prepared.hashes, done, sources).reuse.values()
    if any(_holds(prepared.caches[position], row) for position, row in known):
        return True
    workers = prepared.arguments.threads
    return any(
        ordered_map(
            lambda row: _can_be_prepared(row, prepared), waiting.tolist(), workers=workers, ahead=2 * workers
        )
    )


def _holds(cache: FeatureCache, row: int) -> bool:
    try:
        for layer in cache.layers:
            cache.features([row], layer, view="all")
    except IntegrityError:
        return False
    return True


def _can_be_prepared(row: int, prepared: PreparedExtraction) -> bool:
    """Return whether an image can be computed, or will never be: both are more than the cache says."""
    try:
        prepared.images.prepare(row)
    except ImageError as error:
        return error.reason not in TEMPORARY_REASONS
    return True


def _guessed_target(arguments: ExtractionArguments, data: Dataset, part: Subset) -> Path | None:
    """Return the existing cache at the path that the backbone's name gives, without resolving the name."""
    backbone, output = arguments.spec.backbone, arguments.output
    if not isinstance(backbone, str) or (output is None and os.sep in backbone):
        return None
    target = output_path(data, backbone, output, part, arguments.spec)
    return target if target.is_file() else None
