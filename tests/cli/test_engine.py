"""--engine: what ran the network is told by every command, and refused where no network runs."""

import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

LABEL = f"onnxruntime {onnxruntime.__version__}"
EXTRACT = ("extract", "photos", "--layer", "block2b:avg", "--engine", "onnxruntime", "--output", "a.h5")


@pytest.fixture
def photos(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo_folder(tmp_path / "photos", {"cat": 3, "dog": 3})


@pytest.mark.usefixtures("small_backbone", "photos")
def test_the_engine_is_told(cli):
    planned = cli(*EXTRACT, "--dry-run")
    assert f"; {LABEL}" in planned.out, planned.err
    assert cli(*EXTRACT, "--dry-run", "--json").result["engine"] == LABEL
    done = cli(*EXTRACT)
    assert f" %), {LABEL}\n" in done.out, done.err
    assert f"computed in float32, {LABEL}, " in cli("cache", "info", "a.h5").out
    again = cli(*EXTRACT, "--json").result
    assert (again["computed"], again["engine"]) == (0, "")


@pytest.mark.parametrize(
    "command", [("evaluate", "head"), ("evaluate", "head", "a.h5"), ("predict", "head", "a.h5")]
)
def test_where_a_cache_is_read_there_is_no_engine(cli, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    x, labels = blobs(60)
    feature_cache(tmp_path / "a.h5", x, labels, ["train"] * 40 + ["test"] * 20)
    cli("train-head", "a.h5", "--epochs", "1", "--output", "head")
    ran = cli(*command, "--engine", "onnxruntime")
    assert ran.code == 2
    assert "--engine onnxruntime: " in ran.err
    assert "holds features, and no network runs; leave it out, or give photos" in ran.err
    assert cli(*command).code == 0


def test_an_engine_that_does_not_exist(cli):
    ran = cli("extract", "photos", "--engine", "gpu")
    assert ran.code == 2
    assert "no engine 'gpu'; known: auto, jax, onnxruntime" in ran.err


def test_doctor_names_the_engine(cli):
    assert f"{LABEL} for 256 photos or more, jax for fewer" in cli("doctor").out
