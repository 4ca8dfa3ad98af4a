"""Two datasets with the same names, sizes and times, and other bytes: never one's features for the other.

What is remembered of the first is offered to the second in every way there is. One image is the same in both, and it
is the one that is read as a check: a sample notices nothing. Features are the pixels, known without a network.
"""

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.agreeing_datasets import (
    COUNT,
    IN_MEMORY,
    ON_DISK,
    number_of,
    pixels,
    write,
    write_over,
)
from helpers.fake_network import FakeNetwork, features_of

import featcache
from featcache import FeatureCache
from featcache.core.environment import home
from featcache.datasets import file_state
from featcache.datasets.formats.arrays import named_or_given
from featcache.datasets.subset import open_subset
from featcache.errors import IdentityError
from featcache.extraction.planning import content_hashes

PLACES = ("elsewhere", "swapped", "recreated", "written over")
"""Where the second dataset is: in another folder, or in the first one's place."""

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "reuse": {"reuse": True},
    "verify": {"verify": True},
    "overwrite": {"overwrite": True},
    "reuse and overwrite": {"reuse": True, "overwrite": True},
    "views": {"views": 2},
    "slice": {"split": "all[:4]"},
    "shard": {"shard": "1/2"},
}
HOMES = ("shared", "shared with the cache", "another")
TARGETS = ("same", "another")


@dataclass(frozen=True)
class Case:
    """One way in which what is known of the first dataset meets the second."""

    source: str
    place: str
    options: str
    home: str
    target: str


def cases(sources: dict[str, Any], places: tuple[str, ...] = PLACES) -> Iterator[Case]:
    for values in itertools.product(sources, places, OPTIONS, HOMES, TARGETS):
        yield Case(*values)


EVERY = [*cases(ON_DISK), *cases(IN_MEMORY, PLACES[:1])]
QUICK = [case for case in EVERY if case.source not in ("tfds", "parquet", "arrow")]


@pytest.fixture(autouse=True)
def _trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # nothing here has to survive a power cut
    monkeypatch.setattr(file_state, "_TICK_NS", 0)  # no file is written to twice within a tick here
    monkeypatch.setattr(
        content_hashes, "_sample", lambda known, location: [row for row in SAME if known[row]]
    )


SAME: list[int] = []
"""The rows of the extraction that runs whose image is the same in both datasets."""


def extract(given: Any, target: Path, **options: Any) -> tuple[featcache.Extraction, list[Any]]:
    """Extract, and return with it the names, sizes and times of the records."""
    data = (
        named_or_given(None, given["images"], given["labels"], ids=given["ids"])
        if isinstance(given, dict)
        else given
    )
    records = open_subset(data, options.get("shard"), options.get("split"))[0].records
    SAME[:] = [row for row, record in enumerate(records) if number_of(record.id) == 0]
    done = featcache.extract(data, backbone=FakeNetwork(), output=target, workers=1, **options)
    return done, [(record.id, record.size, record.mtime_ns) for record in records]


def wait_for_a_later_time(folder: Path) -> None:
    """Return when what is written to a file gives it another time than what was written before."""
    probe = folder / "probe"
    probe.touch()
    began = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == began:
        probe.touch()


def outcome(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Extract the first dataset, then the second: ``"right"``, ``"refused"``, or what is wrong."""
    monkeypatch.setenv("FEATCACHE_HOME", str(folder / "home"))
    first, root, options = folder / "first.h5", folder / "a", dict(OPTIONS[case.options])
    given = write(case.source, root, "A")
    reuse = {"reuse": [first]} if options.pop("reuse", False) else {}
    plain = {name: value for name, value in options.items() if name in ("views", "split", "shard")}
    wait_for_a_later_time(folder)
    _, before = extract(given, first, **plain)
    wait_for_a_later_time(folder)
    given = put_in_place(case, folder, given)
    if case.home == "another":
        monkeypatch.setenv("FEATCACHE_HOME", str(folder / "another"))
    elif case.home == "shared with the cache":
        (home() / "caches").mkdir(parents=True)
        shutil.copy(first, home() / "caches")
    target = first if case.target == "same" else folder / "second.h5"
    content = first.read_bytes()
    try:
        done, after = extract(given, target, **options, **reuse)
    except IdentityError as error:
        kept = "first.h5 holds another dataset" in str(error) and first.read_bytes() == content
        return "refused" if kept else f"refused by {error}"
    if case.source == "parquet":  # their times are those of what they were converted to
        before, after = ([facts[:2] for facts in each] for each in (before, after))
    assert before == after, "the datasets do not agree"
    return verdict(done)


def put_in_place(case: Case, folder: Path, given: Any) -> Any:
    """Write the second dataset; returns how it is named."""
    root, other = folder / "a", folder / "b"
    if case.place == "recreated":
        shutil.rmtree(root)
        return write(case.source, root, "B")
    new = write(case.source, other, "B")
    if case.place == "swapped":
        root.rename(folder / "away")
        other.rename(root)
    elif case.place == "written over":
        write_over(root, other)
    return new if case.place == "elsewhere" else given


def verdict(done: featcache.Extraction) -> str:
    with FeatureCache(done.path) as cache:
        assert len(cache.rows_of()) == len(cache) >= COUNT // 2
        for row in range(len(cache)):
            number = number_of(cache.ids[row])
            values = cache.features([row], "pool")[0]
            if not np.array_equal(values, features_of(pixels("B", number)[None])[0]):
                own = np.array_equal(values, features_of(pixels("A", number)[None])[0])
                return f"{cache.ids[row]} has the features of {'the other dataset' if own else 'nothing'}"
    return "right" if done.computed else "right without computing anything"


def outcomes(chosen: list[Case], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[Case, str]:
    found = {}
    for number, case in enumerate(chosen):
        place = folder / str(number)
        place.mkdir()
        found[case] = outcome(case, place, monkeypatch)
        shutil.rmtree(place)
    return found


def wrong(found: dict[Case, str]) -> dict[Case, str]:
    return {case: how for case, how in found.items() if how != ("refused" if is_refused(case) else "right")}


def is_refused(case: Case) -> bool:
    """Return whether the second dataset would replace a cache of another folder; images in memory have no folder."""
    named = case.source not in ("paths", *IN_MEMORY)
    return named and (case.place, case.target) == ("elsewhere", "same") and "overwrite" not in case.options


def test_never_the_features_of_the_other(tmp_path, monkeypatch):
    assert wrong(outcomes(QUICK[::97], tmp_path, monkeypatch)) == {}


@pytest.mark.slow
def test_never_by_any_source(tmp_path, monkeypatch):
    """Every nineteenth combination; with $FEATCACHE_PAIRS=1 all of them."""
    found = outcomes(EVERY[:: int(os.environ.get("FEATCACHE_PAIRS", "19"))], tmp_path, monkeypatch)
    print(len(found), "combinations,", Counter(found.values()))
    assert wrong(found) == {}


@pytest.mark.parametrize("place", PLACES[1:])
def test_the_cases_would_find_what_trusts_sizes_and_times_alone(place, tmp_path, monkeypatch):
    monkeypatch.setattr("featcache.datasets.folder_files.file_state", lambda file: b"%016d" % file.st_size)
    [how] = outcomes(
        [Case("folder", place, "none", "shared with the cache", "another")], tmp_path, monkeypatch
    ).values()
    assert how == "cat/1.png has the features of the other dataset"
