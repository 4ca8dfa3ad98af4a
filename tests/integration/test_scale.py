"""The benchmark of a million rows runs, at fewer."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "scale.py"


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"files": False, "rows": 20_000}, {"files": True, "rows": 2_000}])
def test_every_part_is_measured(options, tmp_path, capfd):
    spec = importlib.util.spec_from_file_location("scale", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    scale = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scale)
    scale.table(tmp_path, scale.PARTS, options["rows"], 64, files=options["files"])
    title, *lines = capfd.readouterr().out.splitlines()
    assert title.startswith(f"{options['rows']:,} rows of 64 float16")
    assert [line.split()[0] for line in lines] == list(scale.PARTS)
    assert (tmp_path / "photo.h5").exists()
    assert (tmp_path / "renamed.h5").exists()
