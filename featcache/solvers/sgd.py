"""K heads by gradient descent within a given memory: in several runs, or streaming their features."""

import itertools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from featcache.core.devices.choice import on_cpu
from featcache.core.devices.sharding import DeviceMesh
from featcache.errors import UsageError
from featcache.heads.feature_table import ArrayTable, FeatureRows, FeatureTable, Solved
from featcache.heads.model import HeadArchitecture
from featcache.heads.probabilities import outputs_for, targets_for
from featcache.heads.settings import FULL_BATCH, Settings
from featcache.solvers.epoch_progress import OnEpoch
from featcache.solvers.head_batches import Runs, divide
from featcache.solvers.lbfgs_training import REMEMBERED
from featcache.solvers.optimizers import Hyperparameters, hyperparameters
from featcache.solvers.train_step import HeadsProgram, TrainRows, finite_rows

_Fit = Callable[[Hyperparameters, np.ndarray, np.ndarray], Any]
"""``(hyper, training weights, validation weights) -> featcache.solvers.train_loop.TrainedHeads`` of some heads."""


def program_of(settings: Settings, outputs: int) -> HeadsProgram:
    """Return the program of these settings and this number of outputs."""
    form = HeadArchitecture(
        settings.head,
        outputs,
        settings.hidden if settings.head == "mlp" else (),
        settings.activation,
        settings.batch_norm,
    )
    return HeadsProgram(
        form,
        settings.optimizer,
        settings.batch_size,
        settings.epochs,
        loss=settings.loss,
        schedule=settings.schedule,
        monitor=settings.monitor,
        scaling=settings.scaling,
        clip=settings.clip is not None,
        mixup=settings.mixup > 0,
        noise=settings.noise > 0,
    )


LEARNT = 1e-3
"""Mean softmax cross-entropy in nats of the training rows at which a head is done: probabilities are about .999.

Of rows that can be told apart, the loss falls for ever, and the weights only grow: on 135 photos hidden layers ran
through 5,000 epochs in 87 seconds, all but the first hundreds of them below this. The loss of ``"sigmoid"`` is a mean
over labels, too, of which most say no: with 1,000 of them it is small long before the rows are learnt.
"""


def _hyperparameters(settings: Sequence[Settings], last_epochs: Sequence[float]) -> Hyperparameters:
    names = (name for name in Hyperparameters._fields if getattr(settings[0], name, None) is not None)
    given = {name: [getattr(own, name) for own in settings] for name in names}
    learnt = [LEARNT if own.loss == "softmax" else 0.0 for own in settings]
    return hyperparameters(**given, last_epoch=last_epochs, learnt=learnt)


