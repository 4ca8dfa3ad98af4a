"""The process that gives inputs to one reader; it may crash, and is started again by `.driver`."""

import json
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .findings import Findings
from .notes import Notes

_MOST_MEMORY = 12 << 30
_OWN = 0.6
"""Share of changes by the reader's own mutator, where it has one."""


@dataclass(frozen=True)
class Task:
    """What a process is to do.

    Parameters
    ----------
    reader
        Its name.
    engine
        ``atheris``, which is led by coverage, or ``random``.
    seed
        Of the changes.
    seconds, inputs
        After which it ends; 0 inputs for any number.
    keep
        Folder of the corpus and of what is found.
    notes
        File of `.notes.Notes`.
    folder
        Empty folder in which the reader works.
    """

    reader: str
    engine: str
    seed: int
    seconds: float
    inputs: int
    keep: str
    notes: str
    folder: str

    def to_text(self) -> str:
        return json.dumps(asdict(self))


def work(task: Task) -> None:
    """Prepare the reader, check that its seeds are used, and try inputs until the time is over."""
    folder = Path(task.folder)
    for name in ("home", "tmp", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "FEATCACHE_HOME": str(folder / "home"),
        "FEATCACHE_OFFLINE": "1",
        "TMPDIR": str(folder / "tmp"),
        "JAX_PLATFORMS": "cpu",
    }
    tempfile.tempdir = None
    os.chdir(folder / "work")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    if task.engine == "atheris":
        import atheris

        # Never left: featcache imports most of itself only when it is needed.
        atheris.instrument_imports(include=["featcache"]).__enter__()
    warnings.simplefilter("ignore")
    from .trial import Trial

    trial = Trial.of(task.reader, folder, Notes(Path(task.notes)), Findings(Path(task.keep) / "findings"))
    if task.engine == "atheris":
        _led_by_coverage(trial, task)
    else:
        _at_random(trial, task)


def _at_random(trial: "Any", task: Task) -> None:
    """Change seeds, and inputs that ended where none had ended before."""
    chance, corpus, ends = random.Random(task.seed), list(trial.subject.seeds), set[str]()
    over = time.monotonic() + task.seconds
    while time.monotonic() < over and not 0 < task.inputs <= trial.notes.counts.tried:
        data = trial.changed(chance.choice(corpus), chance)
        verdict = trial.run(data)
        if verdict.outcome == "refused" and verdict.kind not in ends and len(corpus) < 1000:
            ends.add(verdict.kind)
            corpus.append(data)


def _led_by_coverage(trial: "Any", task: Task) -> None:
    import atheris

    corpus = Path(task.keep) / "corpus" / task.reader
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(trial.subject.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < _OWN:
            return trial.changed(data, chance)[:most]
        return atheris.Mutate(data, most)

    options = {
        "max_total_time": max(int(task.seconds), 1),
        "seed": task.seed % 2**31 or 1,
        "max_len": trial.subject.longest,
        "timeout": 86_400,  # `.driver` ends what hangs
        "rss_limit_mb": 0,
        "mutate_depth": 1,  # one change of ours is several already; five leave nothing that is still read
        "runs": task.inputs or -1,
        "artifact_prefix": f"{task.folder}/",
    }
    arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)]
    atheris.Setup(arguments, trial.run_quietly, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    work(Task(**json.loads(sys.argv[1])))
