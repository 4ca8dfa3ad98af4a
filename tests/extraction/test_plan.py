"""What is copied and what is computed: a pure decision."""

import hashlib
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.cache import LayerSpec
from featcache.core.columns.digest_array import digest_array
from featcache.core.identity import Recipe
from featcache.datasets.dataset import UNSPLIT, Dataset, Record
from featcache.errors import IdentityError
from featcache.extraction.planning.plan import ReusableRows, build_plan, refuse_difference, serves
from featcache.extraction.planning.row_table import UNREADABLE, SplitRule, build_rows

RECIPE = Recipe("vgg16", 1, {}, "ab" * 32, {"crop_pct": 0.875})


def key(name) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def source(names, usable=None) -> ReusableRows:
    table = np.frombuffer(b"".join(map(key, names)), np.uint8).reshape(-1, 32)
    return ReusableRows(table, np.ones(len(names), bool) if usable is None else np.array(usable, bool))


def nothing_done(count):
    return np.zeros(count, bool)


def test_without_sources_everything_is_computed_once():
    plan = build_plan([key(n) for n in "abca"], nothing_done(4), [])
    assert tuple(plan.compute) == (0, 1, 2)
    assert plan.copies == {0: (3,)}
    assert plan.duplicates == 1
    assert plan.reuse == {}


def test_known_images_are_copied_whatever_they_are_called_now():
    plan = build_plan([key(n) for n in "xbax"], nothing_done(4), [source("abc")])
    assert plan.reuse == {1: (0, 1), 2: (0, 0)}
    assert tuple(plan.compute) == (0,)
    assert plan.copies == {0: (3,)}


def test_the_first_source_is_preferred_and_absent_rows_do_not_count():
    plan = build_plan(
        [key(n) for n in "abc"],
        nothing_done(3),
        [source("ab", [False, True]), source("cba", [False, True, True])],
    )
    assert plan.reuse == {0: (1, 2), 1: (0, 1)}
    assert tuple(plan.compute) == (2,)


def test_rows_already_done_are_left_alone():
    plan = build_plan([key(n) for n in "abab"], np.array([True, False, False, False]), [])
    assert tuple(plan.compute) == (1, 2)
    assert plan.copies == {1: (3,)}


def test_unreadable_files_are_not_duplicates_of_each_other_nor_known():
    plan = build_plan(
        [UNREADABLE, UNREADABLE],
        nothing_done(2),
        [ReusableRows(np.zeros((1, 32), np.uint8), np.ones(1, bool))],
    )
    assert tuple(plan.compute) == (0, 1)
    assert not plan.reuse
    assert plan.copies == {}


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12).flatmap(
        lambda names: st.tuples(
            st.just(names),
            st.lists(st.booleans(), min_size=len(names), max_size=len(names)),
            st.lists(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=5), max_size=3),
        )
    )
)
def test_every_row_gets_its_features_from_exactly_one_place(case):
    names, done, caches = case
    sources = [source([n for n, _ in c], [u for _, u in c]) for c in caches if c]
    hashes = [key(name) for name in names]
    plan = build_plan(hashes, np.array(done), sources)
    copied = [row for rows in plan.copies.values() for row in rows]
    places = [*np.flatnonzero(done), *plan.reuse, *plan.compute, *copied]
    assert sorted(places) == list(range(len(names)))
    for row, (position, there) in plan.reuse.items():
        assert sources[position].sha256[there].tobytes() == hashes[row]
        assert sources[position].usable[there]
    for row, rows in plan.copies.items():
        assert row in plan.compute
        assert all(names[copy] == names[row] for copy in rows)
    known = {n for c in caches for n, usable in c if usable}
    assert not {names[row] for row in plan.compute} & known
    assert len({names[row] for row in plan.compute}) == len(plan.compute)


# Rows -------------------------------------------------------------------------------------------------------


def dataset(splits) -> Dataset:
    records = [
        Record(f"{i}.jpg", i % 2, split, lambda: b"", size=10 + i, mtime_ns=100 + i)
        for i, split in enumerate(splits)
    ]
    return Dataset("photos", "photos", ("cat", "dog"), records)


def test_given_splits_are_kept_in_the_usual_order_then_by_name():
    data = dataset(["test", "unlabelled", "train", "extra", "val", "train"])
    rows, splits, rule = build_rows(data, [key(i) for i in range(6)], SplitRule())
    assert splits == ("train", "val", "test", "extra", "unlabelled")
    assert [splits[i] for i in rows.splits] == [record.split for record in data.records]
    assert rule is None
    assert rows.ids == tuple(f"{i}.jpg" for i in range(6))
    assert rows.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert rows.sizes.tolist() == [10, 11, 12, 13, 14, 15]
    assert rows.mtimes_ns[0] == 100
    assert rows.sha256[5].tobytes() == key(5)


def test_splits_are_drawn_where_there_are_none():
    rows, splits, rule = build_rows(dataset([UNSPLIT] * 20), [key(i) for i in range(20)], SplitRule(0.3, 5))
    assert splits == ("train", "test")
    assert [int((rows.splits[rows.labels == label] == 1).sum()) for label in (0, 1)] == [3, 3]
    assert rule == {"rule": "stratified by content", "test_fraction": 0.3, "seed": 5}


