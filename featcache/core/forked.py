"""Refuse to compute in a process that was forked after JAX had started.

A fork takes JAX's memory and none of its threads, so that the first computation would wait for ever.
"""

import os
import sys
import threading
from pathlib import Path

from featcache.errors import FeatcacheError

_first_use: list[
    int
] = []  # the process in which featcache first computed; a fork inherits it, a spawn does not

MESSAGE = (
    "this process was forked after JAX had started, and JAX cannot compute here: its threads did not come along. Start "
    'processes with multiprocessing.get_context("spawn"), or fork before anything is computed; a classifier can be '
    "handed to either"
)


def require_jax() -> None:
    """Refuse at once where JAX would hang; called before featcache computes.

    Raises
    ------
    FeatcacheError
        In a process that was forked after JAX had started.
    """
    if not _first_use:
        if jax_has_started() and _has_no_native_threads():
            raise FeatcacheError(MESSAGE)
        _first_use.append(os.getpid())
    elif _first_use[0] != os.getpid():
        if jax_has_started():
            raise FeatcacheError(MESSAGE)
        _first_use[0] = os.getpid()


def jax_has_started() -> bool:
    """Return whether JAX has started its devices in this process, or in the one that it was forked from."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    asked = getattr(bridge, "backends_are_initialized", None)
    return bool(asked and asked())


def _has_no_native_threads() -> bool:
    """Return whether all threads are Python's: JAX, once started, always has some of its own."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():  # not Linux, where processes are spawned by default
        return False
    ours = {thread.native_id for thread in threading.enumerate()} | {os.getpid()}
    return {int(task.name) for task in tasks.iterdir()} <= ours
