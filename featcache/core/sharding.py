"""Arrays on this machine's devices: parameters on each, batches shared out."""

from functools import cached_property
from typing import Any

import numpy as np


class DeviceMesh:
    """All local devices; with one of them, nothing is moved that JAX would not move by itself."""

    @cached_property
    def _shardings(self) -> tuple[Any, Any, int]:
        import jax
        from jax.sharding import Mesh, NamedSharding, PartitionSpec

        devices = jax.local_devices()
        mesh = Mesh(np.array(devices), ("batch",))
        return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch")), len(devices)

    @property
    def count(self) -> int:
        """How many there are."""
        return self._shardings[2]

    def replicated(self, tree: Any) -> Any:
        """Put arrays on every device."""
        import jax

        return jax.device_put(tree, self._shardings[0])

    def sharded(self, array: np.ndarray) -> Any:
        """Share out the batch axis ``[B, …]`` over the devices, padded to a multiple of them."""
        import jax

        missing = -len(array) % self.count
        if missing:
            # Padding weighs nothing where it is a weight, and its outputs are cut off.
            padding = np.zeros_like(array[:1]).repeat(missing, axis=0)
            array = np.concatenate([array, padding])
        return jax.device_put(array, self._shardings[1])
