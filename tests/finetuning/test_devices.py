"""Batches shared out over several devices train like batches on one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_finetuning import tiny_photos

PROGRAM = """
import sys
import jax
import numpy as np
from helpers.tiny_finetuning import tiny_classifier, tiny_network
from pathlib import Path
from featcache import finetune

assert jax.local_device_count() == int(sys.argv[3])
classifier = tiny_classifier(tiny_network(), Path(sys.argv[1]))
done = finetune(
    classifier, sys.argv[1], output=None, train_from="block_2", epochs=2, batch_size=5, learning_rate=1e-2,
    optimizer="sgd", augment="none", batch_norm="frozen", patience=9,
)
np.savez(sys.argv[2], **done.classifier.network.tensors)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_devices_train_like_one(tmp_path):
    photos = tiny_photos(tmp_path / "photos")
    results = []
    for devices in (1, 2):
        target = tmp_path / f"{devices}.npz"
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        command = [sys.executable, "-c", PROGRAM, str(photos), str(target), str(devices)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stderr
        with np.load(target) as stored:
            results.append(dict(stored))
    one, two = results
    for name, value in one.items():
        # A batch of 5 is padded to 6 with a row that weighs nothing; sums are taken in another order.
        np.testing.assert_allclose(two[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
