"""Arrays on the devices that are used: parameters replicated, batches and heads sharded."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from featcache.core.devices.choice import used_devices

AXIS = "devices"
"""The name of a mesh's only axis."""


class DeviceMesh:
    """A mesh of the devices that are used, with one axis.

    Parameters
    ----------
    most
        Devices at most: more than there are things to share out would be idle.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most

    @cached_property
    def mesh(self) -> Any:
        """JAX's own mesh."""
        from jax.sharding import Mesh

        return Mesh(np.array(used_devices()[: self._most]), (AXIS,))

    @property
    def count(self) -> int:
        """Number of devices."""
        return self.mesh.size

    def replicate(self, tree: Any) -> Any:
        """Copy a tree of arrays to every device."""
        import jax
        from jax.sharding import NamedSharding, PartitionSpec

        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def shard(self, array: np.ndarray) -> Any:
        """Shard an array ``[B, …]`` over the devices by its first axis, padded to a multiple of their number."""
        import jax
        from jax.sharding import NamedSharding, PartitionSpec

        missing = -len(array) % self.count
        if missing:
            # Whoever takes the array cuts the padding off: its outputs, or the rows themselves before they are used.
            padding = np.zeros_like(array[:1]).repeat(missing, axis=0)
            array = np.concatenate([array, padding])
        return jax.device_put(array, NamedSharding(self.mesh, PartitionSpec(AXIS)))


def divided(
    function: Callable[..., Any],
    mesh: Any,
    inputs: tuple[Any, ...],
    outputs: Any,
    *,
    static: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Return a compiled function that each device of a mesh computes on its own part of the arrays.

    Parameters
    ----------
    function
        Of the part that one device has. It may use ``jax.lax``'s collectives over `AXIS`.
    mesh
        A `DeviceMesh.mesh`.
    inputs, outputs
        The ``PartitionSpec`` of each argument that is not static, and of the result; or trees of them.
    static
        Numbers of the arguments that are compiled into the program.
    """
    import jax
    from jax.sharding import NamedSharding

    def whole(*arguments: Any) -> Any:
        arrays = [each for number, each in enumerate(arguments) if number not in static]

        def own(*parts: Any) -> Any:
            left = iter(parts)
            return function(
                *(each if number in static else next(left) for number, each in enumerate(arguments))
            )

        # Not checked: whether what is called equal on all devices is, because they loop as often as each needs.
        mapped = jax.shard_map(own, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)
        return mapped(*arrays)

    # Named, so that an array of the host and one that lies so already are one program.
    placed = jax.tree.map(lambda spec: NamedSharding(mesh, spec), inputs)
    return jax.jit(whole, static_argnums=static, in_shardings=placed)
