"""Handle Ctrl-C and SIGTERM: the first signal stops at the next safe point, the second at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stop_gently() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a signal requested a stop.

    A second signal raises `KeyboardInterrupt` at once, which loses at most the rows not yet written. Outside
    the main thread signals cannot be caught, and the function always returns ``False``.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if asked:
            raise KeyboardInterrupt
        asked = True

    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    except ValueError:  # not in the main thread
        pass
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
