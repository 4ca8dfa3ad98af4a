"""One reader being tried: inputs go in, verdicts come out, and findings are kept."""

import random
from dataclasses import dataclass
from pathlib import Path

from .findings import Findings
from .judging import Verdict, Watch, judge
from .mutators import changed_bytes
from .notes import Notes
from .reader import Subject
from .readers import reader_of

_OWN = 0.7
"""Share of changes by the reader's own mutator, where it has one."""


@dataclass
class Trial:
    """A reader, and where it is noted what it does.

    Parameters
    ----------
    name, subject
        The reader.
    watch
        Hears what it does.
    notes, findings
        Where that is noted.
    """

    name: str
    subject: Subject
    watch: Watch
    notes: Notes
    findings: Findings

    @classmethod
    def of(cls, name: str, folder: Path, notes: Notes, findings: Findings) -> "Trial":
        """Prepare a reader; raises where one of its seeds is not used, for then nothing would be tried."""
        (folder / "work").mkdir(parents=True, exist_ok=True)
        if (reader := reader_of(name)) is None:
            raise AssertionError(f"what reads {name} is not installed")
        subject = reader.prepare(folder / "work")
        # A process's first inputs import modules, which takes time and memory that no input is to blame for.
        for number, seed in enumerate(subject.seeds):
            if len(seed) > subject.longest:
                raise AssertionError(f"seed {number} of {name} is longer than what is tried")
            try:
                subject.use(seed)
            except Exception as error:
                raise AssertionError(f"seed {number} of {name} is not used: {error}") from error
        own = Findings(findings.folder / name)
        return cls(name, subject, Watch((str(folder), "/dev/null")), notes, own)

    def changed(self, data: bytes, chance: random.Random) -> bytes:
        """Return a changed input."""
        subject = self.subject
        if subject.mutate and chance.random() < _OWN:
            data = subject.mutate(data, chance)
            if chance.random() < 0.8:
                return data[: subject.longest]
        return changed_bytes(data, chance, subject.seeds, subject.words)[: subject.longest]

    def run(self, data: bytes) -> Verdict:
        """Try an input, and keep it where the reader did wrong."""
        self.notes.begin(data)
        verdict = judge(self.subject, data, self.watch)
        if verdict.outcome == "finding":
            self.findings.add(verdict.kind, data, verdict.detail)
        self.notes.end(verdict.outcome)
        return verdict

    def run_quietly(self, data: bytes) -> None:
        """As atheris calls it."""
        self.run(data)
