"""`featcache.solvers.train_loop.fit` for features that do not fit in memory: the same steps, read block by block.

The rows of some steps are read by a thread while the program takes the steps before. Standardisation is learnt
in a pass before. Results are those of `fit`, up to the rounding of sums in another order.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from featcache.core.devices.sharding import DeviceMesh, divided
from featcache.core.freed_memory import return_freed_memory
from featcache.core.jit_options import cpu_options
from featcache.heads.feature_table import FeatureTable, blocks
from featcache.heads.model import Scaling
from featcache.heads.scaling import divisors
from featcache.solvers.epoch_progress import OnEpoch, Pace
from featcache.solvers.optimizers import Array, Hyperparameters
from featcache.solvers.over_devices import (
    ALL,
    CARRY,
    HEADS,
    JUDGED_ROWS,
    TRAINED,
    scalings,
    trained_rows,
)
from featcache.solvers.train_loop import Carry, TrainedHeads, batch_order, end_epoch, finalize, init_carry
from featcache.solvers.train_step import (
    HeadsProgram,
    TrainProgress,
    TrainRows,
    evaluate,
    finite_rows,
    mean_loss,
    train_steps,
)

BLOCK_BYTES = 1 << 26
"""Features of a block at most, 64 MiB: rows are read one by one anyway, and getting memory for blocks of 256 MiB took
as long as all else that is done to their rows, and three times the memory."""

_CENTRE_ROWS = 1024
"""Rows around whose mean the moments of all are taken."""


class StreamedRows(NamedTuple):
    """Rows whose features are read block by block: `y` ``[N]``, `weight` ``[K, N]``.

    Beside the features, as `featcache.solvers.train_step.TrainRows`. The table has `views` rows for each of the N
    images, see `featcache.heads.feature_table.FeatureRows`.
    """

    table: FeatureTable
    y: np.ndarray
    weight: np.ndarray
    views: int = 1

    def rows(self, numbers: np.ndarray) -> TrainRows:
        """Read some rows of the table."""
        images = numbers // self.views
        x, weight = finite_rows(self.table.take(numbers), self.weight[:, images])
        return TrainRows(x, self.y[images], weight)


def fit_streamed(
    program: HeadsProgram,
    hyper: Hyperparameters,
    train: StreamedRows,
    val: StreamedRows,
    *,
    memory: int,
    devices: DeviceMesh | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainedHeads:
    """Fit K heads to features that are read in blocks.

    Parameters
    ----------
    program, hyper
        As for `featcache.solvers.train_loop.fit`.
    train, val
        As there, with tables in the place of arrays.
    memory
        Bytes of features in memory at a time: two blocks, one in use and one being read, and a copy of each. Blocks are
        no larger than `BLOCK_BYTES`.
    devices
        What the heads are shared out over, whose number divides K; each block is read once for all of them. By
        default one.
    on_epoch
        Called after each block with how far it is.

    Returns
    -------
    TrainedHeads
        As `featcache.solvers.train_loop.fit` gives it.
    """
    seed = int(hyper.seed[0])
    width = train.table.shape[1]
    order = batch_order(
        len(train.y), batch_size=program.batch_size, epochs=program.epochs, seed=seed, views=train.views
    )
    run, place = _programs(), None
    if devices is not None and devices.count > 1:
        run = _divided_programs(devices.mesh, shared=program.shared)
        place = devices.replicate if program.shared else devices.shard
    block = block_bytes(memory)
    scaling = _scaling(program, train, block)
    scaling = scaling if place is None else jax.tree.map(place, scaling)
    steps = order.shape[1]
    some = max(1, min(steps, block // (4 * width * order.shape[2])))
    carry = run["init_carry"](program, hyper, width)
    pace = _pace(program, hyper, train, val, steps, on_epoch)
    for epoch in range(program.epochs):
        carry = _epoch(run, program, hyper, carry, scaling, train, order[epoch % len(order)], some, pace)
        carry = _validate_epoch(run, program, hyper, carry, scaling, val, block)
        pace.end_epoch()
        if bool(np.all(carry.stopped)):
            break
    return run["finalize"](program, carry, scaling)


def block_bytes(memory: int) -> int:
    """Return the bytes of a block where features may take `memory`: two of them, and a copy of each."""
    return min(memory // 4, BLOCK_BYTES)


def _pace(
    program: HeadsProgram,
    hyper: Hyperparameters,
    train: StreamedRows,
    val: StreamedRows,
    steps: int,
    on_epoch: OnEpoch | None,
) -> Pace:
    most = int(min(program.epochs, np.max(hyper.last_epoch)))
    least = int(min(most, 1 + np.max(hyper.patience))) if len(val.y) else most
    heads, rows = len(hyper.seed), len(train.y)
    return Pace(heads=heads, rows=rows, steps=steps, most=most, least=least, on_epoch=on_epoch)


class _UnvalidatedEpoch(NamedTuple):
    """The state after an epoch's steps, before its validation."""

    carry: Carry
    losses: Array
    weights: Array


