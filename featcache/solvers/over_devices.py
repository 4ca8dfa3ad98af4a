"""The programs that fit K heads, with the heads shared out over several devices.

Heads read the same rows and have nothing else in common, so each device runs the program of one device on its own
K / devices heads, and to its own last epoch: nothing passes between devices while it runs. Rows are on all of them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from jax import lax
from jax.sharding import Mesh, PartitionSpec

from featcache.core.devices.sharding import AXIS, divided
from featcache.solvers.train_loop import Carry, EpochHistory, TrainedHeads, run_heads
from featcache.solvers.train_step import HeadsProgram, TrainRows

# Trees of these stand where arrays do, which their types do not say.
HEADS: Any
ALL: Any
HEADS, ALL = PartitionSpec(AXIS), PartitionSpec()
"""The first axis is that of the heads, and shared out; or every device has all of it."""

_LATER: Any = PartitionSpec(None, AXIS)
_HISTORY: Any = EpochHistory(_LATER, _LATER, _LATER)
CARRY: Any = Carry(ALL, HEADS, HEADS, HEADS, HEADS, HEADS, _HISTORY)
TRAINED: Any = TrainedHeads(HEADS, HEADS, ALL, _HISTORY)
JUDGED_ROWS: Any = TrainRows(ALL, ALL, HEADS)


def trained_rows(shared: bool) -> Any:
    """Return how training rows are placed: heads that share their rows have one weight for each row, ``[1, N]``."""
    return TrainRows(ALL, ALL, ALL if shared else HEADS)


def scalings(shared: bool) -> PartitionSpec:
    """Return how standardisations are placed: one ``[D]`` where the heads share their rows, else ``[K, D]``."""
    return ALL if shared else HEADS


@cache
def divided_run(mesh: Mesh, *, shared: bool) -> Callable[..., TrainedHeads]:
    """Return `featcache.solvers.train_loop.run_program`'s function for K heads, a multiple of the mesh's devices."""

    def run(program: HeadsProgram, *arrays: Any) -> TrainedHeads:
        trained = run_heads(program, *arrays)
        return trained._replace(epochs_run=lax.pmax(trained.epochs_run, AXIS))

    inputs = (HEADS, trained_rows(shared), JUDGED_ROWS, ALL)
    return divided(run, mesh, inputs, TRAINED, static=(0,))