def descend(
    settings: Sequence[Settings],
    train: FeatureRows,
    val: FeatureRows,
    classes: int,
    memory: int,
    last_epochs: Sequence[float],
    on_epoch: OnEpoch | None = None,
) -> Solved:
    """Fit K heads of one program by gradient descent; see `featcache.solvers.fit.fit_heads`."""
    exclusive = train.labels.ndim == 1
    program = program_of(settings[0], outputs_for(settings[0].loss, classes) if exclusive else classes)
    streamed = 4 * (math.prod(train.table.shape) + math.prod(val.table.shape)) > memory // 2
    cores = 1 if streamed or not on_cpu() else os.cpu_count() or 1
    if streamed and program.optimizer in FULL_BATCH:
        raise UsageError(
            f"{program.optimizer} takes all features at once, {4 * np.prod(train.table.shape) >> 20:.0f} MiB, and "
            f"memory is {memory >> 20} MiB; raise --memory to three times that, or use adam, which reads batches"
        )
    views = train.views
    if not streamed:
        train = train.by_row()
        x, weight = finite_rows(all_features(train.table), train.weight)
        train = train._replace(table=ArrayTable(x), weight=weight)
    runs = divide(
        train.weight,
        most=max(1, _heads_at_once(program, train, val, memory // 2, streamed=streamed) // cores),
        columns=(*program.form.hidden, program.form.outputs)[0],
        cores=cores,
        seeds=[own.seed for own in settings],
    )
    program = replace(program, shared=runs.shared)
    rows = [(part.table, targets_for(program.loss, part.labels, classes)) for part in (train, val)]
    # On accelerators a run's heads are shared out; a CPU has its cores, which is not the same as devices.
    devices = DeviceMesh(most=1 if on_cpu() else len(runs.numbers[0]))
    fit = (
        _streamed(program, rows, views, memory, devices, on_epoch)
        if streamed
        else _in_memory(program, rows, views, len(runs.counts), devices)
    )

    def one(numbers: Sequence[int]) -> Any:
        # As many for each device: what is filled up with the last head comes last, and `_gather` leaves it out.
        wanted = [*numbers, *[numbers[-1]] * (-len(numbers) % devices.count)]
        weight = train.weight[wanted[:1] if runs.shared else wanted]
        hyper = _hyperparameters([settings[k] for k in wanted], [last_epochs[k] for k in wanted])
        return jax.tree.map(np.asarray, fit(hyper, weight, val.weight[wanted]))

    # A single run uses all cores by itself.
    with ThreadPoolExecutor(min(cores, len(runs.counts)), thread_name_prefix="featcache-heads") as pool:
        return _gather(list(pool.map(one, runs.numbers)), runs)


def _gather(parts: Sequence[Any], runs: Runs) -> Solved:
    """Join the results of the runs in the order of the heads."""
    order = np.argsort([k for run, count in zip(runs.numbers, runs.counts, strict=True) for k in run[:count]])

    def join(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([v[:count] for v, count in zip(values, runs.counts, strict=True)])[order]

    best = join([part.best_epoch for part in parts])
    histories = [
        own for part, count in zip(parts, runs.counts, strict=True) for own in _histories(part)[:count]
    ]
    return Solved(
        {name: join([part.parameters[name] for part in parts]) for name in parts[0].parameters},
        best,
        max(int(part.epochs_run) for part in parts),
        best > 0,
        [histories[k] for k in order],
    )


def _heads_at_once(
    program: HeadsProgram, train: FeatureRows, val: FeatureRows, memory: int, *, streamed: bool
) -> int:
    """Return how many heads fit in `memory` bytes, the optimiser's arrays, outputs and row weights included."""
    from featcache.solvers.streaming import block_bytes

    # Copies of the parameters: themselves, gradient, two moments, the best so far, and three of a step.
    widths = (train.table.shape[1], *program.form.hidden, program.form.outputs)
    numbers = sum(a * b + b for a, b in itertools.pairwise(widths))
    copies = 8
    # Outputs are of the validation rows that are judged at a time: in memory all, streamed those of a block. Each run
    # of heads that are streamed reads all features again.
    judged = (
        min(val.table.shape[0], block_bytes(memory) // (4 * widths[0])) if streamed else val.table.shape[0]
    )
    rows = train.table.shape[0] + val.table.shape[0] + judged * 2 * sum(widths[1:])
    if program.optimizer in FULL_BATCH:  # its history, and the outputs of all training rows
        copies += 2 * REMEMBERED
        rows += train.table.shape[0] * 3 * sum(widths[1:])
    return max(1, int(memory // (4 * (copies * numbers + rows))))


def _in_memory(
    program: HeadsProgram,
    rows: Sequence[tuple[FeatureTable, np.ndarray]],
    views: int,
    runs: int,
    devices: DeviceMesh,
) -> _Fit:
    """Return the function that fits the heads of a run to features in memory."""
    from featcache.solvers.over_devices import divided_run
    from featcache.solvers.train_loop import batch_order, run_program

    several = devices.count > 1
    place = devices.replicate if several else jnp.asarray
    (x, y), (val_x, val_y) = ((place(all_features(table)), targets) for table, targets in rows)
    run = divided_run(devices.mesh, shared=program.shared) if several else run_program(one_core=runs > 1)

    @cache
    def order(seed: int) -> np.ndarray:
        return batch_order(
            len(y) // views,
            batch_size=program.batch_size,
            epochs=program.epochs,
            seed=seed,
            views=views,
        )

    return lambda hyper, weight, judged: run(
        program,
        hyper,
        TrainRows(x, y, _floats(weight)),
        TrainRows(val_x, val_y, _floats(judged)),
        order(int(hyper.seed[0])),
    )


def _streamed(
    program: HeadsProgram,
    rows: Sequence[tuple[FeatureTable, np.ndarray]],
    views: int,
    memory: int,
    devices: DeviceMesh,
    on_epoch: OnEpoch | None,
) -> _Fit:
    from featcache.solvers.streaming import StreamedRows, fit_streamed

    return lambda hyper, weight, judged: fit_streamed(
        program,
        hyper,
        StreamedRows(*rows[0], _floats(weight), views),
        StreamedRows(*rows[1], _floats(judged)),
        memory=memory // 2,
        devices=devices,
        on_epoch=on_epoch,
    )


def _floats(weight: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(weight, np.float32)


def all_features(table: FeatureTable) -> np.ndarray:
    """Return all features of a table, float32 ``[N, D]``."""
    return table.array if isinstance(table, ArrayTable) else table.take(np.arange(table.shape[0]))


def _histories(fitted: Any) -> list[dict[str, list[float | None]]]:
    """Return the loss and score by epoch of each head."""
    run = int(fitted.epochs_run)
    return [
        {name: [_number(v) for v in values[:run, k]] for name, values in fitted.history._asdict().items()}
        for k in range(len(fitted.best_epoch))
    ]


def _number(value: np.floating) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