@cache
def _programs() -> dict[str, Callable[..., Any]]:
    """Return the jitted functions; each is compiled once for a program and shapes."""
    options = cpu_options(xla_cpu_use_fusion_emitters=False)
    static = partial(jax.jit, compiler_options=options)
    return {
        "init_carry": static(init_carry, static_argnums=(0, 2)),
        "steps": static(_steps, static_argnums=(0, 1)),
        "evaluate": static(evaluate, static_argnums=0),
        "end_epoch": static(_end_epoch, static_argnums=0),
        "finalize": static(finalize, static_argnums=0),
        "moments": static(_moments),
    }


@cache
def _divided_programs(mesh: Mesh, *, shared: bool) -> dict[str, Callable[..., Any]]:
    """Return the functions of `_programs` with the heads shared out over devices."""
    train, scaling, half = trained_rows(shared), scalings(shared), _UnvalidatedEpoch(CARRY, HEADS, HEADS)
    judged = (HEADS, HEADS, HEADS)
    return {
        "init_carry": divided(init_carry, mesh, (HEADS,), CARRY, static=(0, 2)),
        "steps": divided(_steps, mesh, (HEADS, train, scaling, ALL, ALL, half), half, static=(0, 1)),
        "evaluate": divided(evaluate, mesh, (HEADS, scaling, JUDGED_ROWS), judged, static=(0,)),
        "end_epoch": divided(_end_epoch, mesh, (HEADS, half, judged), CARRY, static=(0,)),
        "finalize": divided(finalize, mesh, (CARRY, scaling), TRAINED, static=(0,)),
    }


def _steps(
    program: HeadsProgram,
    steps_per_epoch: int,
    hyper: Hyperparameters,
    rows: TrainRows,
    scaling: Scaling,
    batches: jax.Array,
    done: jax.Array,
    half: _UnvalidatedEpoch,
) -> _UnvalidatedEpoch:
    learners, losses, weights = train_steps(
        program, hyper, rows, scaling, batches, TrainProgress(done, steps_per_epoch), half.carry.learners
    )
    return _UnvalidatedEpoch(
        half.carry._replace(learners=learners), half.losses + losses, half.weights + weights
    )


def _end_epoch(
    program: HeadsProgram,
    hyper: Hyperparameters,
    half: _UnvalidatedEpoch,
    judged: tuple[jax.Array, jax.Array, jax.Array],
) -> Carry:
    loss = mean_loss(half.losses, half.weights)
    return end_epoch(program, hyper, half.carry, half.carry.learners, loss, judged)


def _epoch(
    run: dict[str, Callable[..., Any]],
    program: HeadsProgram,
    hyper: Hyperparameters,
    carry: Carry,
    scaling: Scaling,
    train: StreamedRows,
    order: np.ndarray,
    some: int,
    pace: Pace,
) -> _UnvalidatedEpoch:
    """Take all steps of an epoch, `some` of them at a time."""
    steps = len(order)
    zero = np.zeros(len(hyper.seed), np.float32)
    half = _UnvalidatedEpoch(carry, zero, zero)
    # The last block is filled up with steps without rows, which would count as steps: it has a shape of its own.
    parts = [order[start : start + some] for start in range(0, steps, some)]
    # -1 stays, and reads some row that does not count. In ascending order, so that no second copy in the order of the
    # steps is made: they find a row by its place in the block.
    wanted = [np.sort(np.maximum(part, 0), axis=None) for part in parts]
    done, blocks_left = int(carry.epoch) * steps, iter(zip(parts, wanted, strict=True))
    for rows in _read_ahead(train.rows, iter(wanted)):
        part, numbers = next(blocks_left)
        local = np.where(part >= 0, np.searchsorted(numbers, part), -1).astype(np.int32)
        half = run["steps"](program, steps, hyper, rows, scaling, local, np.int32(done), half)
        del rows
        jax.block_until_ready(half.losses)  # else blocks pile up before a program that is slower than reading
        done += len(part)
        pace.block(len(part))
    return half


