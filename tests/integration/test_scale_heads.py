"""`benchmarks/scale_heads.py` at 20,000 rows: every command ends well and finds what was made."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_the_commands_after_an_extraction_run_on_20_000_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scale_heads

    monkeypatch.delitem(sys.modules, "scale_heads")
    parts = ["train-head", "evaluate", "similar", "audit-copies", "suggest"]
    ran = scale_heads.measure(tmp_path, rows=20_000, width=64, parts=parts, limit=300, quiet=True)
    assert [(own.name, own.ended) for own in ran] == [(name, "") for name in parts]
    assert all(own.peak > 50 for own in ran)  # MiB: those of the child that ran, not of a shell
    told = (tmp_path / "audit-copies.log").read_text()
    _, (_, near, same) = scale_heads.made_rows(20_000)
    # A copy of a copy is in its cluster.
    clusters = int((np.diff(np.flatnonzero(near | same), prepend=-2) > 1).sum())
    assert f"{clusters} photos are there more than once" in told
