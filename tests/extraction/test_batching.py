"""Both schedules against a plain loop: same rows, same features, whatever the sizes and whatever fails."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.core.parallel import default_workers, ordered_map
from featcache.errors import FeatcacheError, ImageError
from featcache.extraction.batching import micro_batches, run_pipelined

SCHEDULES = (micro_batches, run_pipelined)


def prepare(row: int) -> np.ndarray:
    """An "image" that says which row it is; every fifth from the third cannot be decoded."""
    if row % 5 == 3:
        raise ImageError("damaged", f"row {row}")
    return np.full((2, 2, 3), row, np.uint8)


def features(images: np.ndarray) -> dict[str, np.ndarray]:
    """Integers in floats, so that every schedule has to give exactly the same."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return {"pool": flat * 3 + 1, "top": flat[:, :1] * 2}


def plain_loop(rows) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    good, bad = {}, {}
    for row in rows:
        try:
            good[row] = features(prepare(row)[None])["pool"][0]
        except ImageError as error:
            bad[row] = str(error)
    return good, bad


def collected(chunks) -> tuple[list[int], dict[int, np.ndarray], dict[int, str]]:
    order, good, bad = [], {}, {}
    for chunk in chunks:
        order += sorted([*chunk.rows.tolist(), *(row for row, _ in chunk.failures)])
        for position, row in enumerate(chunk.rows.tolist()):
            good[row] = chunk.features["pool"][position]
            np.testing.assert_array_equal(chunk.features["top"][position], good[row][:1] * 0 + 2 * row)
        bad |= {row: str(error) for row, error in chunk.failures}
    return order, good, bad


@pytest.mark.parametrize("schedule", SCHEDULES)
@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(0, 255), unique=True, max_size=40).map(sorted),
    batch_size=st.integers(1, 9),
    workers=st.integers(1, 4),
)
def test_every_row_gets_what_a_plain_loop_gives_it(schedule, rows, batch_size, workers):
    want, failed = plain_loop(rows)
    chunks = schedule(rows, prepare, features, batch_size=batch_size, workers=workers)
    order, good, bad = collected(chunks)
    assert order == rows, "chunks come in the order of the rows, each row once"
    assert good.keys() == want.keys()
    assert all(np.array_equal(good[row], want[row]) for row in want)
    assert bad == failed


def test_an_accelerator_sees_one_shape_only():
    shapes, lock = set(), threading.Lock()

    def compute(images):
        with lock:
            shapes.add(images.shape)
        return features(images)

    # 23 rows, 4 of which fail, in batches of 4: the last batch and those with failures are padded.
    assert sum(len(c.rows) for c in run_pipelined(range(23), prepare, compute, batch_size=4, workers=3)) == 19
    assert shapes == {(4, 2, 2, 3)}


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 100), batch_size=st.integers(1, 5), workers=st.integers(1, 4))
def test_the_last_chunks_are_shared_evenly(count, batch_size, workers):
    sizes = [
        len(each.rows)
        for each in micro_batches(
            range(count),
            lambda row: np.zeros((1, 1, 3), np.uint8),
            features,
            batch_size=batch_size,
            workers=workers,
        )
    ]
    assert sum(sizes) == count
    left = count
    for size in sizes:
        assert size <= max(16, batch_size), "no more than a worker takes at once"
        assert size <= -(-left // (workers * batch_size)) * batch_size, (
            "no more than its share of what is left"
        )
        assert size % batch_size == 0 or size == left, (
            "whole micro-batches, so that none is padded but the last"
        )
        left -= size


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_batches_in_which_nothing_can_be_decoded_never_reach_the_network(schedule):
    def compute(images):
        raise AssertionError("called without images")

    rows = [3, 8, 13, 18, 23]
    chunks = list(schedule(rows, prepare, compute, batch_size=2, workers=2))
    assert [row for chunk in chunks for row, _ in chunk.failures] == rows
    assert all(not len(chunk.rows) and not chunk.features for chunk in chunks)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("where", ["prepare", "compute"])
