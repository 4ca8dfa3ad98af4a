"""The soak as a test, a moment of it with the slow suites, and proof that it finds what is broken on purpose."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from soak.mutants import MUTANTS

ROOT = Path(__file__).parents[2]

NEEDED = {
    "no checksums": "flips",
    "no fsync": "cut power",
    "no lock": "two writers",
    "files by size and time": "finish",
}
"""Of each mutant that the slow suite tries, the operation that finds it; `python -m tests.soak --mutant` tries others."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the soak in a process of its own: what is broken there stays so until its end."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.soak", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def counts(said: str) -> dict[str, int]:
    found = re.findall(r"^ *([\d,]+)  (.+)$", said, re.MULTILINE)
    return {what: int(count.replace(",", "")) for count, what in found}


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_hours_of_random_work(request):
    minutes, seed = (request.config.getoption(f"--soak-{name}") for name in ("minutes", "seed"))
    ended = run("--minutes", str(minutes), *(["--seed", str(seed)] if seed is not None else []))
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    done = counts(ended.stdout)
    assert done["faults"] == 0
    assert done["power cuts"] > 0


@pytest.mark.slow
def test_a_moment_of_it():
    ended = run("--seed", "SEED", "--worlds", "1", "--minutes", "5")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    done = counts(ended.stdout)
    assert done["faults"] == 0
    assert done["operations"] == 40
    for what in ("kills", "power cuts", "bits flipped in caches", "caches read whole", "promises checked"):
        assert done[what] > 0, what


@pytest.mark.slow
@pytest.mark.parametrize("mutant", NEEDED)
def test_what_is_broken_is_found(mutant):
    assert mutant in MUTANTS
    ended = run("--seed", "SEED", "--mutant", mutant, "--worlds", "5", "--minutes", "5", "--faults", "1")
    assert ended.returncode == 1, ended.stderr
    fault = re.search(r"FAULT with seed \d+:\n(.*\n)*?  \d+ (?P<operation>[a-z ]+): Fault: ", ended.stdout)
    assert fault is not None, ended.stdout
    assert fault["operation"] == NEEDED[mutant]
