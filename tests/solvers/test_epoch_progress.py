"""What is told of streamed training: how far it is, and the seconds of an epoch by its own blocks."""

import pytest

from featcache.solvers.epoch_progress import EpochProgress, Pace


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def paced() -> tuple[Pace, Clock, list[EpochProgress]]:
    """A training of ten steps an epoch, its clock, and what it tells."""
    clock, told = Clock(), []
    pace = Pace(heads=3, rows=80, steps=10, most=100, least=3, on_epoch=told.append, now=clock)
    return pace, clock, told


def test_the_first_block_which_waits_for_the_compiler_is_not_counted():
    pace, clock, told = paced()
    for now, steps in ((60, 4), (62, 4), (63, 2)):
        clock.time = now
        pace.block(steps)
    assert [(own.epoch, own.share, own.seconds) for own in told] == [
        (1, pytest.approx(0.4), None),
        (1, pytest.approx(0.8), pytest.approx(5.0)),
        (1, pytest.approx(1.0), pytest.approx(5.0)),
    ]
    assert (told[0].heads, told[0].rows, told[0].least, told[0].most) == (3, 80, 3, 100)


def test_a_whole_epoch_tells_the_seconds_of_the_next_validation_included():
    pace, clock, told = paced()
    pace.block(10)
    clock.time = 100
    pace.end_epoch()
    clock.time = 104
    pace.block(5)
    assert (told[-1].epoch, told[-1].share, told[-1].seconds) == (2, 0.5, pytest.approx(8.0))
    clock.time = 110
    pace.end_epoch()
    clock.time = 111
    pace.block(5)
    assert (told[-1].epoch, told[-1].seconds) == (3, 10)
