"""Print the output of commands: results on stdout, progress and hints on stderr, optionally one JSON object."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from featcache.cli.terminal.drawings import Part, Whole, plain, wrapped
from featcache.core.disk.storage import storage_error
from featcache.core.display import escaped
from featcache.core.documents.json_text import to_text
from featcache.errors import StorageError

if TYPE_CHECKING:
    from featcache.core.progress import OnProgress

JSON_VERSION = 1

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the result only: no progress, hints or warnings.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more about what is done.")]

_current: "list[Console]" = []


def active() -> "Console | None":
    """Return the console of the command that is running."""
    return _current[-1] if _current else None


def forget() -> None:
    """Forget the console of an earlier command of this process."""
    _current.clear()


def output_error(error: OSError) -> StorageError:
    """Return what to say where the results cannot be printed: the disk behind ``> FILE`` is full, say."""
    place = "standard output"
    with suppress(OSError, ValueError):  # not on macOS and Windows, or an object that is no file
        place = os.readlink(f"/proc/self/fd/{sys.stdout.fileno()}")
    return storage_error(error, Path(place), elsewhere="send the output to another file")


class OutputClosedError(Exception):
    """Nobody reads what is printed any more; no `OSError`, for which typer would end the process without a word."""


def drop_output(stream: TextIO | None = None) -> None:
    """Send what is still printed nowhere, after stdout (or `stream`) was closed: Python's last flush succeeds, then."""
    with suppress(OSError, ValueError):  # an object that is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, (stream or sys.stdout).fileno())
        os.close(nowhere)


def tell(text: str) -> None:
    """Print on stderr. That nobody can be told is no reason to fail: what was asked for is on stdout and in files."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # a full disk behind ``2> FILE``, a pipe that nobody reads, a closed stream
        drop_output(sys.stderr)


def draws() -> bool:
    """Return whether results are drawn: stdout is a terminal with colours, and nobody asked for none (NO_COLOR)."""
    stream = sys.stdout
    if stream is None or not stream.isatty() or os.environ.get("NO_COLOR"):
        return False
    unicode = (stream.encoding or "utf-8").lower().startswith("utf")  # bars and rules need it
    return unicode and os.environ.get("TERM") not in ("dumb", "unknown")


def on_terminal(parts: Sequence[Part]) -> str:
    """Return the parts as a terminal shows them, in as many colours as it has."""
    from rich.console import Console as RichConsole
    from rich.text import Text

    terminal = RichConsole(highlight=False, markup=False, emoji=False)
    with terminal.capture() as captured:
        for part in parts:
            if isinstance(part, str):
                whole = isinstance(part, Whole)
                line = escaped(part) if whole else wrapped(escaped(part), terminal.width)
                terminal.print(Text(line), soft_wrap=True)
            else:
                terminal.print(part.drawn(terminal.width))
    return captured.get().removesuffix("\n")


def _print(text: str, *, flush: bool = False) -> None:
    try:
        print(text, flush=flush)
    except BrokenPipeError as error:
        raise OutputClosedError from error
    except OSError as error:
        raise output_error(error) from error


def escaped_lines(text: str) -> str:
    """Return text of several lines that is safe to print; lines after the first are indented.

    A break may come from a message of ours or from a name in it: what begins at the margin is always ours.
    """
    first, *others = (escaped(line) for line in text.split("\n"))
    return "\n".join([first, *(line if line[:1] in ("", " ") else f"  {line}" for line in others)])


class Console:
    """Output of one command.

    Parameters
    ----------
    command
        Name of the command, for the JSON object.
    as_json
        Print one JSON object on stdout instead of text.
    quiet, verbose
        Print less or more on stderr.
    """

    def __init__(
        self, command: str = "", *, as_json: bool = False, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.command = command
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self.kept = ""
        """What is there of a command that ended early, where it knows; said if it is interrupted."""
        self.outlives_output = False
        """Whether lines have nowhere to go is no reason to stop, since files were asked for, too."""
        self._answered = False
        self._said: list[str] = []
        self._warnings: list[str] = []
        _current[:] = [self]

    def result(self, value: dict[str, Any], parts: Sequence[Part]) -> None:
        """Print a command's result: `parts` for people, `value` for programs."""
        if self.as_json:
            self._answer("result", value)
        else:
            self._said = plain(parts)
            _print(on_terminal(parts) if draws() else "\n".join(map(escaped, self._said)))
        self.tell_warnings()

    def warning(self, text: str) -> None:
        """Keep a warning until the result is printed, which comes first; the same text is told once."""
        if text not in self._warnings:
            self._warnings.append(text)

    def tell_warnings(self) -> None:
        """Print the warnings so far, but for those whose words stand in the result."""
        said = "\n".join(line.strip() for line in self._said)
        for text in self._warnings:
            if "\n".join(line.strip() for line in text.split("\n")) not in said:
                self.note(f"warning: {text}")
        self._warnings.clear()

    def line(self, text: str) -> None:
        """Print one line of a result that comes bit by bit, at once; nothing with ``as_json``."""
        if self.as_json:
            return
        try:
            _print(escaped(text), flush=True)
        except OutputClosedError:  # `featcache predict … | head`
            if not self.outlives_output:
                raise
            drop_output()

    def note(self, text: str) -> None:
        """Print a hint or warning on stderr."""
        if not self.quiet:
            tell(escaped_lines(text))

    def detail(self, text: str) -> None:
        """Print a message on stderr if verbose."""
        if self.verbose:
            self.note(text)

    def fail(self, kind: str, message: str) -> None:
        """Print an error on stderr, and with ``as_json`` also as the JSON object unless one was printed already."""
        self.tell_warnings()
        unsaid: StorageError | OutputClosedError | None = None
        if self.as_json and not self._answered:
            try:
                self._answer("error", {"kind": kind, "message": message})
            except (StorageError, OutputClosedError) as error:
                drop_output()
                unsaid = error
        tell(escaped_lines(f"error: {message}"))
        if isinstance(unsaid, OutputClosedError):
            raise unsaid
        if unsaid is not None:
            tell(escaped_lines(f"error: {unsaid}"))

    def _answer(self, key: str, value: dict[str, Any]) -> None:
        self._answered = True
        _print(to_text({"version": JSON_VERSION, "command": self.command, key: value}))

    @property
    def shows_progress(self) -> bool:
        """Whether a live bar is drawn: stderr is a terminal, and nobody asked for JSON or for quiet."""
        return not self.quiet and not self.as_json and sys.stderr is not None and sys.stderr.isatty()

    @contextmanager
    def progress(self) -> "Iterator[OnProgress]":
        """Draw a progress bar with images/s, ETA and the time per stage, if `shows_progress`."""
        if not self.shows_progress:
            yield lambda progress: None
            return
        from featcache.cli.terminal.live import image_bar

        with image_bar() as meter:
            yield meter.update

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Draw a step of which no count is known with the time since it began, if `shows_progress`."""
        if not self.shows_progress:
            yield
            return
        from featcache.cli.terminal.live import step_bar

        with step_bar(text):
            yield
