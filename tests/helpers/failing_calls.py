"""Processes whose system calls fail when they are told to: Python's side of ``failing_calls.c``.

A test starts a Python program with `preloaded` (`helpers.recording`); in it, `Shim` lets the calls of forked children
fail, and tells what they called.
"""

import atexit
import ctypes
import errno
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

_ERROR, _SHORT, _KILL, _TEAR = range(1, 5)
SECONDS = 20
"""After so many a child hangs, and is ended by a signal."""


@dataclass(frozen=True)
class Fault:
    """What a system call does instead of what it was asked; `forever`: and those after it, too."""

    how: int
    number: int = 0
    forever: bool = False

    def concerns(self, kind: str) -> bool:
        """Whether it makes a difference to a call of this kind: ``w``, ``f`` or ``n``, see ``failing_calls.c``."""
        return self.how not in (_SHORT, _TEAR) or kind == "w"

    @property
    def kills(self) -> bool:
        """Whether it ends the process."""
        return self.how in (_KILL, _TEAR)


NUMBERS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EINTR)

FAULTS = {
    f"{name}{', and from then on' if forever else ''}": Fault(how, number, forever)
    for forever in (False, True)
    for name, how, number in (
        *((errno.errorcode[number], _ERROR, number) for number in NUMBERS),
        ("a short write", _SHORT, 0),
        ("killed before", _KILL, 0),
        ("killed in the middle", _TEAR, 0),
    )
    if not (forever and how in (_KILL, _TEAR))
}
"""Every way to fail, by its name."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: the code that it returned, or the signal; what it printed; which calls it made and lost."""

    code: int | None
    signal: int
    output: str
    calls: str
    failed: int
    first_failed: str


class Shim:
    """The preloaded library; see `failing_calls.c`."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        for name in ("kinds_of_calls", "first_failed"):
            getattr(self._library, name).restype = ctypes.c_char_p

    def in_a_child(self, function: Callable[[], int], fault: Fault | None = None, call: int = 0) -> Ended:
        """Run a function in a forked child, whose `call`-th call fails (from 1), and wait for its end."""
        sys.stdout.flush()
        sys.stderr.flush()
        printed = os.memfd_create("printed")
        child = os.fork()
        if not child:
            self._run(function, fault, call, printed)
        _, status = os.waitpid(child, 0)
        with open(printed, "rb") as stream:
            stream.seek(0)
            output = stream.read().decode("utf-8", "backslashreplace")
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return Ended(
            None if killed else os.WEXITSTATUS(status),
            killed,
            output,
            self._library.kinds_of_calls().decode(),
            self._library.calls_failed(),
            self._library.first_failed().decode("utf-8", "backslashreplace"),
        )

    def _run(self, function: Callable[[], int], fault: Fault | None, call: int, printed: int) -> None:
        """Run the function as a process of its own would; does not return."""
        code = 99
        try:
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            signal.alarm(SECONDS)
            faulthandler.dump_traceback_later(0.8 * SECONDS, file=sys.stderr)
            how = fault or Fault(0)
            self._library.fail_calls(call, int(how.forever), how.how, how.number)
            code = function()
            atexit._run_exitfuncs()  # os._exit does not
        except BaseException:
            traceback.print_exc()
        finally:
            self._library.stop_failing()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
