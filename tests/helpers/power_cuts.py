"""A program is recorded, and the power cut at any moment: what it had promised by then must be there afterwards."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.recording import Call, Disk, Op, contents, lay_down, record

PREAMBLE = """
import ctypes, sys
from pathlib import Path
folder = Path(sys.argv[1])
mark = ctypes.CDLL(None).mark
"""
"""Of a program: where it writes, and how it promises that what it did is durable."""


def cuts_wanted(usual: int = 150) -> int:
    """Return how many power cuts a slow test replays: FEATCACHE_POWER_CUTS, or what is usual."""
    return int(os.environ.get("FEATCACHE_POWER_CUTS", usual))


FEW_AND_MANY = [80, pytest.param(None, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
"""Values of a parameter: power cuts by default, and in the slow run."""


@dataclass(frozen=True)
class Recorded:
    """What a program found in its folder, and did there."""

    before: dict[str, bytes]
    calls: list[Call]
    under: str

    def after(self) -> dict[str, bytes]:
        """Return the contents of the folder's files at the end, by their paths in it."""
        return self._inside(self._disk(len(self.calls)).files)

    def at_first(self) -> dict[str, bytes]:
        """Return them as of the beginning."""
        return self._inside(self.before)

    def power_cuts(self, folder: Path, cuts: int, chance: random.Random | None = None) -> Iterator[int]:
        """Lay a disk down in `folder` for each power cut, and yield the last number that had been marked, or 0."""
        chance = chance or random.Random(cuts)
        for _ in range(cuts):
            count = chance.randint(0, len(self.calls))
            promised = [call.number for call in self.calls[:count] if call.op is Op.MARK]
            lay_down(self._disk(count).power_cut(chance), self.under, folder)
            yield promised[-1] if promised else 0

    def _disk(self, count: int) -> Disk:
        disk = Disk(self.before)
        for call in self.calls[:count]:
            disk.apply(call)
        return disk

    def _inside(self, files: dict[str, bytes]) -> dict[str, bytes]:
        return {
            str(Path(path).relative_to(self.under)): content
            for path, content in files.items()
            if not path.endswith("/")
        }


def recorded(scratch: Path, first: str, then: str, *arguments: str) -> Recorded:
    """Run two programs in a folder, each after `PREAMBLE`, and record the second."""
    folder = scratch / "recorded"
    folder.mkdir()
    run = [sys.executable, "-c", PREAMBLE.replace("ctypes.CDLL(None).mark", "print") + first, str(folder)]
    subprocess.run([*run, *arguments], check=True, env=_with_helpers())
    before = contents(folder)
    calls = record(PREAMBLE + then, [str(folder), *arguments], under=folder, scratch=scratch)
    return Recorded(before, calls, str(folder))


def _with_helpers() -> dict[str, str]:
    tests = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
