"""Watch the process that fuzzes: end it where an input takes too long, start it again, keep what killed it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path

from .findings import Findings
from .notes import Counts, Notes
from .worker import Task

ROOT = Path(__file__).parents[3]
USUAL = 30.0
_PREPARES = 120.0
_LOOK = 0.2


@dataclass
class Session:
    """The fuzzing of one reader.

    Parameters
    ----------
    reader, engine, seed, seconds, inputs, keep
        As of `.worker.Task`.
    counts, crashes, failure
        What came of it: processes that ended at an input, and why none could begin.
    hangs
        Seconds after which an input that is still being read has hung; the machine may be busy with other things.
    """

    reader: str
    engine: str
    seed: int
    seconds: float
    inputs: int
    keep: Path
    counts: Counts = field(default_factory=Counts)
    crashes: int = 0
    hangs: float = USUAL
    failure: str = ""

    def run(self) -> "Session":
        """Fuzz until the time is over; a process that ends early is started again with another seed."""
        over, attempt = time.monotonic() + self.seconds, 0
        while (left := over - time.monotonic()) > 1 and not self.failure:
            if self.inputs and self.counts.tried >= self.inputs:
                break
            self._once(left, attempt)
            attempt += 1
        return self

    def _once(self, seconds: float, attempt: int) -> None:
        with tempfile.TemporaryDirectory(prefix="featcache-fuzz-") as place:
            folder = Path(place).resolve()
            notes = Notes(folder / "notes")
            log = self.keep / "logs" / f"{self.reader}-{attempt}.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            task = Task(
                reader=self.reader,
                engine=self.engine,
                seed=self.seed + attempt,
                seconds=seconds,
                inputs=max(self.inputs - self.counts.tried, 0),
                keep=str(self.keep),
                notes=str(folder / "notes"),
                folder=str(folder / "reader"),
            )
            paths = os.pathsep.join((str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")))
            with log.open("wb") as stream:
                child = subprocess.Popen(
                    [sys.executable, "-m", "tests.soak.fuzz.worker", task.to_text()],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": paths},
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                )
                try:
                    hung = _watch(child, notes, seconds, self.hangs)
                finally:
                    _end(child)
            counts, began, data = notes.read()
            notes.close()
            self.counts = Counts(*(a + b for a, b in zip(astuple(self.counts), astuple(counts), strict=True)))
            code = child.returncode
            if began and (hung or code not in (0, -signal.SIGKILL)):
                kind = "hang" if hung else f"crash ({code})"
                self.crashes += 1
                self.counts.findings += 1
                tail = log.read_text(errors="replace")[-3000:]
                Findings(self.keep / "findings" / self.reader).add(kind, data, tail)
            elif not counts.tried:
                self.failure = log.read_text(errors="replace").strip()[-1500:] or "it did not begin"
            elif code == 0:
                log.unlink()

    def line(self) -> str:
        """Return what came of it, as a row of a table."""
        own = self.counts
        kinds = Findings(self.keep / "findings" / self.reader).kinds()
        told = f"{self.reader:<18} {own.tried:>9,} {own.used:>9,} {own.refused:>9,} {self.crashes:>7} {len(kinds):>6}"
        return "\n    ".join([told, *kinds, *([f"FAILED: {self.failure}"] if self.failure else [])])


HEADER = f"{'reader':<18} {'inputs':>9} {'used':>9} {'refused':>9} {'crashes':>7} {'kinds':>6}"


def _watch(child: "subprocess.Popen[bytes]", notes: Notes, seconds: float, hangs: float) -> bool:
    """Wait for the end of a process; returns whether it hung at an input."""
    over = time.monotonic() + seconds + _PREPARES
    while child.poll() is None:
        time.sleep(_LOOK)
        _, began, _ = notes.read()
        if began and time.monotonic() - began > hangs:
            return True
        if time.monotonic() > over:
            return False
    return False


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the process and what it started: they are a group of their own."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def clear(keep: Path, reader: str) -> None:
    """Forget the findings of an earlier run, not the corpus."""
    shutil.rmtree(keep / "findings" / reader, ignore_errors=True)
