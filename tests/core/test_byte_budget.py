"""Threads that share a number of bytes."""

import threading

import pytest

from featcache.core.byte_budget import ByteBudget


def start(
    budget: ByteBudget, nbytes: int, name: str, order: list[str], leave: threading.Event
) -> threading.Thread:
    def work() -> None:
        with budget.hold(nbytes):
            order.append(name)
            assert leave.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def until(condition) -> None:
    for _ in range(10_000):
        if condition():
            return
        threading.Event().wait(0.001)
    pytest.fail("did not happen within 10 s")


def test_what_fits_is_held_together_and_given_back():
    budget = ByteBudget(100)
    with budget.hold(60), budget.hold(40):
        assert budget.held == 100
    assert budget.held == 0


def test_more_than_all_of_it_is_held_alone():
    budget = ByteBudget(100)
    with budget.hold(1000):
        assert budget.held == 1000
    with pytest.raises(ZeroDivisionError), budget.hold(5):
        _ = 1 / 0
    assert budget.held == 0


def test_who_waits_is_served_in_the_order_of_arrival():
    budget, order, leave = ByteBudget(100), [], threading.Event()
    threads = []
    with budget.hold(90):
        for number, (name, nbytes) in enumerate({"large": 100, "small": 1}.items()):
            threads.append(start(budget, nbytes, name, order, leave))
            until(lambda count=number + 1: len(budget._waiting) == count)
        assert order == []  # the small one would fit, and does not overtake
    until(lambda: order == ["large"])
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["large", "small"]
    assert budget.held == 0
