"""A terminal that keeps what is written to it, for commands that draw on one."""

import io
import re
import sys
from collections.abc import Callable

import pytest

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r")
"""What moves a cursor or colours; none of it is seen."""


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True

    def seen(self) -> str:
        """Everything that was written, without colours and movements."""
        return ESCAPES.sub("", self.getvalue())


def use_terminals(monkeypatch: pytest.MonkeyPatch, columns: int = 80, **environment: str) -> None:
    """Let the environment be that of a terminal with colours, `columns` wide."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLORTERM": "truecolor", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", str(columns))


def run_on_terminals(
    monkeypatch: pytest.MonkeyPatch, *arguments: object, columns: int = 80, **environment: str
) -> tuple[Terminal, Terminal]:
    """Run a command whose stdout and stderr are terminals, and return both."""
    from featcache.cli import main

    use_terminals(monkeypatch, columns, **environment)
    run: Callable[[list[str]], int] = main
    with monkeypatch.context() as patched:
        out, err = Terminal(), Terminal()
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        code = run([str(argument) for argument in arguments])
    assert code == 0, err.getvalue()
    return out, err
