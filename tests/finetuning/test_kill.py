"""A real fine-tuning process, killed while it works: resumed, it ends with the numbers of one that was left alone."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_finetuning import tiny_photos
from helpers.warm_python import WarmPython, warm_python

PROGRAM = """
import sys
import numpy as np
from helpers.tiny_finetuning import registered, tiny_classifier, tiny_network
from pathlib import Path
from featcache import finetune
from featcache.cli.signals import stop_gently
from featcache.errors import Interrupted

photos, output, resume = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "resume"
classifier = tiny_classifier(tiny_network(), photos)
print("begun", flush=True)

def report(progress):
    print(progress.stage, progress.done, flush=True)

with registered(), stop_gently() as stop:
    try:
        done = finetune(
            classifier, photos, output=output, resume=resume, train_from="block_2", epochs=3, batch_size=4,
            learning_rate=1e-2, augment="flip,random-resized-crop", batch_norm="update", average=0.9, mixup=0.2,
            checkpoint_minutes=0, patience=9, on_progress=report, stop=stop,
        )
    except Interrupted as error:
        print("interrupted", error, flush=True)
        sys.exit(130)
arrays = {**done.classifier.network.tensors, **{f"head.{n}": v for n, v in done.classifier.parameters.items()}}
np.savez(output + ".npz", **arrays)
print("finished", done.best_epoch, [r["step"] for r in done.history], flush=True)
"""


# Each of these processes would import the same for seconds.
IMPORTS = """
import jax, numpy, optax
from flax import nnx
import helpers.tiny_finetuning
from featcache import finetune
import featcache.cli.signals, featcache.finetuning
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Iterator[WarmPython]:
    # Compiled code is kept between the processes: each would spend seconds on the same.
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        "FEATCACHE_HOME": str(tmp_path_factory.mktemp("home")),
        "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[1], Path(__file__).parents[2]))),
    }
    with warm_python(IMPORTS, environment) as python:
        yield python


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return tiny_photos(tmp_path_factory.mktemp("killed") / "photos")


def run(
    python: WarmPython,
    photos: Path,
    output: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    by: int = 0,
) -> tuple[int, str, str]:
    """Run to the end, or until so many batches were reported and a signal is sent; return code, last line, errors."""
    seen, last = 0, ""
    with python.start(PROGRAM, [photos, output, "resume" if resume else "anew"]) as child:
        for line in child.stdout:
            last = line.decode().strip()
            seen += last.startswith("epoch ")
            if stop_after is not None and seen > stop_after:
                child.send_signal(by)
                stop_after = None
        return child.wait(), last, child.errors()


def arrays(output: Path) -> dict[str, np.ndarray]:
    with np.load(f"{output}.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def whole(python, photos, tmp_path_factory) -> tuple[str, dict[str, np.ndarray]]:
    """The last line and the arrays of a run that was left alone."""
    output = tmp_path_factory.mktemp("whole") / "whole"
    code, last, errors = run(python, photos, output)
    assert code == 0, errors
    return last, arrays(output)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments_it_ends_with_the_same_numbers(python, photos, whole, tmp_path):
    last, expected = whole
    chance = random.Random(6)
    for number in range(4):
        output = tmp_path / f"killed-{number}"
        first = chance.randrange(2, 14)
        code, _, _ = run(python, photos, output, stop_after=first, by=signal.SIGKILL)
        assert code == -signal.SIGKILL
        code, _, _ = run(
            python, photos, output, resume=True, stop_after=chance.randrange(0, 3), by=signal.SIGKILL
        )
        assert code == -signal.SIGKILL
        code, ended, errors = run(python, photos, output, resume=True)
        assert code == 0, errors
        assert ended == last
        again = arrays(output)
        assert again.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(again[name], value, err_msg=f"{name}, killed after {first} batches")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sigterm_saves_first(python, photos, whole, tmp_path):
    output = tmp_path / "stopped"
    code, last, _ = run(python, photos, output, stop_after=3, by=signal.SIGTERM)
    assert code == 130
    assert last.startswith("interrupted stopped in epoch 1, after ")
    assert last.endswith("continue with --resume")
    code, _, errors = run(python, photos, output, resume=True)
    assert code == 0, errors
    for name, value in whole[1].items():
        np.testing.assert_array_equal(arrays(output)[name], value, err_msg=name)
