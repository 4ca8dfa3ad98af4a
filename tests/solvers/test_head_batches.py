"""Many heads are divided into runs of one size: each head once, as many as fit, together only what may be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.solvers.head_batches import FULL_PRODUCT, LEAST_PRODUCT, LEAST_SHARING, Runs, divide, same_rows


def weights(rows: list[int]) -> np.ndarray:
    """Row weights of K heads, of which those with the same number have the same."""
    return np.eye(max(rows, default=0) + 1, dtype=np.float32)[rows]


def counted(runs: Runs) -> list[list[int]]:
    """Heads of each run, without those that only fill it up."""
    return [list(run[:count]) for run, count in zip(runs.numbers, runs.counts, strict=True)]


HEADS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=60)


@given(HEADS, st.integers(1, 40), st.sampled_from([1, 3, 5, 64, 400]), st.integers(1, 8))
def test_every_head_is_in_one_run_with_heads_that_it_may_be_with(heads, most, columns, cores):
    rows, seeds = [list(own) for own in zip(*heads, strict=True)]
    runs = divide(weights(rows), most=most, columns=columns, cores=cores, seeds=seeds)
    assert sorted(head for run in counted(runs) for head in run) == list(range(len(heads)))
    # One program serves all runs: they are of one size, the short ones filled up with a head of their own.
    assert len({len(run) for run in runs.numbers}) == 1
    for full, own in zip(runs.numbers, counted(runs), strict=True):
        assert own, "a run without heads"
        assert set(full) == set(own)
        assert len(full) <= most
        assert len({seeds[head] for head in full}) == 1, "the order of the rows is the seed's"
        assert own == sorted(own)
        if runs.shared:
            assert len({rows[head] for head in full}) == 1


@given(HEADS, st.integers(1, 40), st.integers(1, 8))
def test_rows_are_shared_where_all_heads_have_them_or_enough_do(heads, most, cores):
    rows, seeds = [list(own) for own in zip(*heads, strict=True)]
    sizes = [heads.count(own) for own in set(heads)]
    alone = len(sizes) == len(set(seeds))
    runs = divide(weights(rows), most=most, columns=5, cores=cores, seeds=seeds)
    assert runs.shared == (alone or min(sizes) >= LEAST_SHARING)


def test_heads_without_seeds_have_one_order():
    runs = divide(weights([0, 1, 2]), most=9, columns=5, cores=1)
    assert counted(runs) == [[0, 1, 2]]
    assert not runs.shared


def test_a_run_is_no_wider_than_a_product_gains_from():
    # Heads of 5 columns: FULL_PRODUCT of them fill a product, though all would fit in memory.
    runs = divide(weights([0] * 256), most=1000, columns=5, cores=2)
    assert [len(run) for run in counted(runs)] == [FULL_PRODUCT // 5] * 4
    # A device takes all it gets.
    assert len(divide(weights([0] * 256), most=1000, columns=5, cores=1).counts) == 1


@pytest.mark.parametrize(("heads", "runs"), [(LEAST_PRODUCT // 4, 1), (LEAST_PRODUCT // 2, 4)])
def test_each_core_gets_a_part_where_that_is_worth_while(heads, runs):
    # Of 8 columns, for 4 cores: LEAST_PRODUCT columns for each core at least.
    assert len(divide(weights([0] * heads), most=1000, columns=8, cores=4).counts) == runs


def test_heads_that_do_not_fit_go_one_by_one():
    runs = divide(weights([0, 1, 0]), most=1, columns=5, cores=4)
    assert counted(runs) == [[0], [1], [2]]


def test_heads_are_spread_evenly_over_no_more_runs_than_needed():
    runs = divide(weights([0] * 65), most=64, columns=5, cores=1)
    assert [len(run) for run in counted(runs)] == [33, 32]
    assert runs.numbers[1][-2:] == [64, 64], "filled up with its last head"


def test_groups_of_the_same_rows_are_a_partition_in_the_order_of_their_first_head():
    groups = same_rows(weights([2, 0, 2, 1, 0]))
    assert [group.tolist() for group in groups] == [[0, 2], [1, 4], [3]]
