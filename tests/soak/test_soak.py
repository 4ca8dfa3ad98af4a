"""The soak as a test, a moment of it with the slow suites, and proof that it finds what is broken on purpose."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from soak.mutants import MUTANTS

ROOT = Path(__file__).parents[2]

FINDS = {
    "no checksums": "flips",
    "replaced before it is synced": "cut power",
}
"""Mutants that the slow suite tries, and what finds them; ``python -m tests.soak --mutant`` has others."""


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
    only = ["change photos", "kill", "cut power", "fill disk", "flips", "damage unfinished"]
    ended = run("--seed", "6", "--worlds", "1", "--steps", "20", "--minutes", "4", "--only", *only)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    done = counts(ended.stdout)
    assert done["faults"] == 0
    assert done["operations"] == 20
    for what in ("kills", "power cuts", "bits flipped in caches", "caches read whole", "promises checked"):
        assert done[what] > 0, what


@pytest.mark.slow
@pytest.mark.parametrize("mutant", FINDS)
def test_what_is_broken_is_found(mutant):
    assert mutant in MUTANTS
    only = FINDS[mutant]
    ended = run(
        "--seed", "70", "--worlds", "2", "--minutes", "4", "--faults", "1", "--mutant", mutant, "--only", only
    )
    assert ended.returncode == 1, ended.stderr
    assert re.search(rf"^  \d+ {only}: Fault: ", ended.stdout, re.MULTILINE), ended.stdout
