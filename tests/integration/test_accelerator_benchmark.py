"""The benchmark of a device runs from end to end, stops in time, and says what it left out."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from helpers import near_network
from helpers.fake_network import TRANSFORMS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def parts(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("accelerator_parts")


@pytest.fixture
def benchmark(parts) -> ModuleType:
    return importlib.import_module("accelerator")


def bare(largest: int) -> SimpleNamespace:
    """A network that a device has memory for up to a batch of `largest`."""

    def features(state, images):
        if len(images) > largest:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2.00GiB.")
        return images.reshape(len(images), -1) * state

    return SimpleNamespace(
        transforms=TRANSFORMS,
        state=np.float32(1),
        layers=list,
        uncompiled=lambda layers, compute_dtype: features,
    )


def test_files_are_no_two_the_same_and_decode_to_photos(parts, tmp_path):
    from PIL import Image

    folder = parts.Photos(tmp_path).folder_of(parts.TEXTURES + 1)
    files = sorted(Path(folder).rglob("*.jpg"))
    assert len({file.read_bytes() for file in files}) == parts.TEXTURES + 1
    first, again = (Path(folder) / name for name in ("a/000000.jpg", f"a/{parts.TEXTURES:06}.jpg"))
    np.testing.assert_array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(again)))
    assert Image.open(first).size == parts.SIZE


def test_decoded_pictures_are_different_ones(parts):
    pictures = parts.decoded(5, TRANSFORMS)
    assert {picture.shape for picture in pictures} == {(8, 8, 3)}
    assert len({picture.tobytes() for picture in pictures}) == 5


def test_batches_without_memory_are_left_out(parts, monkeypatch):
    monkeypatch.setattr(parts, "BATCHES", {"cpu": (8, 16, 4)})
    found = parts.own_rate(bare(4), "float32", parts.Budget(2), quick=False)
    # 16 is not tried after 8 did not fit.
    assert (found["batch"], list(found["batches"])) == (4, ["4"])
    assert found["note"] == "no memory for batches of 8"
    with pytest.raises(parts.LeftOutError, match="no memory for batches of 8; no memory for batches of 4"):
        parts.own_rate(bare(2), "float32", parts.Budget(2), quick=False)


def test_other_errors_of_the_device_are_not_hidden(parts):
    def features(state, images):
        raise RuntimeError("INTERNAL: the device is gone")

    network = bare(4)
    network.uncompiled = lambda layers, compute_dtype: features
    with pytest.raises(RuntimeError, match="the device is gone"):
        parts.own_rate(network, "float32", parts.Budget(2), quick=True)


@pytest.mark.slow
def test_everything_is_measured(benchmark, monkeypatch, tmp_path, capsys):
    file = tmp_path / "figures.json"
    monkeypatch.setattr(
        sys, "argv", ["accelerator.py", "--quick", "--networks", "near.torch", "--json", str(file)]
    )
    with near_network.registered():
        benchmark.main()
    printed, report = capsys.readouterr().out, json.loads(file.read_text())
    assert report["left_out"] == []
    (found,) = report["networks"]
    for part in ("own float32", "own bfloat16", "JPEG float32", "arrays float32"):
        assert found[part]["images_per_s"] > 0, part
    assert sum(found["JPEG float32"]["shares"].values()) == pytest.approx(1)
    assert found["fine-tuning"]["ratio"] > 0
    assert "| near.torch | float32 |" in printed
    assert "heads/s, the matrix products alone" in printed


def test_without_time_everything_is_named(benchmark):
    with near_network.registered():
        found = benchmark.measure("near.torch", None, benchmark.Budget(-1), quick=True)
    named = " ".join(found["left_out"])
    for part in ("own float32", "JPEG float32", "arrays float32", "own bfloat16", "fine-tuning"):
        assert part in named
    assert "(no time)" in named
