"""K heads by gradient descent within a given memory: in several runs, or streaming their features."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from featcache.heads import Form
from featcache.learning import Program, Rows
from featcache.optimization import Hyperparameters, hyperparameters
from featcache.outputs import outputs_for, targets_for
from featcache.settings import Settings
from featcache.tables import ArrayTable, Part, Solved, Table


def program_of(settings: Settings, classes: int) -> Program:
    """Return what is compiled for these settings."""
    form = Form(
        settings.head,
        outputs_for(settings.loss, classes),
        settings.hidden if settings.head == "mlp" else (),
        settings.activation,
        settings.batch_norm,
    )
    return Program(
        form,
        settings.optimizer,
        settings.batch_size,
        settings.epochs,
        loss=settings.loss,
        schedule=settings.schedule,
        monitor=settings.monitor,
        standardize=settings.standardize,
        clip=settings.clip is not None,
        mixup=settings.mixup > 0,
        noise=settings.noise > 0,
    )


def _hyperparameters(settings: Sequence[Settings]) -> Hyperparameters:
    names = (name for name in Hyperparameters._fields if getattr(settings[0], name) is not None)
    return hyperparameters(**{name: [getattr(own, name) for own in settings] for name in names})


def descend(
    settings: Sequence[Settings], train: Part, val: Part, classes: int, memory: int, order_seed: int | None
) -> Solved:
    """Fit K heads of one program by gradient descent; see `featcache.fitting.fit_heads`."""
    program = program_of(settings[0], classes)
    seed = settings[0].seed if order_seed is None else order_seed
    streamed = 4 * (np.prod(train.table.shape) + np.prod(val.table.shape)) > memory // 2
    most = _heads_at_once(program, train, val, memory // 2)
    parts: list[Any] = []
    for numbers in _evenly(len(settings), most):
        hyper = _hyperparameters([settings[k] for k in numbers])
        run = _streamed if streamed else _in_memory
        fitted = run(program, hyper, _of(train, numbers), _of(val, numbers), classes, memory, seed)
        parts.append(jax.tree.map(np.asarray, fitted))
    return Solved(
        {name: _joined([p.parameters[name] for p in parts], len(settings)) for name in parts[0].parameters},
        _joined([p.best_epoch for p in parts], len(settings)),
        max(int(p.epochs_run) for p in parts),
        _joined([p.best_epoch > 0 for p in parts], len(settings)),
        [history for p in parts for history in _histories(p)][: len(settings)],
    )


def _heads_at_once(program: Program, train: Part, val: Part, memory: int) -> int:
    """How many heads fit: parameters, gradient, two moments, the best so far and a step's copies; outputs; weights."""
    widths = (train.table.shape[1], *program.form.hidden, program.form.outputs)
    numbers = sum(a * b + b for a, b in itertools.pairwise(widths))
    rows = train.table.shape[0] + val.table.shape[0] * (1 + 2 * sum(widths[1:]))
    return max(1, int(memory // (4 * (8 * numbers + rows))))


def _evenly(count: int, most: int) -> list[list[int]]:
    """Cut K heads into runs of one size, so that one program serves all; the last is filled up with its last head."""
    runs = -(-count // most)
    size = -(-count // runs)
    return [[min(start + k, count - 1) for k in range(size)] for start in range(0, count, size)]


def _joined(parts: Sequence[np.ndarray], count: int) -> np.ndarray:
    return np.concatenate(list(parts))[:count]


def _of(part: Part, numbers: Sequence[int]) -> Part:
    return part._replace(weight=np.ascontiguousarray(part.weight[list(numbers)], np.float32))


def _in_memory(
    program: Program, hyper: Hyperparameters, train: Part, val: Part, classes: int, memory: int, seed: int
) -> Any:
    from featcache.training import fit

    del memory
    rows = [
        Rows(whole(part.table), targets_for(program.loss, part.labels, classes), part.weight)
        for part in (train, val)
    ]
    return fit(program, hyper, rows[0], rows[1], order_seed=seed)


def _streamed(
    program: Program, hyper: Hyperparameters, train: Part, val: Part, classes: int, memory: int, seed: int
) -> Any:
    from featcache.streaming import Source, fit_streamed

    sources = [
        Source(part.table, targets_for(program.loss, part.labels, classes), part.weight)
        for part in (train, val)
    ]
    return fit_streamed(program, hyper, sources[0], sources[1], memory=memory // 2, order_seed=seed)


def whole(table: Table) -> np.ndarray:
    """Return all features of a table, float32 ``[N, D]``."""
    return table.array if isinstance(table, ArrayTable) else table.take(np.arange(table.shape[0]))


def _histories(fitted: Any) -> list[dict[str, list[float | None]]]:
    """Loss and score by epoch of each head."""
    run = int(fitted.epochs_run)
    return [
        {name: [_number(v) for v in values[:run, k]] for name, values in fitted.history._asdict().items()}
        for k in range(len(fitted.best_epoch))
    ]


def _number(value: np.floating) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
