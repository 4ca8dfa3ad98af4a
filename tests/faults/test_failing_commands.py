"""Any system call that a command makes to change something fails, or is its last: what lies there is old or new.

Every command of `helpers.failing_scenarios` runs in a process of its own. Its n-th call fails: with EIO, ENOSPC, EROFS
or EINTR, once or from then on, by writing only a half, or with SIGKILL. What then has its final name is right,
an error is one line with a path and a remedy, no signal but ours ends the process, and the same command with a healthy
disk ends right and leaves nothing else behind.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers.failing_scenarios import SCENARIOS
from helpers.recording import preloaded

POINTS = os.environ.get("FEATCACHE_TEST_FAILING_CALLS", "")
"""Pairs of a call and a way to fail, of each command in the slow test; or ``all``."""

PROGRAM = "from helpers.failing_commands import main; main()"

FORKED = {
    "JAX_PLATFORMS": "cpu",
    # What is compiled runs in a forked child if it needs no thread of XLA's.
    "XLA_FLAGS": "--xla_cpu_enable_concurrency_optimized_scheduler=false --xla_cpu_multi_thread_eigen=false",
    "PYTHONWARNINGS": "ignore,default::RuntimeWarning",  # ours are of that kind
}


def reports(folder: Path, *, points: int | None) -> list[dict[str, Any]]:
    """Let some calls of commands fail; return how many were tried of each command, and what was wrong."""
    asked = {"scenarios": None, "faults": None, "points": points, "seed": 0}
    inputs, work, scratch = (str(folder / name) for name in ("inputs", "work", "scratch"))
    output = preloaded(
        PROGRAM,
        [inputs, work, scratch, json.dumps(asked)],
        under=folder / "work",
        scratch=folder,
        shim="failing_calls",
        **FORKED,
    )
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def require_nothing_wrong(found: list[dict[str, Any]], scenarios: list[str]) -> None:
    assert [report["scenario"] for report in found] == scenarios
    for report in found:
        assert not report["wrong"], (report["scenario"], report["wrong"])
        assert report["tried"]


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_calls_of_each_command(tmp_path):
    points = None if POINTS == "all" else int(POINTS or 6)
    require_nothing_wrong(reports(tmp_path, points=points), list(SCENARIOS))
