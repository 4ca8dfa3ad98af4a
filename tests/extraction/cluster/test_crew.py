"""Who is given which rows, what becomes of those of a dead worker, and what is said of rows that kill."""

import itertools

import pytest
from helpers.fake_workers import Death, FakeWorkers

from featcache.errors import DataError, FeatcacheError
from featcache.extraction.cluster.blocks import cut, most_rows
from featcache.extraction.cluster.crew import Crew, HopelessRowsError, Step


def doubled(method, rows):
    return [2 * row for row in rows]


def results(crew, blocks, found=None, **options):
    """Row to value, of a crew that has no steps to take; also in `found`, where given."""
    found = {} if found is None else found
    for done in crew.map("compute", blocks, list, **options):
        if done is not None:
            assert not found.keys() & set(done.rows), "a row came twice"
            found.update(zip(done.rows, done.value, strict=True))
    return found


def crew_of(workers):
    return Crew(workers, lambda: None)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("seed", range(5))
def test_every_row_comes_once_whatever_the_number_of_workers(count, seed):
    workers = FakeWorkers(count, doubled, seed=seed)
    blocks = list(cut(range(100), batch=2, places=count, most=8))
    assert results(crew_of(workers), blocks) == {row: 2 * row for row in range(100)}


def test_no_worker_has_more_on_the_way_than_it_takes_and_blocks_are_taken_when_needed():
    taken = []

    def blocks():
        for first in range(50):
            taken.append(first)
            yield [first]

    workers = FakeWorkers(2, doubled, in_flight=3)
    crew = crew_of(workers)
    stream = crew.map("compute", blocks(), list)
    next(stream)
    assert workers.most <= 3
    assert len(taken) <= 2 * 3 + 2, "no more than are on the way, one that was done, and the one that is next"
    assert len([*stream]) == 49
    assert workers.most == 3


def test_the_first_blocks_go_to_different_workers():
    workers = FakeWorkers(3, doubled, in_flight=2)
    next(crew_of(workers).map("compute", [[row] for row in range(9)], list))
    assert [worker for worker, *_ in workers.sent[:6]] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("seed", range(20))
def test_rows_of_workers_that_die_are_computed_by_others(seed):
    left = itertools.count()

    def dies_at_times(method, rows):
        if method == "compute" and next(left) % 5 == 4:
            raise Death("killed")
        return doubled(method, rows)

    workers = FakeWorkers(3, dies_at_times, seed=seed)
    crew = crew_of(workers)
    assert results(crew, [[row, row + 1] for row in range(0, 60, 2)]) == {row: 2 * row for row in range(60)}
    assert crew.deaths >= 5
    assert sum(workers.lives) == 3 + crew.deaths, "each of them was replaced"


def test_a_new_worker_takes_all_steps_before_it_is_given_rows():
    died = []

    def work(method, argument):
        if method == "compute" and 4 in argument and not died:
            died.append(argument)
            raise Death("killed")
        return doubled(method, argument) if method == "compute" else method

    workers = FakeWorkers(1, work, in_flight=1)
    crew = crew_of(workers)
    checked = []
    crew.climb(Step("start", "order", lambda worker, value: checked.append((worker, value))))
    crew.climb(Step("probe", "wanted", lambda worker, value: checked.append((worker, value))))
    results(crew, [[row] for row in range(6)])
    methods = [method for _, method, _ in workers.sent]
    assert methods == ["start", "probe", *["compute"] * 5, "start", "probe", *["compute"] * 2]
    assert checked == [(0, "start"), (0, "probe")] * 2


def test_a_step_waits_for_the_first_worker_alone():
    beats = []

    class Late(FakeWorkers):
        def answers(self, timeout):
            if len(beats) < 3:
                return []
            self.calls[1].clear()  # the second one never answers
            return super().answers(timeout)

    workers = Late(2, lambda method, argument: method)
    crew = Crew(workers, lambda: beats.append(1))
    crew.climb(Step("start", None, lambda worker, value: None))
    assert len(beats) >= 3


