"""Actors of Ray as workers: Ray joined or started, actors created, called, replaced, and all of it cleared away."""

import contextvars
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from featcache.core.argument_types import spelled
from featcache.core.parallel import default_workers
from featcache.errors import FeatcacheError, MissingExtraError, UsageError, first_line
from featcache.extraction.cluster.crew import Answer
from featcache.extraction.cluster.local_ray import LocalRay
from featcache.extraction.cluster.settings import ClusterSettings, NodeResources, Shares, share_out
from featcache.extraction.cluster.worker import ExtractionWorker, Order

_UNKNOWN_CLASS = ("No module named", "Can't get attribute")
"""What Python says of a class that it cannot import to make an object again."""

ADDRESS = "RAY_ADDRESS"
"""Where ``ray job submit`` and pods say that their cluster is."""

_LAST_WORD = 2.0
"""Seconds that an end waits for a cluster that has not answered yet."""

STORE_BYTES = 200_000_000
"""Memory through which features are sent, of a Ray that is started here: a few blocks for each actor fit."""

PATIENCE = 60.0
"""Seconds in which a cluster that is joined has to answer: Ray itself tries for a quarter of an hour."""

IN_FLIGHT_ON_GPU = 2
"""Blocks that an actor with a GPU computes at a time: one is decoded while the other one ends."""


