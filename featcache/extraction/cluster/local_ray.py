"""A Ray of this machine's own, in a process beside this one that ends it when this one ends, however it does.

Ray starts its parts by forking with Python code in between, which can hang where JAX's threads run; so does a process
that has none. Told the number of processors and the bytes of the object store, it prints the address and waits for the
end of its standard input.
"""

import os
import secrets
import subprocess
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any

from featcache.errors import FeatcacheError

_OWN = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
"""Environment of a Ray that is started here: nothing is reported, and actors without GPUs see none."""

_AUTH_MODE, _AUTH_TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"


class LocalRay:
    """Ray on this machine, being started.

    Parameters
    ----------
    cpus
        Processors that it may promise to actors.
    store_bytes
        Memory through which features are sent.
    """

    def __init__(self, cpus: int, store_bytes: int) -> None:
        _share_a_token()
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", __name__, str(cpus), str(store_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Actors find the modules that this program finds: what it sends may be of its own classes.
            env=_OWN | os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            start_new_session=True,  # Ctrl-C is for the driver, which ends this
        )

    def address(self) -> str:
        """Wait for Ray; returns its address.

        Raises
        ------
        FeatcacheError
            If it cannot be started, with the last that it said.
        """
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        for line in self._keeper.stdout:  # Ray itself may print, too
            if line.startswith(_READY):
                return line.removeprefix(_READY).strip()
        said = self._keeper.stderr.read().strip().splitlines() or ["it ended without a word"]
        raise FeatcacheError(f"Ray could not be started on this machine: {said[-1]}")

    def end(self) -> None:
        """Have it end Ray, which takes it a second or two: nobody waits, as nobody does when this process is killed."""
        # Closes its standard input; where this process ends sooner, that does.
        threading.Thread(target=self._keeper.communicate, name="featcache-ray-end", daemon=True).start()


def _share_a_token() -> None:
    """Let this process and a Ray that it starts know each other by a word of their own, where nobody said otherwise.

    Ray makes one up for a Ray of the same process, and reads it once; so it stays for later ones of this process.
    """
    if any(name.startswith("RAY_AUTH_") for name in os.environ):
        return
    os.environ |= {_AUTH_MODE: "token", _AUTH_TOKEN: secrets.token_hex(32)}
    if "ray" in sys.modules:
        # It has read its environment. As `ray.init` itself does where it turns tokens on; older versions have none.
        core: Any = import_module("ray._raylet")
        with suppress(AttributeError):
            core.Config.initialize("")


_READY = "featcache: Ray is at "


def _keep(cpus: int, store_bytes: int) -> None:
    import logging

    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    ray.init(
        address="local",
        num_cpus=cpus,
        object_store_memory=store_bytes,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )
    print(_READY + ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    _keep(*map(int, sys.argv[1:]))
