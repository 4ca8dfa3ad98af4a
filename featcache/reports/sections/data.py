"""The data: how many photos of each class and split, some of them, what was left out, copies and leaks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.checks.rows import WHOLE, check_rows
from featcache.core.display import counted
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.pages.chart import Axis, Chart, Series
from featcache.reports.class_rows import NARROW
from featcache.reports.configurations import number_columns
from featcache.reports.material import Material
from featcache.reports.section import Section
from featcache.splits.copies import grouped_copies

if TYPE_CHECKING:
    from featcache.cache import FeatureCache

BARS = 40
"""Most classes with a bar of their own; of more, the largest and the smallest are drawn."""
SAMPLES = 6
"""Pictures of each class."""
SAMPLED = 240
"""Most pictures of all classes together."""
LISTED = 100
"""Rows of a table at most: of what was left out, of copies."""
BINS = 12


def section(material: Material) -> Section | None:
    """Return what the data are; ``None`` without a cache."""
    cache = material.cache
    if cache is None:
        return None
    counts = counts_of(cache)
    copies = copies_of(cache)
    unread = _unread(cache)
    skipped = dict(material.dataset.skipped) if material.dataset else {}
    charts = _charts(cache, counts)
    findings = [finding.message for finding in check_rows(cache, _parts(cache))] if cache.classes else []
    return Section(
        key="data",
        title="The data",
        headline=_headline(cache, counts, unread, copies),
        template="data.html",
        content={
            "drawn": charts,
            "counted": cache.task != REGRESSION,
            "columns": ("class", *number_columns(*map(_named, cache.splits), "all")),
            "cells": _cells(cache, counts),
            "samples": _samples(material, cache),
            "per_class": SAMPLES,
            "unread": list(unread.items())[:LISTED],
            "unread_count": len(unread),
            "skipped": list(skipped.items()),
            "findings": findings,
            "copies": [_shown_copies(cache, rows) for rows in copies[:LISTED]],
            "copies_count": len(copies),
            "images": len(cache),
        },
        data={
            "dataset": cache.identity["dataset"]["spec"],
            "images": len(cache),
            "task": cache.task,
            "counts": counts,
            "unreadable": unread,
            "skipped": skipped,
            "copies": [[cache.ids[row] for row in rows] for rows in copies],
            "leaks": [[cache.ids[row] for row in rows] for rows in copies if _leaks(cache, rows)],
            "findings": findings,
        },
        charts=charts,
    )


# Counts -------------------------------------------------------------------------------------------------------


def counts_of(cache: "FeatureCache") -> dict[str, dict[str, int]]:
    """Return split to class to number of photos with features; of several answers, of photos with a yes.

    A split of numbers, or of photos without labels, has its number of photos alone, under ``""``.
    """
    found = {}
    for split in cache.splits:
        rows = cache.rows_of(split)
        if cache.task == MULTICLASS:
            numbers = np.bincount(cache.labels[rows], minlength=len(cache.classes))
        elif cache.task == MULTILABEL and cache.targets is not None:
            numbers = (cache.targets[rows] > 0).sum(axis=0)
        else:
            found[split] = {"": len(rows)}
            continue
        found[split] = dict(zip(cache.classes, numbers.tolist(), strict=True))
    return found


def copies_of(cache: "FeatureCache") -> list[list[int]]:
    """Return the rows of every image that is there more than once: copies in several splits first."""
    keys = [digest.tobytes() for digest in cache.sha256]
    groups = [rows for rows in grouped_copies(keys, cache.rows_of()).values() if len(rows) > 1]
    return sorted(groups, key=lambda rows: not _leaks(cache, rows))


def _leaks(cache: "FeatureCache", rows: Sequence[int]) -> bool:
    return len(set(cache.split_numbers[list(rows)].tolist())) > 1


def _contradict(cache: "FeatureCache", rows: Sequence[int]) -> bool:
    return len({tuple(np.atleast_1d(cache.known[row]).tolist()) for row in rows}) > 1


def _parts(cache: "FeatureCache") -> dict[str, np.ndarray]:
    return {split or WHOLE: cache.rows_of(split) for split in cache.splits}


def _unread(cache: "FeatureCache") -> dict[str, str]:
    from featcache.extraction.result import quarantined_rows

    return quarantined_rows(cache)


# Words --------------------------------------------------------------------------------------------------------


def _headline(
    cache: "FeatureCache",
    counts: Mapping[str, Mapping[str, int]],
    unread: Mapping[str, str],
    copies: Sequence[Sequence[int]],
) -> str:
    splits = ", ".join(f"{_named(split)} {len(cache.rows_of(split)):,}" for split in counts)
    photos = counted(len(cache), "photo")
    parts = [f"{photos} ({splits})" if len(counts) > 1 else photos]
    total = {
        name: sum(own[name] for own in counts.values())
        for name in cache.classes
        if name in next(iter(counts.values()), {})
    }
    if len(total) > 1:
        most, least = max(total, key=total.__getitem__), min(total, key=total.__getitem__)
        even = total[most] <= 1.2 * total[least]
        parts.append(
            f"{len(total)} classes of about as many each"
            if even and cache.task == MULTICLASS
            else f"{len(total)} {cache.task}, from {total[least]:,} of {least} to {total[most]:,} of {most}"
        )
    if unread:
        parts.append(f"{len(unread):,} could not be read")
    odd = {
        "in several splits": sum(_leaks(cache, rows) for rows in copies),
        "there with different labels": sum(_contradict(cache, rows) for rows in copies),
    }
    if not any(odd.values()):
        odd = {"there more than once": len(copies)}
    parts += [f"{n:,} {'photo is' if n == 1 else 'photos are'} {what}" for what, n in odd.items() if n]
    return "; ".join(parts)


def _named(split: str) -> str:
    return split or "unsplit"


def _cells(cache: "FeatureCache", counts: Mapping[str, Mapping[str, int]]) -> list[tuple[Any, ...]]:
    names = next(iter(counts.values()), {})
    rows = []
    for name in names:
        own = [counts[split].get(name, 0) for split in cache.splits]
        rows.append((name or "all photos", *own, sum(own)))
    return rows


# Charts -------------------------------------------------------------------------------------------------------


def _charts(cache: "FeatureCache", counts: Mapping[str, Mapping[str, int]]) -> tuple[Chart, ...]:
    if cache.task == REGRESSION and cache.targets is not None:
        return tuple(_histogram(cache, number) for number in range(min(len(cache.classes), 8)))
    names = [name for name in next(iter(counts.values()), {}) if name]
    if not names:
        return ()
    total = [sum(own[name] for own in counts.values()) for name in names]
    shown = list(range(len(names)))
    if len(names) > BARS:
        order = np.argsort(total, kind="stable")
        shown = sorted([*order[: BARS // 2].tolist(), *order[-BARS // 2 :].tolist()])
    taken = [names[number] for number in shown]
    what = "photos with the answer yes" if cache.task == MULTILABEL else "photos"
    note = f"How many of the {len(cache.rows_of()):,} readable photos are of each class, in each split."
    if len(names) > BARS:
        note += f" Of {len(names)} classes, the {BARS // 2} largest and the {BARS // 2} smallest; the table has all."
    series = tuple(
        Series(
            _named(split),
            [own[name] for name in taken],
            list(range(len(taken))),
            mark="bars",
            texts=[f"{name}, {_named(split)}: {own[name]:,} {what}" for name in taken],
        )
        for split, own in counts.items()
    )
    return (
        Chart(
            name="data-counts",
            title="Photos of each class",
            x=Axis(what, low=0),
            y=Axis("class", scale="categories", categories=tuple(taken)),
            series=series,
            note=note,
            wide=len(taken) > NARROW,
        ),
    )


def _histogram(cache: "FeatureCache", number: int) -> Chart:
    """Draw how the numbers to be learnt are spread, in each split."""
    assert cache.targets is not None
    name, values = cache.classes[number], cache.targets[:, number]
    edges = np.histogram_bin_edges(values[cache.rows_of()], bins=BINS)
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()
    found = {split: np.histogram(values[cache.rows_of(split)], edges)[0].tolist() for split in cache.splits}
    return Chart(
        name=f"data-numbers-{number + 1}",
        title=f"Values of {name}",
        x=Axis(name),
        y=Axis("photos", low=0),
        series=tuple(
            Series(_named(split), middles, own, texts=_ranges(edges, own)) for split, own in found.items()
        ),
        note=f"How many of the {len(cache.rows_of()):,} readable photos have a {name} in each of {BINS} equal ranges.",
    )


def _ranges(edges: np.ndarray, counts: Sequence[int]) -> list[str]:
    return [
        f"{low:.4g} to {high:.4g}: {count}"
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]


# Pictures -----------------------------------------------------------------------------------------------------


def _samples(material: Material, cache: "FeatureCache") -> list[dict[str, Any]]:
    """Return some pictures of each class, drawn at random by the seed; none without pictures."""
    if material.dataset is None:
        return []
    rows = cache.rows_of()
    random = np.random.default_rng(material.seed)
    if cache.task == MULTICLASS:
        groups = [(name, rows[cache.labels[rows] == label]) for label, name in enumerate(cache.classes)]
    elif cache.task == MULTILABEL and cache.targets is not None:
        groups = [(name, rows[cache.targets[rows, label] > 0]) for label, name in enumerate(cache.classes)]
    else:
        groups = [("photos", rows)]
    each = max(1, min(SAMPLES, SAMPLED // max(1, len(groups))))
    found = []
    for name, members in groups[:SAMPLED]:
        drawn = random.permutation(members)[: each * (1 if len(groups) > 1 else 4)].tolist()
        photos = [_photo(material, cache, row, _split_of(cache, row)) for row in drawn]
        found.append({"name": name, "count": len(members), "photos": photos})
    return found


def _photo(material: Material, cache: "FeatureCache", row: int, caption: str) -> dict[str, Any]:
    name = cache.ids[row]
    told = "" if name.startswith(f"{caption}/") else caption
    return {"thumbnail": material.sprites.of(name), "name": name, "caption": told}


def _split_of(cache: "FeatureCache", row: int) -> str:
    return _named(cache.splits[cache.split_numbers[row]])


def _shown_copies(cache: "FeatureCache", rows: Sequence[int]) -> tuple[str, str]:
    """Return what copies are, and their files, splits and labels."""
    what = ["leak" if _leaks(cache, rows) else "copy"]
    if _contradict(cache, rows):
        what.append("contradictory labels")
    files = [f"{cache.ids[row]} ({_split_of(cache, row)}, {_label(cache, row)})" for row in rows]
    more = f", and {len(files) - 5} more" if len(files) > 5 else ""
    return ", ".join(what), " = ".join(files[:5]) + more


def _label(cache: "FeatureCache", row: int) -> str:
    if cache.task == MULTICLASS:
        return cache.classes[cache.labels[row]]
    return ", ".join(f"{value:g}" for value in np.atleast_1d(cache.known[row]))