class RayWorkers:
    """Actors of Ray; satisfies `featcache.extraction.cluster.crew.Workers` once `wait` has returned.

    Ray is started, and actors with it, in a thread: it takes seconds in which this process loads its network.

    Parameters
    ----------
    settings
        What was asked for.
    order
        What each actor is told when it starts.
    threads
        Threads of an actor; its processors by default.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    """

    count = 0
    in_flight = 2

    def __init__(self, settings: ClusterSettings, order: Order, threads: int | None) -> None:
        if find_spec("ray") is None:
            raise MissingExtraError(
                f"{spelled('cluster')} ray needs the package ray: pip install 'featcache[ray]' (on every node)"
            )
        self._settings, self._order, self._threads = settings, order, threads
        self._shares = Shares(0, 0, 0)
        self._actors: list[Any] = []
        self._names: list[str] = []
        self._calls: dict[Any, tuple[int, int]] = {}
        self._tickets = 0
        self._error: FeatcacheError | None = None
        self._initialised = False
        self._told: Callable[..., None] | None = None
        self._sent: Any = None
        self._address = settings.address or os.environ.get(ADDRESS)
        asked = (settings.actors or 1) * (settings.cpus_per_actor or 1)
        own = self._address is None and not _is_running_here()
        self._local = LocalRay(max(default_workers(), asked), STORE_BYTES) if own else None
        self._joined, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(  # in this context, so that errors name options as the caller does
            target=contextvars.copy_context().run, args=(self._start,), name="featcache-ray", daemon=True
        )
        self._thread.start()

    def wait(self, heartbeat: Callable[[], None]) -> None:
        """Wait until there are actors; `heartbeat` is called meanwhile, and may raise."""
        begun = time.monotonic()
        while self._thread.is_alive():
            self._thread.join(0.2)
            heartbeat()
            if not (self._local or self._joined.is_set()) and time.monotonic() - begun > PATIENCE:
                raise UsageError(
                    f"{spelled('address')} {self._address}: no answer of a Ray cluster for {PATIENCE:.0f} s; "
                    "see with 'ray status' whether it still runs, start one with 'ray start --head', or leave "
                    f"{spelled('address')} out to start Ray on this machine"
                )
        if self._initialised:
            _end_quietly()
        if self._error is not None:
            raise self._error

    @property
    def version(self) -> str:
        """Ray's version."""
        import ray

        return ray.__version__

    # Starting and ending -------------------------------------------------------------------------------------

    def _start(self) -> None:
        try:
            self._connect()
            self._joined.set()
            if not self._closed.is_set():
                self._create()
            elif self._initialised:  # found only when nobody waited any more
                import ray

                ray.shutdown()
        except FeatcacheError as error:
            self._error = error
        except Exception as error:
            self._error = FeatcacheError(f"Ray could not be started: {first_line(error)}")

    def _connect(self) -> None:
        if _is_running_here():  # started by the user, whose it stays
            return
        import ray

        logging.getLogger("ray").setLevel(logging.CRITICAL)
        address = self._local.address() if self._local else self._address
        try:
            if self._local is None:
                _require_listener(str(address))
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # ConnectionError, ValueError, TimeoutError, and others by its version
            given = spelled("address") if self._settings.address or self._local else ADDRESS
            omit = f"unset {given}" if given == ADDRESS else f"leave {given} out"
            raise UsageError(
                f"{given} {address}: there is no Ray cluster ({first_line(error)}); start one with 'ray start --head', "
                f"or {omit} to start Ray on this machine"
            ) from None
        self._initialised = True
        self._told = _silence()

    def _create(self) -> None:
        import ray

        nodes = [
            NodeResources(
                node["NodeManagerHostname"],
                default_workers() if self._local else node["Resources"].get("CPU", 0),
                node["Resources"].get("GPU", 0),
            )
            for node in ray.nodes()
            if node["Alive"]
        ]
        self._shares = shares = share_out(self._settings, nodes, oversubscribe=self._local is not None)
        try:
            self._sent = ray.put(self._order)
        except Exception as error:  # whatever an object's own pickling raises
            raise UsageError(
                f"the dataset or the backbone cannot be sent to other processes ({first_line(error)}): name them "
                "instead of handing over objects (a spec such as csv:photos.csv, a backbone's name), or leave out "
                f"{spelled('cluster')}"
            ) from None
        self._blocks_at_once = IN_FLIGHT_ON_GPU if shares.gpus else (self._threads or shares.cpus)
        self.in_flight = self._blocks_at_once + 1
        self._names = [f"actor {number + 1}" for number in range(shares.actors)]
        self._actors = [self._new_actor() for _ in range(shares.actors)]
        self.count = shares.actors

    def _new_actor(self) -> Any:
        import ray

        # On a processor each block has one thread, and an actor computes as many blocks as it has processors, so that
        # none of them waits for the end of another's block.
        at_once, threads = self._blocks_at_once, self._threads or self._shares.cpus
        own = max(1, threads // at_once)
        remote: Any = ray.remote(ExtractionWorker)
        return remote.options(
            num_cpus=self._shares.cpus, num_gpus=self._shares.gpus, max_concurrency=at_once, max_restarts=0
        ).remote(own, self._shares.gpus)

    def close(self) -> None:
        """End the actors, and Ray if it was started here; a Ray that was joined goes on without them."""
        self._closed.set()
        # Ray has no way to end its search for a cluster that does not answer: the thread is left to it, and with the
        # process it ends.
        waits = not (self._local or self._joined.is_set())
        self._thread.join(_LAST_WORD if waits else None)
        if _is_running_here():
            import ray

            for actor in self._actors:
                with suppress(Exception):  # it is dead, or the cluster is gone
                    ray.kill(actor)
            self._actors, self._calls, self._sent = [], {}, None
            if self._initialised:
                ray.shutdown()
                _silence(self._told)
        if self._local:
            self._local.end()

    # Calls ---------------------------------------------------------------------------------------------------

    def send(self, worker: int, method: str, argument: Any) -> int:
        """Call a method of an actor; the argument of ``start`` was sent before."""
        given = self._sent if method == "start" else argument
        self._tickets += 1
        self._calls[getattr(self._actors[worker], method).remote(given)] = (worker, self._tickets)
        return self._tickets

    def answers(self, timeout: float) -> list[Answer]:
        """Wait for the first answer; returns it, and those that are there as well."""
        import ray

        if not self._calls:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait([*self._calls], num_returns=1, timeout=timeout)
        if ready:
            ready, _ = ray.wait([*self._calls], num_returns=len(self._calls), timeout=0)
        # An actor's death takes its other calls out of `_calls`.
        return [self._answer(reference) for reference in ready if reference in self._calls]

    def _answer(self, reference: Any) -> Answer:
        import ray
        from ray.exceptions import RayError, RayTaskError

        worker, ticket = self._calls.pop(reference)
        try:
            value, error = ray.get(reference)
        except RayTaskError as failure:  # what `replies` does not catch, such as SystemExit
            return Answer(worker, death=first_line(failure.cause or failure))
        except RayError as failure:
            if any(sign in str(failure) for sign in _UNKNOWN_CLASS):
                raise FeatcacheError(
                    f"{self.name(worker)} cannot read what it was sent: {reason_of(failure)}. Classes of your program "
                    "are sent by the names of their modules: install these on every node, or set PYTHONPATH where Ray "
                    "is started; or name the dataset and the backbone instead of handing over objects"
                ) from None
            self._calls = {each: call for each, call in self._calls.items() if call[0] != worker}
            return Answer(worker, death=reason_of(failure))
        if error is not None:
            error = _placed(error, self.name(worker))
        return Answer(worker, ticket, value, error)

    def replace(self, worker: int) -> None:
        """Create another actor in the place of a dead one, wherever there is room for it."""
        import ray

        with suppress(Exception):  # it is dead, as it should be, or only out of reach
            ray.kill(self._actors[worker])
        self._calls = {each: call for each, call in self._calls.items() if call[0] != worker}
        self._actors[worker] = self._new_actor()
        self._names[worker] = f"actor {worker + 1}"

    def name(self, worker: int) -> str:
        """Return an actor's number and, once it has started, its machine."""
        return self._names[worker]

    def placed(self, worker: int, node: str) -> None:
        """Note which machine an actor runs on."""
        self._names[worker] = f"actor {worker + 1} on {node}"


def _silence(told: Callable[..., None] | None = None) -> Callable[..., None] | None:
    """Have Ray print no news, such as of a dead actor, or as before; returns what has printed them.

    They come on standard output, and `log_to_driver` does not keep them from there (Ray 2.60, `listen_error_messages`).
    """
    news: Any = import_module("ray._private.worker")
    before = getattr(news, "print_to_stdstream", None)
    if before is not None:
        news.print_to_stdstream = told or _say_nothing
    return before


def _end_quietly() -> None:
    """Let SIGTERM end this process as it did before Ray, which prints its stack first (absl's handler of failures)."""
    if threading.current_thread() is threading.main_thread():
        with suppress(TypeError):  # None: its handler is not Python's, but of the program that this runs in
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def _say_nothing(*given: object, **named: object) -> None:
    """Take what Ray would print."""


def _require_listener(address: str) -> None:
    """Raise `OSError` at once where nothing listens: Ray tries for half a minute, and prints each failure."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _is_running_here() -> bool:
    """Return whether this process is connected to a Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def reason_of(error: Exception) -> str:
    r"""Return why an actor died, as one line of Ray's text of many.

    >>> reason_of(Exception("The actor died.\n\tpid: 7\nWorker exit type: SYSTEM_ERROR Worker exit detail: killed."))
    'killed'
    """
    text = str(error)
    found = re.search(r"Worker exit detail: (.*)", text) or re.search(r"(?:because|Reason:) (.*)", text)
    told = found[1] if found else first_line(error)
    return told.strip().split(". ")[0].rstrip(".")


def _placed(error: FeatcacheError, name: str) -> FeatcacheError:
    """Return an actor's error with its name before it."""
    try:
        return type(error)(f"{name}: {error}")
    except TypeError:  # its class is made of other parts than a text
        return FeatcacheError(f"{name}: {error}")
