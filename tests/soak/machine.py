"""Where worlds lie: a folder that is their disk, and the process that forks for every child."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.programs import environment
from helpers.recording import compiled
from helpers.warm_python import WarmPython


class Machine:
    """The folders, and the process that forks for every child; it outlives the worlds in it.

    Parameters
    ----------
    scratch
        An empty folder, in memory if there is room.
    mutant
        What is broken on purpose.
    """

    def __init__(self, scratch: Path, mutant: str = "") -> None:
        self.scratch = scratch
        self.disk = scratch / "disk"
        self.log = scratch / "calls.log"
        shims = [compiled(shim, scratch) for shim in ("recorder", "failing_calls")]
        self._environment = environment(
            LD_PRELOAD=":".join(map(str, shims)),
            WATCH_UNDER=str(self.disk),
            RECORD_TO=str(self.log),
            FEATCACHE_HOME=str(self.disk / "home"),
            FEATCACHE_OFFLINE="1",
            PYTHONHASHSEED="0",
            JAX_PLATFORMS="cpu",
        )
        self.disk.mkdir()
        self.python = WarmPython(
            f"from soak import child\nchild.warm_up({str(scratch)!r}, {mutant!r})", self._environment
        )

    def close(self) -> None:
        """End the process."""
        self.python.close()


@contextmanager
def home_of(machine: Machine) -> Iterator[None]:
    """Let this process, too, keep what it remembers on the machine's disk."""
    before = {name: os.environ.get(name) for name in ("FEATCACHE_HOME", "FEATCACHE_OFFLINE")}
    os.environ.update(FEATCACHE_HOME=str(machine.disk / "home"), FEATCACHE_OFFLINE="1")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
