"""Two studies as a user runs them, on the stand-in of ``--small``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from records import read_records

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compare_protocols", "few_shot"])
def test_a_study_runs_on_the_stand_in_and_leaves_a_record_with_its_figure(tmp_path, name):
    command = [sys.executable, str(PIPELINES / f"{name}.py"), "--small", "--output", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "KERAS_BACKEND": "jax"}
    )
    assert done.returncode == 0, done.stderr
    (record,) = read_records(tmp_path)
    assert record["name"] == name
    assert record["small"]
    assert record["comparisons"]
    (figure,) = record["figures"]
    assert (tmp_path / figure).read_text().lstrip().startswith("<?xml")
    assert (tmp_path / figure).stat().st_size < 100_000
    if name == "compare_protocols":  # both ways have the same network: Keras' own, and ours with its weights
        features = record["result"]["features"]
        assert features["largest_difference"] < 1e-4 * features["largest_feature"]
        assert features["largest_feature"] > 0
