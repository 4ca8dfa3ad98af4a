"""Arrays on this machine's devices: parameters replicated, batches sharded."""

from functools import cached_property
from typing import Any

import numpy as np


class DeviceMesh:
    """A mesh of all local devices with one axis, ``batch``."""

    @cached_property
    def _shardings(self) -> tuple[Any, Any, int]:
        import jax
        from jax.sharding import Mesh, NamedSharding, PartitionSpec

        devices = jax.local_devices()
        mesh = Mesh(np.array(devices), ("batch",))
        return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch")), len(devices)

    @property
    def count(self) -> int:
        """Number of devices."""
        return self._shardings[2]

    def replicate(self, tree: Any) -> Any:
        """Copy a tree of arrays to every device."""
        import jax

        return jax.device_put(tree, self._shardings[0])

    def shard(self, array: np.ndarray) -> Any:
        """Shard an array ``[B, …]`` over the devices by its batch axis, padded to a multiple of their number."""
        import jax

        missing = -len(array) % self.count
        if missing:
            # Padded weights are 0, so that padded rows do not count; their outputs are cut off by the caller.
            padding = np.zeros_like(array[:1]).repeat(missing, axis=0)
            array = np.concatenate([array, padding])
        return jax.device_put(array, self._shardings[1])
