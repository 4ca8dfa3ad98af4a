"""Plan an extraction from caches whose numbers are those of this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import CacheWriter
from featcache.core.progress import OnProgress, Progress
from featcache.core.warning import warn
from featcache.errors import IdentityError
from featcache.extraction.arguments import PreparedExtraction
from featcache.extraction.engines import FEW, ONNXRUNTIME
from featcache.extraction.planning.plan import Plan, ReusableRows, build_plan
from featcache.extraction.runner import Runner

Probes = Mapping[str, Any]


def checked_plan(
    prepared: PreparedExtraction,
    done: np.ndarray,
    sources: Sequence[ReusableRows],
    resumed: CacheWriter | None,
    report: OnProgress,
) -> tuple[Plan, Probes, Runner]:
    """Return the plan, the probe images' features, and what runs the network.

    The features are compared with those of every cache that rows are copied from.
    If nothing is to be computed, the network does not run: the probes of the first such cache are kept, and others
    that nobody named are compared with these.

    Parameters
    ----------
    prepared, done, sources
        The extraction, bool ``[N]`` of finished rows, and what may be copied from each of its caches.
    resumed
        The unfinished cache that is continued.
    report
        Called before the network is compiled.

    Raises
    ------
    IdentityError
        If rows of this recipe were computed otherwise, in the target or a cache that was named. One that was only
        found is left out, with a warning.
    """
    sources = list(sources)
    ours: Probes | None = None
    runner = prepared.runner()
    while True:
        plan = build_plan(prepared.hashes, done, sources)
        givers = [(-1, resumed.path, resumed.identity)] if resumed is not None else []
        used = sorted(plan.reuse.counts())
        givers += [(place, prepared.caches[place].path, prepared.caches[place].identity) for place in used]
        known = [
            (place, path, identity["provenance"].get("probes") or {}) for place, path, identity in givers
        ]
        if plan.compute:
            if ours is None:
                report(Progress("compile", total=len(prepared.rows)))
                runner = prepared.runner(_expected(plan, resumed))
                ours = runner.probe()
            unlike, found = _unlike(prepared, runner, ours, known), ours
        else:
            found = known[0][2] if known else {}
            unlike = _unlike(
                prepared, runner, found, [each for each in known[1:] if each[0] >= prepared.named]
            )
        if not unlike:
            return plan, found, runner
        for position in unlike:
            sources[position] = replace(sources[position], usable=np.zeros_like(sources[position].usable))


def _expected(plan: Plan, resumed: CacheWriter | None) -> int:
    """Return how many images decide on the engine: those to compute, or all where onnxruntime has begun.

    However few an interruption left, they are computed by the engine that computed the others, to the same last bits.
    """
    if resumed is not None and str(resumed.identity["provenance"].get("engine", "")).startswith(ONNXRUNTIME):
        return max(len(plan.compute), FEW)
    return len(plan.compute)


def _unlike(
    prepared: PreparedExtraction,
    runner: Runner,
    ours: Probes,
    known: Sequence[tuple[int, Path, Probes]],
) -> list[int]:
    """Return the positions of caches that nobody named and whose probe images have other features."""
    unlike = []
    for position, path, theirs in known:
        try:
            runner.require_same_probes(ours, theirs, origin=str(path))
        except IdentityError as error:
            if position < prepared.named:
                raise
            warn(f"left out: {error}")
            unlike.append(position)
    return unlike
