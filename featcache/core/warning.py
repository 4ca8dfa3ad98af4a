"""Warn Python users of what may be wrong, as if their own line had said it."""

import sys
import warnings
from collections.abc import Iterable

from featcache.errors import FeatcacheWarning


def warn(message: str) -> None:
    """Issue a `FeatcacheWarning` that points at the line outside of featcache that called it.

    Python shows the same text of the same line once; the commands print each as one line of their own.
    """
    warnings.warn(message, FeatcacheWarning, stacklevel=_frames_of_ours())


def warn_all(messages: Iterable[str]) -> None:
    """Issue each message once, in their order."""
    for message in dict.fromkeys(messages):
        warn(message)


def _frames_of_ours() -> int:
    """Return the ``stacklevel`` by which the function that calls this one names the first line of others."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "featcache":
        frame, level = frame.f_back, level + 1
    return level