def test_a_worker_that_is_refused_ends_the_work():
    def refuse(worker, value):
        raise DataError(f"{workers.name(worker)} sees other images")

    workers = FakeWorkers(2, lambda method, argument: method)
    with pytest.raises(DataError, match=r"actor . on node-. sees other images"):
        crew_of(workers).climb(Step("start", None, refuse))


def test_what_a_worker_raises_ends_the_work():
    def work(method, rows):
        if 7 in rows:
            raise FeatcacheError("the device has no memory for a single image")
        return doubled(method, rows)

    with pytest.raises(FeatcacheError, match="no memory for a single image"):
        results(crew_of(FakeWorkers(2, work)), [[row] for row in range(20)])


def test_workers_that_only_die_end_the_work_with_a_count_and_the_last_reason():
    def work(method, rows):
        raise Death("the node ran out of memory")

    workers = FakeWorkers(2, work)
    with pytest.raises(
        FeatcacheError,
        match=r"7 actors died one after another and none finished a row between them; the last, actor . on node-.: the "
        r"node ran out of memory\. Rows that are finished are kept: .*run the same command again",
    ):
        crew_of(workers).climb(Step("start", None, lambda worker, value: None))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [1, 3])
def test_the_batch_that_kills_is_found_and_named_and_all_others_are_computed(count, seed):
    def work(method, rows):
        if 37 in rows:
            raise Death("signal 11")
        return doubled(method, rows)

    workers = FakeWorkers(count, work, seed=seed)
    found = {}
    blocks = cut(range(64), batch=2, places=2, most=16)
    with pytest.raises(HopelessRowsError, match="signal 11") as caught:
        results(crew_of(workers), blocks, found, smallest=2)
    assert caught.value.rows == [36, 37]
    assert found == {row: 2 * row for row in range(64) if row not in (36, 37)}
    assert sum(workers.lives) - count <= 12, "halving finds it in few deaths"


def test_two_rows_that_kill_are_both_named():
    def work(method, rows):
        if {5, 20} & set(rows):
            raise Death("signal 9")
        return doubled(method, rows)

    with pytest.raises(HopelessRowsError) as caught:
        results(crew_of(FakeWorkers(2, work, seed=3)), [range(0, 16), range(16, 32)])
    assert sorted(caught.value.rows) == [5, 20]


def test_a_suspected_block_is_computed_alone():
    company = []

    def work(method, rows):
        if 3 in rows:
            company.append([argument for calls in workers.calls for _, _, argument in calls])
            raise Death("killed")
        return doubled(method, rows)

    workers = FakeWorkers(1, work, in_flight=3)
    with pytest.raises(HopelessRowsError):
        results(crew_of(workers), [[row] for row in range(12)])
    assert company[-2:] == [[], []], "nothing else was on the way there"


# Blocks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 2, 31, 32, 33, 1000])
@pytest.mark.parametrize("batch", [1, 2, 3, 16])
@pytest.mark.parametrize("places", [1, 2, 5, 64])
def test_blocks_are_the_rows_in_order_and_begin_where_a_batch_begins(rows, batch, places):
    blocks = [list(block) for block in cut(range(rows), batch=batch, places=places, most=8 * batch)]
    assert list(itertools.chain(*blocks)) == list(range(rows))
    assert all(block[0] % batch == 0 and 0 < len(block) <= 8 * batch for block in blocks)
    assert all(len(block) % batch == 0 for block in blocks[:-1])


def test_blocks_shrink_towards_the_end():
    sizes = [len(block) for block in cut(range(1000), batch=2, places=4, most=32)]
    assert sizes[0] == 32
    assert sizes[-1] == 2
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("batch", "row_bytes", "large", "expected"),
    [
        (2, 5_000, False, 32),
        (1, 5_000, False, 32),
        (3, 5_000, False, 30),
        (48, 5_000, False, 48),
        (256, 5_000, True, 1024),
        (2, 4_000_000, False, 4),
        (2, 100_000_000, False, 2),
    ],
)
def test_the_largest_block_is_whole_batches_of_few_bytes(batch, row_bytes, large, expected):
    assert most_rows(batch, row_bytes, large_batches=large) == expected
