"""Run many cases of a strategy; where many were asked for, measure the time and the memory that they take."""

import gc
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

ASKED = os.environ.get("FEATCACHE_FUZZ_CASES")
FULL = int(ASKED or 300)
"""Cases of a slow run of each format."""

MOST_SECONDS, MOST_BYTES = 1.0, 300e6
_WARM = 50
"""Cases before which programs are still compiled and modules imported."""


@dataclass(repr=False)
class Drawn:
    """What a case is about; a report of a failure does not print all of it."""

    value: Any

    def __repr__(self) -> str:
        return "…"


def drawn_cases(value: Callable[..., Any]) -> Callable[..., st.SearchStrategy[Drawn]]:
    """`st.composite` for values of any size: hypothesis holds whatever bytes and texts its last 10,000 cases drew.

    Of an object such as `Drawn` it holds a weak reference only.
    """

    @wraps(value)
    def draw_one(draw: st.DrawFn, *args: Any) -> Drawn:
        return Drawn(value(draw, *args))

    return st.composite(draw_one)


def fuzz(name: str, strategy: st.SearchStrategy[Any], case: Callable[[Any], str], cases: int) -> None:
    """Call `case` with `cases` values of a strategy, the same in every run; it returns what came of one, in a word.

    Where the number of cases was asked for, none may take more processor time or memory than the limits.
    """
    seconds: list[float] = []
    peaks: list[int] = []
    results: dict[str, int] = {}

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy.map(lambda value: value if isinstance(value, Drawn) else Drawn(value)))
    def run(drawn: Drawn) -> None:
        gc.disable()  # a collection of all that hypothesis keeps takes longer than a case
        began = time.process_time()
        result = case(drawn.value)
        seconds.append(time.process_time() - began)
        gc.enable()
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        results[result] = results.get(result, 0) + 1

    run()
    if ASKED is None or cases != FULL:
        return
    slowest, grown = max(seconds[_WARM:]), peaks[-1] - peaks[_WARM]
    print(
        f"\n{name}: {len(seconds)} cases, {results}, at most {slowest:.2f} s; peak memory +{grown / 1e6:.0f} MB"
    )
    assert slowest < MOST_SECONDS
    assert grown < MOST_BYTES
