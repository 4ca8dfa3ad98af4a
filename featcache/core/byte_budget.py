"""A number of bytes that the threads of this process share: who needs more than is left waits."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class ByteBudget:
    """Bytes that threads may hold together.

    A thread must give back what it holds before it asks for more of the same budget: two that wait for each other
    would wait for ever.

    Parameters
    ----------
    total
        The budget in bytes. Whoever needs more than all of it gets it once nobody else holds any.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def hold(self, nbytes: int) -> Iterator[None]:
        """Hold bytes for the length of a ``with`` block; waits, in the order of arrival, until there are so many."""
        with self._changed:
            if self._waiting or not self._fits(nbytes):
                self._wait(nbytes)
            self.held += nbytes
        try:
            yield
        finally:
            with self._changed:
                self.held -= nbytes
                if self._waiting:
                    self._changed.notify_all()

    def _fits(self, nbytes: int) -> bool:
        return not self.held or self.held + nbytes <= self.total

    def _wait(self, nbytes: int) -> None:
        # In order of arrival: small requests that overtake would keep a large one waiting as long as there are any.
        ticket = object()
        self._waiting.append(ticket)
        try:
            self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(nbytes))
        finally:
            self._waiting.remove(ticket)
            self._changed.notify_all()
