"""A Python that has imported what programs need and forks for each: importing JAX takes more than a small program."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

_SERVER = """
import json, os, socket, sys, traceback

control = socket.socket(fileno=int(sys.argv[1]))
exec(sys.argv[2])
control.send(b"ready")
ended = 0
while True:
    message, files, _, _ = socket.recv_fds(control, 2**17, 3)
    if ended:
        os.waitpid(ended, 0)  # only now: until its status had been fetched, its number must not become another's
    if not message:
        break
    child = os.fork()
    if child == 0:
        control.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        program, *sys.argv[1:] = json.loads(message)
        code = 0
        try:
            exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    for file in files:
        os.close(file)
    control.send(str(child).encode())
    how = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    control.send(str(how.si_status if how.si_code == os.CLD_EXITED else -how.si_status).encode())
    ended = child
"""


class Forked:
    """A program that runs, with as much of `subprocess.Popen` as its tests need; one at a time.

    Parameters
    ----------
    pid
        Of its process.
    stdout
        What it prints, as bytes.
    errors
        The file that it writes its errors to.
    control
        The socket that says how it ended.
    """

    def __init__(self, pid: int, stdout: IO[bytes], errors: IO[bytes], control: socket.socket) -> None:
        self.pid, self.stdout, self._errors, self._control = pid, stdout, errors, control
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Send a signal to its process, unless that has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Return its exit status, or minus the signal it died by."""
        if self.returncode is None:
            self.returncode = int(self._control.recv(16))
        return self.returncode

    def errors(self) -> str:
        """Return what it wrote to its standard error, after its end."""
        self.wait()
        self._errors.seek(0)
        return self._errors.read().decode()

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        # Until its status has been fetched, and the next program begins, the number of its process is not another's.
        self.send_signal(signal.SIGKILL)
        self.wait()
        self.stdout.close()
        self._errors.close()


class WarmPython:
    """The process that forks.

    Parameters
    ----------
    imports
        The program that it runs once, before it forks.
    environment
        Of all programs.
    options
        Of Python, such as ``-I``.
    """

    def __init__(self, imports: str, environment: Mapping[str, str], options: Sequence[str] = ()) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, *options, "-c", _SERVER, str(theirs.fileno()), imports]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        theirs.close()
        assert self._control.recv(16) == b"ready"

    def start(self, program: str, arguments: Sequence[object], *, stdin: int | None = None) -> Forked:
        """Run a program in a process of its own.

        Parameters
        ----------
        program
            Python's text.
        arguments
            Its ``sys.argv[1:]``.
        stdin
            Descriptor of its standard input; nothing if not given.
        """
        out, writing = os.pipe()
        errors: Any = tempfile.TemporaryFile()  # noqa: SIM115  (`Forked` closes it)
        nothing = os.open(os.devnull, os.O_RDONLY)
        files = [nothing if stdin is None else stdin, writing, errors.fileno()]
        socket.send_fds(self._control, [json.dumps([program, *map(str, arguments)]).encode()], files)
        os.close(writing)
        os.close(nothing)
        return Forked(int(self._control.recv(16)), os.fdopen(out, "rb"), errors, self._control)

    def close(self) -> None:
        """End the process."""
        self._control.close()
        self._process.wait()


@contextmanager
def warm_python(
    imports: str, environment: Mapping[str, str], options: Sequence[str] = ()
) -> Iterator[WarmPython]:
    """A `WarmPython` that ends with the block."""
    python = WarmPython(imports, environment, options)
    try:
        yield python
    finally:
        python.close()
