"""Handle Ctrl-C and SIGTERM: the first signal stops at the next safe point, the second at once."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

AFTERWARDS: Mapping[str, str] = {
    "extract": "rows already written are kept: run the same command again to continue",
    "demo": "features already computed are kept: run the same command again to continue",
    "sweep": "heads already fitted are kept: run the same command again to continue",
    "finetune": "the last checkpoint is kept: where epochs had begun, continue with --resume",
    "cache rm": "what is removed already is gone: run the same command again for the rest",
    "cache gc": "what is removed already is gone: run the same command again for the rest",
}
"""What is true of the work of a command that was interrupted at once."""


def after_interruption(command: str) -> str:
    """Return what to do about an interrupted command; `command` is empty if none had begun."""
    return AFTERWARDS.get(command, "nothing of it is kept: the same command starts from the beginning")


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
