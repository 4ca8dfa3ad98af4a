"""All experiments in processes of their own: one that fails stops no other."""

import subprocess
import sys
from pathlib import Path

import pytest
import run_all
import typer
from records import read_records

PIPELINES = Path(__file__).parents[2] / "pipelines"

FAILS = "import sys; print('about to fail'); sys.exit(3)"
WORKS = "import sys; print(' '.join(sys.argv[1:]))"


def test_one_that_fails_stops_no_other_and_its_last_lines_are_shown(tmp_path, monkeypatch, capfd):
    for name, text in {"bad.py": FAILS, "good.py": WORKS}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    monkeypatch.setattr(
        run_all, "SCRIPTS", {"bad": ("bad.py",), "gone": ("gone.py",), "good": ("good.py", "train")}
    )
    with pytest.raises(typer.Exit) as stopped:
        run_all.main(small=True, output=tmp_path / "runs")
    assert stopped.value.exit_code == 1
    said = capfd.readouterr().out
    assert "FAILED (3)" in said
    assert "    about to fail" in said
    assert "1 of 2 failed: bad" in said
    log = (tmp_path / "runs/good/log.txt").read_text()
    assert log.split() == ["train", "--output", str(tmp_path / "runs/good"), "--small"]


def test_a_name_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(typer.BadParameter, match=r"no script 'e12': expected some of e1, e2, e3"):
        run_all.chosen("e1, e12")


def test_every_script_of_an_experiment_is_run():
    listed = {script for script, *_ in run_all.SCRIPTS.values()}
    assert {path.name for path in PIPELINES.glob("e*_*.py")} <= listed


@pytest.mark.slow
def test_an_experiment_runs_as_a_reader_runs_it(tmp_path):
    command = [sys.executable, str(PIPELINES / "run_all.py"), "--small", "--only", "e2"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = read_records(tmp_path / "e2")
    assert record["small"]
    assert record["command"] == "python pipelines/e2_flowers.py --small"
    assert record["weights"] == {"mobilenet_v2.random": "random"}
    assert record["seeds"] == [0, 1]
    named = {each["what"]: each for each in record["comparisons"]}
    assert named["validation accuracy after the last epoch"]["published"] == 0.9
    assert {f"validation accuracy by scikit-learn's {name}" for name in ("Adam", "LogisticRegression")} < {
        *named
    }
    splits = record["result"]["splits"]
    assert len({len(split["val_accuracy_by_epoch"]) for split in splits} | {6}) == 1