def _validate_epoch(
    run: dict[str, Callable[..., Any]],
    program: HeadsProgram,
    hyper: Hyperparameters,
    half: _UnvalidatedEpoch,
    scaling: Scaling,
    val: StreamedRows,
    nbytes: int,
) -> Carry:
    """Evaluate all validation rows, a block at a time, and end the epoch."""
    zero = np.zeros(len(hyper.seed), np.float32)
    sums = (zero, zero, zero)
    numbers = (np.arange(part.start, part.stop) for part in blocks(*val.table.shape, nbytes))
    for rows in _read_ahead(val.rows, numbers):
        part = jax.block_until_ready(run["evaluate"](program, half.carry.learners.parameters, scaling, rows))
        del rows
        sums = tuple(a + b for a, b in zip(sums, part, strict=True))
    return run["end_epoch"](program, hyper, half, sums)


def _read_ahead(read: Callable[[np.ndarray], TrainRows], wanted: Iterator[np.ndarray]) -> Iterator[TrainRows]:
    """Yield blocks of rows; a thread reads one block ahead, and no block is kept here once it was yielded.

    The caller must forget it, too, before it asks for the next: no ``zip`` or ``enumerate``, which keep what they gave.
    """
    coming: deque[Future[TrainRows]] = deque()
    try:
        for numbers in wanted:
            coming.append(_reader(os.getpid()).submit(read, numbers))
            if len(coming) > 1:
                yield coming.popleft().result()
                return_freed_memory()
        while coming:
            yield coming.popleft().result()
    finally:
        for future in coming:
            future.cancel()
        return_freed_memory()


@cache
def _reader(process: int) -> ThreadPoolExecutor:
    """Return the thread of this process that reads blocks, the same one always.

    The C library keeps a heap for each thread, and in it up to a block that was freed: with a thread for every pass,
    a process grew by twice the memory that the blocks take.
    """
    del process  # a forked one has no threads of its parent's
    return ThreadPoolExecutor(1, thread_name_prefix="featcache-rows")


def _scaling(program: HeadsProgram, train: StreamedRows, nbytes: int) -> Scaling:
    """Learn each head's standardisation as `featcache.heads.model.feature_scaling` does, in one pass."""
    heads, (count, width) = len(train.weight), train.table.shape
    if program.scaling == "none":
        shape = (width,) if program.shared else (heads, width)
        return Scaling(jnp.zeros(shape), jnp.ones(shape))
    parts = [np.arange(part.start, part.stop) for part in blocks(count, width, nbytes)]
    # Σ share·(x − c)² − (Σ share·(x − c))² is the variance for any c, and has its digits where c is near the mean: some
    # rows say where, and all are read once.
    some = np.unique(np.linspace(0, count - 1, min(_CENTRE_ROWS, len(parts[0])), dtype=int))
    centre = np.mean(train.rows(some).x, axis=0, dtype=np.float64).astype(np.float32)
    share = train.weight / np.maximum(train.weight.sum(axis=1, keepdims=True), 1e-9)
    share = share if train.views == 1 else share / train.views
    first, second = np.zeros((heads, width)), np.zeros((heads, width))
    position = iter(parts)
    for rows in _read_ahead(train.rows, iter(parts)):
        mean, square = _programs()["moments"](rows.x, centre, share[:, next(position) // train.views])
        del rows
        first += np.asarray(mean, np.float64)
        second += np.asarray(square, np.float64)
    variance = np.maximum(second - np.square(first), 0.0)
    counts = train.weight.sum(axis=1)
    mean, deviation = first + centre, divisors(program.scaling, variance, centre, counts)
    if program.shared:
        mean, deviation = mean[0], deviation[0]
    return Scaling(jnp.asarray(mean, jnp.float32), jnp.asarray(deviation, jnp.float32))


def _moments(x: jax.Array, centre: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array]:
    centred = x - centre
    return share @ centred, share @ jnp.square(centred)
