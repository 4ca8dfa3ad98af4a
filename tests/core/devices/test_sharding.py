"""Arrays on several devices: which of them hold what, and that products are those of one device."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import jax
import numpy as np
from featcache.core.devices.sharding import DeviceMesh

devices = DeviceMesh()
count = int(sys.argv[1])
assert devices.count == count == jax.local_device_count()
weights = devices.replicate({"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)})["kernel"]
assert len(weights.addressable_shards) == count
assert all(np.array_equal(shard.data, weights) for shard in weights.addressable_shards)
for rows in (1, 2, 5, 6):
    batch = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2) + 1
    shared = devices.shard(batch)
    assert len(shared) == -(-rows // count) * count
    assert {len(shard.data) for shard in shared.addressable_shards} == {len(shared) // count}
    outputs = np.asarray(jax.jit(lambda w, x: x @ w)(weights, shared))
    np.testing.assert_array_equal(outputs[:rows], batch @ np.asarray(weights))
    assert not outputs[rows:].any(), "padding weighs nothing"
"""


@pytest.mark.parametrize("devices", [1, 3])
def test_parameters_are_on_every_device_and_rows_on_one(devices):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-c", PROGRAM, str(devices)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