def test_groups_are_drawn_as_a_whole_and_the_rule_says_so():
    data = dataset([UNSPLIT] * 20)
    data = replace(data, records=[replace(r, group=f"g{i // 4}") for i, r in enumerate(data.records)])
    rows, splits, rule = build_rows(data, [key(i) for i in range(20)], SplitRule(0.2, 5))
    assert splits == ("train", "test")
    assert len({tuple(four) for four in rows.splits.reshape(5, 4).tolist()} - {(0,) * 4, (1,) * 4}) == 0
    assert int((rows.splits == 1).sum()) == 4  # one group of the five is the share of 20 rows
    assert rule == {"rule": "stratified by group", "test_fraction": 0.2, "seed": 5}


def test_unreadable_files_are_no_group():
    """Ten of them, all with one and the same stand-in for a hash, would fill the test share together."""
    data = dataset([UNSPLIT] * 20)
    records = [replace(r, group="g" if i < 2 else "") for i, r in enumerate(data.records)]
    hashes = [key(i) if i < 10 else UNREADABLE for i in range(20)]
    for seed in range(5):
        rows, *_ = build_rows(replace(data, records=records), hashes, SplitRule(0.5, seed))
        assert 0 < int((rows.splits[10:] == 1).sum()) < 10


# Refusals ---------------------------------------------------------------------------------------------------


def identity(recipe, layers):
    specs = {name: LayerSpec((4,), "float32", recipe.fingerprint(name)) for name in layers}
    return {
        "recipe": recipe.to_json(),
        "layers": [{"name": n, **s.to_json()} for n, s in specs.items()],
    }, specs


def test_a_cache_with_more_layers_serves(tmp_path):
    held, _ = identity(RECIPE, ["mixed7", "pool"])
    _, asked = identity(RECIPE, ["pool"])
    assert serves(held, RECIPE.to_json(), asked)
    refuse_difference(tmp_path, held, RECIPE.to_json(), asked)


def test_a_refusal_lists_the_differences(tmp_path):
    held, _ = identity(RECIPE, ["pool"])
    other = Recipe("vgg16", 1, {}, "cd" * 32, {"crop_pct": 1.0})
    _, asked = identity(other, ["pool", "block5_pool"])
    with pytest.raises(IdentityError) as refusal:
        refuse_difference(tmp_path / "a.h5", held, other.to_json(), asked)
    assert str(refusal.value) == (
        f"{tmp_path}/a.h5 holds other features than asked for:\n"
        "  backbone.weights_sha256: abababababab… in the cache, cdcdcdcdcdcd… asked for\n"
        "  transforms.crop_pct: 0.875 in the cache, 1.0 asked for\n"
        "  layers: pool in the cache, pool, block5_pool asked for\n"
        "write to another file with --output, or replace it with --overwrite"
    )


# Without an object of each row ------------------------------------------------------------------------------


def plan_by_dictionaries(hashes, done, sources):
    """What `build_plan` decides, by one dictionary of all hashes."""
    known = {}
    for position, own in reversed(list(enumerate(sources))):
        for row in np.flatnonzero(own.usable):
            known[own.sha256[row].tobytes()] = (position, int(row))
    reuse, first, copies = {}, {}, {}
    for row in np.flatnonzero(~done).tolist():
        if hashes[row] == UNREADABLE:
            first[row] = row
        elif hashes[row] in known:
            reuse[row] = known[hashes[row]]
        elif hashes[row] in first:
            copies[first[hashes[row]]] = (*copies.get(first[hashes[row]], ()), row)
        else:
            first[hashes[row]] = row
    return reuse, tuple(first.values()), copies


HASH = st.sampled_from([UNREADABLE, *map(key, range(6)), b"\1" + bytes(31)])
ROWS = st.lists(st.tuples(HASH, st.booleans()), min_size=1, max_size=14)


@given(ROWS, st.lists(ROWS, max_size=3))
def test_a_plan_is_the_one_that_dictionaries_give(rows, caches):
    hashes, done = [digest for digest, _ in rows], np.array([flag for _, flag in rows])
    sources = [
        ReusableRows(digest_array([d for d, _ in cache]), np.array([usable for _, usable in cache]))
        for cache in caches
    ]
    plan = build_plan(digest_array(hashes), done, sources)
    assert (dict(plan.reuse), tuple(plan.compute), dict(plan.copies)) == plan_by_dictionaries(
        hashes, done, sources
    )
    assert sum(plan.reuse.counts().values()) == len(plan.reuse)
    assert all((row in plan.reuse) == (row in dict(plan.reuse)) for row in range(len(rows)))


def peak_of_planning(count: int) -> int:
    """Bytes at the worst while rows are identified and planned, beyond the records."""
    records = [Record(f"{i:08}.jpg", i % 2, UNSPLIT, lambda: b"", size=i) for i in range(count)]
    data = Dataset("photos", "photos", ("cat", "dog"), records)
    digests = np.random.default_rng(0).integers(0, 256, (count, 32), np.uint8)
    digests[1::1000] = digests[::1000]  # copies, of which some have another label
    tracemalloc.start()
    try:
        rows, *_ = build_rows(data, digests, SplitRule())
        plan = build_plan(
            digests, nothing_done(count), [ReusableRows(rows.sha256[::2], nothing_done(count)[::2])]
        )
        assert len(plan.compute) + plan.duplicates == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_row_more_costs_its_bytes_and_not_objects():
    """Its columns have about 100 bytes; a dictionary entry with a hash of its own alone has 170."""
    small, large = peak_of_planning(10_000), peak_of_planning(20_000)
    assert (large - small) / 10_000 < 250
