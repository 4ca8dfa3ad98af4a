"""A live bar on stderr, with speed, the time left, and what stands above it; it is gone when the work is done."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from featcache.cli.terminal.drawings import Part
from featcache.core.display import escaped
from featcache.core.progress import Progress, shares


class LiveBar(RichProgress):
    """A bar below parts of a result that are known already."""

    _above: RenderableType | None = None

    def show(self, done: int, total: int, text: str, above: Iterable[Part]) -> None:
        """Draw the parts above the bar, and how much is done."""
        self._above = Group(
            *(escaped(part) if isinstance(part, str) else part.drawn(self.console.width) for part in above)
        )
        self.update(self.task_ids[0], completed=done, total=max(total, 1), description=text)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is drawn, from above."""
        if self._above is not None:
            yield self._above
        yield self.make_tasks_table(self.tasks)


def _started(*columns: ProgressColumn | str) -> LiveBar:
    """Return a bar with one task; lines that are printed meanwhile appear above it in a terminal.

    In a file or pipe they stay stdout's. Rich itself respects NO_COLOR.
    """
    console = RichConsole(stderr=True, highlight=False, markup=False, emoji=False)
    bar = LiveBar(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
    bar.add_task("", total=1, speed="", shares="")
    return bar


_COUNT = "{task.completed:.0f}/{task.total:.0f}"


@contextmanager
def image_bar() -> Iterator["Meter"]:
    """Draw a bar that counts images, with images/s, the time left and the share of each step."""
    columns = (
        TextColumn("{task.description:<8}", markup=False),
        BarColumn(),
        TextColumn(_COUNT),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shares]}", markup=False),
    )
    with _started(*columns) as bar:
        yield Meter(bar)


@contextmanager
def head_bar() -> Iterator[LiveBar]:
    """Draw a bar that counts heads, with the time left and what was fitted last."""
    columns = (
        BarColumn(),
        TextColumn(f"{_COUNT} heads"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with _started(*columns) as bar:
        yield bar


@contextmanager
def step_bar(text: str) -> Iterator[None]:
    """Draw that something is being done of which no count is known: what it is, and the time since it began."""
    with _started(
        SpinnerColumn("line"), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    ) as bar:
        bar.show(0, 1, escaped(text), ())
        yield


class Meter:
    """Updates a bar that counts images; speed counts from the first image of a stage."""

    def __init__(self, bar: LiveBar) -> None:
        self.bar = bar
        self.task = bar.task_ids[0]
        self.stage = ""
        self.began = 0.0
        self.first = 0

    def update(self, progress: Progress) -> None:
        """Draw how much is done."""
        now = time.monotonic()
        if progress.stage != self.stage:
            self.stage, self.began, self.first = progress.stage, now, progress.done
            self.bar.reset(self.task, total=max(progress.total, 1))
        elapsed = now - self.began
        speed = (progress.done - self.first) / elapsed if elapsed > 0.2 else 0
        self.bar.update(
            self.task,
            description=progress.stage,
            completed=progress.done,
            total=max(progress.total, 1),
            speed=f"{speed:.0f} images/s" if speed else "",
            shares=escaped(progress.note) or shares(progress),
        )
