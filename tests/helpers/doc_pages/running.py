"""Running a page: each of its blocks in order; what went wrong is collected, so that one run tells all of it."""

import contextlib
import doctest
import io
import re
import shlex
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helpers.doc_pages import photos
from helpers.doc_pages.blocks import Block, blocks, name_of
from helpers.doc_pages.readers import reader_of
from helpers.doc_pages.shapes import unprinted
from helpers.doc_pages.shell import Done, Ran, Shell


class Session:
    """A reader at work: a shell, a Python, and what both printed.

    Parameters
    ----------
    folder
        Where the photos are.
    tools
        An empty folder for programs of the shell.
    """

    def __init__(self, folder: Path, tools: Path) -> None:
        self.shell = Shell(folder, tools)
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.ran: list[Ran] = []
        self.printed = ""
        self.problems: list[str] = []

    def script(self, text: str, place: str, *, fails: bool = False) -> Done:
        """Run shell lines; they end well unless they are to fail."""
        done = self.shell.run(text)
        self.ran += done.commands
        if (done.code != 0) != fails:
            expected = "which should have failed" if fails else "which failed"
            self._problem(place, f"{text.strip()}\n  {expected}: exit code {done.code}", done.printed)
        return done

    def statements(self, text: str, place: str) -> str:
        """Execute Python statements; return what they printed."""
        page, _, line = place.rpartition(":")
        with self._at_work() as printed:
            try:
                exec(compile("\n" * int(line) + text, page, "exec"), self.namespace)
            except Exception:
                self._problem(place, "Python failed", traceback.format_exc(limit=-4))
        return printed.getvalue()

    def examples(self, text: str, place: str) -> None:
        """Execute what stands behind ``>>>`` and compare the results in shape."""
        for example in doctest.DocTestParser().get_examples(text):
            with self._at_work() as printed:
                try:
                    exec(compile(example.source, place, "single"), self.namespace)
                except Exception:
                    self._problem(place, example.source, traceback.format_exc(limit=-4))
                    continue
            self.compare(example.want, printed.getvalue(), place)

    def compare(self, shown: str, printed: str, place: str) -> None:
        """Note what is shown and was not printed."""
        shown = re.sub(r"^\$ .*\n", "", shown)  # the command itself
        if missing := unprinted(shown, printed):
            self._problem(place, f"shown, but not printed: {'; '.join(map(str.strip, missing))}", printed)

    def output_of(self, command: str, place: str, *, fails: bool = False) -> str:
        """Return what a command printed when it ran on the page, or what it prints now."""
        words = shlex.split(command)
        for ran in reversed(self.ran):
            if ["featcache", *ran.words] == words:
                return ran.printed
        return self.script(command, place, fails=fails).printed

    def _problem(self, place: str, what: str, printed: str) -> None:
        self.problems.append(
            f"{place}: {what}\n" + "".join(f"    | {line}\n" for line in printed.splitlines())
        )

    @contextlib.contextmanager
    def _at_work(self) -> Any:
        printed = io.StringIO()
        with contextlib.chdir(self.shell.folder), contextlib.redirect_stdout(printed):
            yield printed


def run_page(page: Path, folder: Path, tools: Path) -> list[str]:
    """Run all blocks of a page in an empty folder that gets what its reader has; return what went wrong."""
    return run_blocks(blocks(page), name_of(page), folder, tools)


def run_blocks(found: Iterable[Block], page: str, folder: Path, tools: Path) -> list[str]:
    """Run blocks of the page of that name."""
    session = Session(folder, tools)
    reader = reader_of(page)
    photos.for_all(folder)
    reader.make(folder)
    if reader.shell:
        session.script(reader.shell, f"{page}, before:0")
    if reader.python:
        session.statements(reader.python, f"{page}, before:0")
    for block in found:
        if block.runs:
            _run(session, block)
    return session.problems


def _run(session: Session, block: Block) -> None:
    if by_hand := block.said("run"):
        session.script(by_hand, block.place)
    if (shown := block.said("output")) is not None:
        session.compare(block.script, session.printed, block.place)
    elif command := block.said("output of"):
        session.compare(block.script, session.output_of(command, block.place), block.place)
    elif command := block.said("error of"):
        session.compare(block.script, session.output_of(command, block.place, fails=True), block.place)
    elif block.kind == "bash":
        session.printed = session.script(block.script, block.place).printed
    elif block.kind == "python":
        session.printed = session.statements(block.script, block.place)
    elif block.kind == "pycon":
        session.examples(block.text, block.place)
    elif block.kind == "console":
        for command, shown in block.commands():
            fails = any(line.startswith("error:") for line in shown.splitlines())
            session.compare(shown, session.script(command, block.place, fails=fails).printed, block.place)
