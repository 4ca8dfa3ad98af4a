"""bash, whose ``featcache`` runs in this process: importing JAX takes ten times as long as most commands of a page."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHORTER = {
    "finetune": {"--epochs": "1"},
    "sweep": {"--epochs": "2", "--c": "0.1,1", "--l2": "1"},
}
"""Options by which what takes minutes takes seconds."""

_FEATCACHE = """#!{python} -IS
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    line.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
    code, out, err = json.load(line.makefile())
for stream, text in ((sys.stdout, out), (sys.stderr, err)):
    stream.buffer.write(text.encode("utf-8", "surrogateescape"))
    stream.flush()
sys.exit(code)
"""


@dataclass(frozen=True)
class Ran:
    """A ``featcache`` that ran: its words, exit code and output."""

    words: list[str]
    code: int
    out: str
    err: str
    printed: str = ""


@dataclass(frozen=True)
class Done:
    """A script that ended: its exit code, all that it printed, and each ``featcache`` in it."""

    code: int
    printed: str
    commands: list[Ran] = field(default_factory=list)


class Shell:
    """A shell that stays in the folder which the last script changed to.

    Parameters
    ----------
    folder
        Where the first script begins.
    tools
        An empty folder for programs that go before those of ``PATH``.
    """

    def __init__(self, folder: Path, tools: Path) -> None:
        self.folder, self._tools = folder, tools
        self._ran: list[Ran] = []
        self._printed: io.BytesIO = io.BytesIO()

    def run(self, script: str) -> Done:
        """Run a script in ``bash -euo pipefail`` and answer its ``featcache`` until it has ended."""
        self._ran = []
        where = self._tools / "where"
        # Short: the address of a socket has at most 108 characters.
        with tempfile.TemporaryDirectory(prefix="page-") as short, socket.socket(socket.AF_UNIX) as listener:
            address = f"{short}/line"
            listener.bind(address)
            listener.listen()
            listener.settimeout(0.02)
            self._write("featcache", _FEATCACHE.format(python=sys.executable, address=address))
            self._write("pip", "#!/bin/sh\n")
            code, printed = self._bash(f"trap 'pwd > {where}' EXIT\n{script}", listener)
        self.folder = Path(where.read_text().removesuffix("\n"))
        return Done(code, printed, self._ran)

    def _write(self, name: str, program: str) -> None:
        (self._tools / name).write_text(program)
        (self._tools / name).chmod(0o755)

    def _bash(self, script: str, listener: socket.socket) -> tuple[int, str]:
        path = f"{self._tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        with tempfile.TemporaryFile() as printed:
            bash = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.folder,
                env={**os.environ, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while bash.poll() is None:
                    with contextlib.suppress(TimeoutError):
                        self._answer(listener.accept()[0])
            finally:
                if bash.poll() is None:
                    os.killpg(bash.pid, signal.SIGKILL)
                bash.wait()
            printed.seek(0)
            return bash.returncode, printed.read().decode("utf-8", "replace")

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as line:
            words, folder, environment = json.loads(line.readline())
            ran = in_this_process(words, Path(folder), environment)
            self._ran.append(ran)
            # A command that closed its end, such as `featcache … | head`, does not want the answer.
            with contextlib.suppress(BrokenPipeError):
                line.write(json.dumps([ran.code, ran.out, ran.err]).encode())
                line.flush()


def in_this_process(words: list[str], folder: Path, environment: dict[str, str]) -> Ran:
    """Run a ``featcache`` here, in a folder and an environment, by `SHORTER` if it is of those that take long."""
    from featcache.cli import main

    options = SHORTER.get(words[0], {}) if words and "--help" not in words else {}
    more = [word for option in options.items() for word in option]
    log: list[bytes] = []
    out, err = _stream(log), _stream(log)
    with _in(folder, environment), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*words, *more])
    texts = (stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in (out, err))
    return Ran(words, code, *texts, b"".join(log).decode("utf-8", "replace"))


class _Logged(io.BytesIO):
    def __init__(self, log: list[bytes]) -> None:
        super().__init__()
        self._log = log

    def write(self, data: Any, /) -> int:
        self._log.append(bytes(data))
        return super().write(data)


def _stream(log: list[bytes]) -> Any:
    """Return a text stream whose bytes are logged in the order of all streams of the log."""
    return io.TextIOWrapper(_Logged(log), "utf-8", errors="surrogateescape", write_through=True)


@contextlib.contextmanager
def _in(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Be in a folder, with an environment, and with the signal handlers of before at the end."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
