"""Run the soak: one world after another, each with a seed of its own, until the time is over.

A fault is told with the seed of its world and what was done in it, step by step; ``--soak-seed`` (``--seed``) with that
seed does the same again. (Where a child was killed after a while, and not at a call, the moment is another one.)
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from featcache.cache import row_store
from featcache.extraction.planning import content_hashes
from soak import mutants
from soak.machine import Machine, home_of
from soak.operations import OPERATIONS, draw, name_of
from soak.world import Fault, World

STEPS = 40
"""Operations in each world."""


@dataclass
class Report:
    """What a soak did and found.

    Parameters
    ----------
    counts
        What was done and checked.
    faults
        One text each.
    seconds, cpu
        How long it took, and the processor time of this process and its children.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"{count:>9,}  {what}" for what, count in sorted(self.counts.items(), key=lambda item: -item[1])
        ]
        took = f"after {self.seconds / 60:.1f} minutes, {self.cpu / 60:.1f} of a core"
        return "\n".join([*self.faults, took, *lines, f"{len(self.faults):>9,}  faults"])


def soak(
    seconds: float,
    seed: int,
    *,
    worlds: int | None = None,
    steps: int = STEPS,
    mutant: str = "",
    most_faults: int = 10,
    only: Sequence[str] = (),
    keep: Path | None = None,
    loud: bool = False,
) -> Report:
    """Work until the time is over.

    Parameters
    ----------
    seconds
        Time; the world that is there then is the last.
    seed
        Of the first world; the next ones have the next numbers.
    worlds
        How many there are at most.
    steps
        Operations in each.
    mutant
        What is broken on purpose, of `soak.mutants.MUTANTS`; for as long as this process lives.
    most_faults
        After so many it ends.
    only
        Names of the operations that happen; of all by default.
    keep
        Where the folders of a world with a fault are copied to.
    loud
        Print each step.
    """
    report, began = Report(), time.monotonic()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="featcache-soak-",
        dir=memory if memory.is_dir() and shutil.disk_usage(memory).free > 2**28 else None,
    ) as scratch:
        mutants.apply(mutant)
        machine = Machine(Path(scratch), mutant)
        try:
            with home_of(machine):
                while time.monotonic() - began < seconds and len(report.faults) < most_faults:
                    if worlds is not None and report.counts["worlds"] >= worlds:
                        break
                    of_world = seed + report.counts["worlds"]
                    known = len(report.faults)
                    _live(machine, of_world, report, steps, began + seconds, only, loud)
                    if keep and len(report.faults) > known:
                        shutil.copytree(machine.scratch, keep / str(of_world))
                    report.counts["worlds"] += 1
        except KeyboardInterrupt:
            print("interrupted; until then:", file=sys.stderr)
        finally:
            machine.close()
    report.seconds = time.monotonic() - began
    times = os.times()
    report.cpu = times.user + times.system + times.children_user + times.children_system
    return report


def _live(
    machine: Machine, seed: int, report: Report, steps: int, until: float, only: Sequence[str], loud: bool
) -> None:
    """One world, until its steps are done, a fault is found, or the time is over."""
    world = World(machine, seed, report.counts)
    # Of caches as small as these every row is checked by itself; in some worlds blocks of rows are, as in large ones.
    row_store._MANY_BYTES = 1 << (24 if seed % 50 else 12)
    # Of as few photos all are read again, which would hide that a changed one was taken for the same.
    content_hashes.SAMPLE = 16 if seed % 3 else 1
    for step in range(steps):
        if time.monotonic() > until:
            return
        operation = draw(world, only)
        name = name_of(operation)
        try:
            said = operation(world)
        except Exception as error:
            steps = "\n".join(f"  {text}" for text in world.steps)
            trace = "" if isinstance(error, Fault) else traceback.format_exc()
            told = f"  {step} {name}: {type(error).__name__}: {error}"
            report.faults.append(f"FAULT with seed {seed}:\n{steps}\n{told}\n{trace}")
            print(f"with seed {seed}:\n{told}", file=sys.stderr, flush=True)
            return
        report.counts["operations"] += 1
        world.steps.append(f"{step} {name}: {said}")
        if loud:
            print(world.steps[-1], flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first world")
    parser.add_argument("--worlds", type=int, help="so many at most")
    parser.add_argument("--steps", type=int, default=STEPS, help="operations in each world")
    parser.add_argument("--faults", type=int, default=10, help="end after so many")
    parser.add_argument(
        "--mutant", default="", choices=["", *mutants.MUTANTS], help="break something on purpose"
    )
    names = [name_of(operation) for _, operation in OPERATIONS]
    parser.add_argument("--only", nargs="+", default=[], choices=names, help="nothing but these operations")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy worlds with a fault there")
    parser.add_argument("--loud", action="store_true", help="print every step")
    given = parser.parse_args(arguments)
    report = soak(
        60 * given.minutes,
        given.seed,
        worlds=given.worlds,
        steps=given.steps,
        mutant=given.mutant,
        most_faults=given.faults,
        only=given.only,
        keep=given.keep,
        loud=given.loud,
    )
    print(f"seed {given.seed}\n{report}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
