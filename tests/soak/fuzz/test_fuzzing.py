"""The fuzzer finds what it is for, and every reader's seeds and first changed inputs pass; hours of it are `soak`."""

import os
import random
import warnings
from pathlib import Path

import pytest

from .driver import Session
from .findings import Findings
from .notes import Counts, Notes
from .readers import NAMES
from .readers.faulty import FAULTS
from .trial import Trial

KINDS = {
    "raises": "ValueError at",
    "recurses": "RecursionError at",
    "aborts": r"crash (-6)",
    "hangs": "hang",
    "starts": "not allowed: started ['true']",
    "writes": "not allowed: open outside: /dev/shm/featcache-fuzz-outside",
    "removes": "not allowed: os.remove outside: /dev/shm/featcache-fuzz-outside",
    "grows": "large",
    "leaves": "left open",
}


ENDS = ("aborts", "hangs")
"""Faults that a process does not survive."""


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in (*ENDS, "grows")])
def test_faults_are_found(fault, tmp_path):
    trial = Trial.of(fault, tmp_path, Notes(tmp_path / "notes"), Findings(tmp_path / "findings"))
    assert trial.run(b"valid").outcome == "used"
    assert trial.run(b"odd").outcome == "refused"
    trial.run(b"wrong!")
    trial.run(b"four")
    kinds = Findings(tmp_path / "findings" / fault).kinds()
    counts = trial.notes.counts
    trial.notes.close()
    if fault == "no-fault":
        assert (kinds, counts.used) == ([], 3)
        return
    (kind,) = kinds
    assert kind.startswith(KINDS[fault])
    (found,) = (tmp_path / "findings" / fault).glob("*.bin")
    assert found.read_bytes() == b"four"  # the shortest
    assert counts == Counts(tried=4, used=1, refused=1, findings=2)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ENDS)
def test_what_ends_a_process_is_kept_and_another_process_goes_on(fault, tmp_path):
    session = Session(fault, "random", seed=1, seconds=60.0, inputs=4, keep=tmp_path, hangs=1.0).run()
    assert session.failure == ""
    assert session.counts.tried >= 4
    assert session.crashes >= 1
    assert Findings(tmp_path / "findings" / fault).kinds() == [KINDS[fault]]
    (found,) = (tmp_path / "findings" / fault).glob("*.bin")
    assert len(found.read_bytes()) % 2 == 0


@pytest.mark.slow
def test_memory_that_grows_is_found(tmp_path):
    """In a process of its own: this one holds memory that tests before have freed, and would not grow."""
    session = Session("grows", "random", seed=1, seconds=60.0, inputs=4, keep=tmp_path).run()
    assert (session.failure, session.crashes) == ("", 0)
    assert [
        kind for kind in Findings(tmp_path / "findings" / "grows").kinds() if kind.startswith(KINDS["grows"])
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_first_inputs_of_every_reader(name, tmp_path, monkeypatch):
    from .readers import reader_of

    if (reader := reader_of(name)) is None:
        pytest.skip(f"what reads {name} is not installed")
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    _as_in_a_process_of_its_own(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial = Trial.of(name, tmp_path, Notes(tmp_path / "notes"), Findings(tmp_path / "findings"))
        chance = random.Random(1)
        for seed in trial.subject.seeds[:1]:
            assert (verdict := trial.run(seed)).outcome == "used", f"{verdict.kind}: {verdict.detail}"
        for _ in range(1 if reader.slow else 10):
            verdict = trial.run(trial.changed(chance.choice(trial.subject.seeds), chance))
            assert verdict.outcome in ("used", "refused"), f"{verdict.kind}: {verdict.detail}"
    trial.notes.close()


def _as_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers set what they need for good; here it is put back."""
    from featcache.backbones import load_from_classifier
    from featcache.datasets import file_state
    from featcache.images import decoding

    monkeypatch.setattr(decoding, "MAX_PIXELS", decoding.MAX_PIXELS)
    monkeypatch.setattr(file_state, "_TICK_NS", file_state._TICK_NS)
    monkeypatch.setattr(load_from_classifier, "load_recorded", load_from_classifier.load_recorded)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", NAMES)
def test_readers_for_minutes(name, tmp_path):
    """``FEATCACHE_FUZZ_MINUTES`` says how many each takes; ``python -m tests.soak.fuzz`` shows more."""
    seconds = 60 * float(os.environ.get("FEATCACHE_FUZZ_MINUTES", "1"))
    keep = Path(os.environ.get("FEATCACHE_FUZZ_KEEP", tmp_path))
    session = Session(name, "random", seed=1, seconds=seconds, inputs=0, keep=keep).run()
    assert session.failure == ""
    assert session.counts.findings == 0, session.line()