def test_an_error_that_is_no_bad_image_ends_the_run(schedule, where):
    def broken_prepare(row):
        if row == 7:
            raise KeyError("bug in prepare")
        return prepare(row)

    def broken_compute(images):
        if images.max() >= 7:
            raise RuntimeError("bug in compute")
        return features(images)

    chunks = (
        schedule(range(30), broken_prepare, features, batch_size=2, workers=2)
        if where == "prepare"
        else schedule(range(30), prepare, broken_compute, batch_size=2, workers=2)
    )
    with pytest.raises((KeyError, RuntimeError), match=f"bug in {where}"):
        list(chunks)


# Memory -----------------------------------------------------------------------------------------------------


class Counted:
    """Items between being handed out by the source and being taken by the consumer."""

    def __init__(self) -> None:
        self.live = self.most = 0
        self.lock = threading.Lock()

    def made(self) -> None:
        with self.lock:
            self.live += 1
            self.most = max(self.most, self.live)

    def taken(self, count: int = 1) -> None:
        with self.lock:
            self.live -= count


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (2, 5), (8, 3)])
def test_at_most_ahead_results_wait(workers, ahead):
    counted = Counted()

    def items() -> Iterator[int]:
        for number in range(200):
            counted.made()
            yield number

    for want, value in enumerate(ordered_map(lambda x: x * x, items(), workers=workers, ahead=ahead)):
        assert value == want**2
        counted.taken()
    assert counted.live == 0
    assert counted.most <= ahead


@pytest.mark.parametrize(
    ("schedule", "bound"),
    [
        # 3 chunks wait for each of 2 workers, each of 3, 6 or 12 images: not of 24, more than a worker takes at once.
        (micro_batches, 3 * 2 * 12),
        # Two batches are decoded ahead; two fly while the third is collected.
        (run_pipelined, 2 * 3 + 3 * 3),
    ],
)
def test_images_in_memory_do_not_grow_with_the_dataset(schedule, bound):
    counted = Counted()

    def counting(row):
        counted.made()
        return np.zeros((1, 1, 3), np.uint8)

    for chunk in schedule(range(500), counting, features, batch_size=3, workers=2):
        counted.taken(len(chunk.rows))
    assert counted.live == 0
    assert counted.most <= bound


def test_a_consumer_that_stops_leaves_no_thread_behind():
    before = threading.active_count()
    mapped = ordered_map(lambda x: x, range(1000), workers=4, ahead=8)
    assert [next(mapped), next(mapped)] == [0, 1]
    mapped.close()
    assert threading.active_count() == before


def test_an_error_ends_the_handing_out_of_items():
    started = []

    def work(number):
        started.append(number)
        if number == 1:
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        list(ordered_map(work, range(1000), workers=1, ahead=50))
    assert len(started) <= 50 + 1, "50 ahead, and the one whose result had been taken"


# Out of memory ----------------------------------------------------------------------------------------------


class SmallDevice:
    """Has no memory for more than `room` images; says so at once, or only when the result is fetched."""

    def __init__(self, room: int, *, late: bool) -> None:
        self.room, self.late = room, late
        self.widths: list[int] = []

    def __call__(self, images):
        self.widths.append(len(images))
        if len(images) <= self.room:
            return features(images)
        if self.late:
            return {"pool": Pending(), "top": Pending()}
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3 GiB")


class Pending:
    """A device array whose computation failed: jax raises when it is read."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3 GiB")


@pytest.mark.parametrize("late", [False, True], ids=["refused at once", "refused when fetched"])
@pytest.mark.parametrize("room", [1, 2, 3, 5, 8])
def test_batches_that_do_not_fit_are_halved_and_the_results_stay(room, late):
    device = SmallDevice(room, late=late)
    want, failed = plain_loop(range(60))
    order, good, bad = collected(run_pipelined(range(60), prepare, device, batch_size=8, workers=2))
    assert order == list(range(60))
    assert all(np.array_equal(good[row], want[row]) for row in want)
    assert bad == failed
    fits = max(width for width in (1, 2, 4, 8) if width <= room)
    assert min(device.widths) == fits, "no smaller than needed, though three batches were in flight"
    refused = sum(width > room for width in device.widths)
    assert refused <= 3 + len({w for w in device.widths if w > room}), (
        "later batches start at the size that fits"
    )


def test_no_memory_for_a_single_image_is_an_error():
    with pytest.raises(FeatcacheError, match="no memory for a single image"):
        list(run_pipelined(range(9), prepare, SmallDevice(0, late=False), batch_size=4, workers=1))


def test_there_is_at_least_one_worker():
    assert default_workers() >= 1
