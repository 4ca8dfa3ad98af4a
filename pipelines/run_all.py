"""Run all experiments and studies, each in a process of its own, and print a table of them.

Command::

    python pipelines/run_all.py --small [--only e1,e2,views] [--output runs]

With ``--small`` each takes seconds to a minute, on photos of the checkout and drawn weights, without a network. Without
it, each runs at full size where its data and weights are. One that fails stops no other; the exit status is 1 then.
What an experiment printed is in ``OUTPUT/NAME/log.txt``.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from common import Small
from script import run_script

HERE = Path(__file__).parent

SCRIPTS: dict[str, tuple[str, ...]] = {
    "e1": ("e1_cats_vs_dogs.py",),
    "e2": ("e2_flowers.py",),
    "e3": ("e3_flowers_inception.py",),
    "e4": ("e4_animals_vgg16.py",),
    "e5": ("e5_animals_vgg16_frozen15.py",),
    "e6": ("e6_animals_inception.py",),
    "e7": ("e7_cats_vs_dogs_vgg16.py",),
    "e8": ("e8_cats_vs_dogs_vgg16_150.py",),
    "e9": ("e9_food101_vgg19.py", "train"),
    "e10": ("e10_mobilenet_variants.py",),
    "e11": ("e11_look_inside.py",),
    "views": ("views.py",),
    "compare_protocols": ("compare_protocols.py",),
    "layer_study": ("layer_study.py",),
    "few_shot": ("few_shot.py",),
    "zoo_leaderboard": ("zoo_leaderboard.py",),
    "label_noise": ("label_noise.py",),
}
"""Name of each to its script, and what follows that on the command line."""


@dataclass(frozen=True)
class Ran:
    """One finished script: its name, wall and processor time, exit status, and the file of what it printed."""

    name: str
    seconds: float
    processor: float
    status: int
    log: Path


def chosen(only: str) -> list[str]:
    """Return the names that are meant by a list with commas; all whose script is there for an empty one.

    Raises
    ------
    typer.BadParameter
        If there is no such name.
    """
    known = [name for name, (script, *_) in SCRIPTS.items() if (HERE / script).is_file()]
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise typer.BadParameter(f"no script {unknown[0]!r}: expected some of {', '.join(known)}")
    return names or known


def run_one(name: str, output: Path, small: bool) -> Ran:
    """Run one script in a process of its own."""
    script, *more = SCRIPTS[name]
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    command = [sys.executable, str(HERE / script), *more, "--output", str(folder)]
    command += ["--small"] if small else []
    began, used = time.perf_counter(), children_seconds()
    with log.open("wb") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    return Ran(name, time.perf_counter() - began, children_seconds() - used, status, log)


def children_seconds() -> float:
    """Return the processor time of all finished children, which says more than wall time on a busy machine."""
    return sum(os.times()[2:4])


def row(ran: Ran, width: int) -> str:
    """Return a line of the table."""
    said = "ok" if ran.status == 0 else f"FAILED ({ran.status})"
    return f"{ran.name:<{width}}  {ran.seconds:7.1f} s  {ran.processor:7.1f} s of processors  {said}"


def main(
    small: Small = False,
    only: Annotated[str, typer.Option(help="Names with commas between them; all by default.")] = "",
    output: Annotated[Path, typer.Option(help="Folder for a folder of each.")] = Path("runs"),
) -> None:
    names = chosen(only)
    width, done = max(map(len, names)), []
    for name in names:
        done.append(run_one(name, output, small))
        print(row(done[-1], width), flush=True)
        if done[-1].status:
            lines = done[-1].log.read_text("utf-8", "replace").splitlines()
            print("\n".join(f"    {line}" for line in lines[-15:]), flush=True)
    failed = [ran.name for ran in done if ran.status]
    total = Ran(
        "all", sum(ran.seconds for ran in done), sum(ran.processor for ran in done), len(failed), output
    )
    print(row(total, width))
    if failed:
        print(f"{len(failed)} of {len(done)} failed: {', '.join(failed)}")
        raise typer.Exit(1)


if __name__ == "__main__":
    run_script(main)
