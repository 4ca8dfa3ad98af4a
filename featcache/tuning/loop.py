"""The loop of fine-tuning: steps, epochs, phases; what is judged best; checkpoints, and going on from one.

Everything that decides the next step is in the checkpoint or follows from the settings, so that a run that was killed
ends with the very numbers of one that was not.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from featcache.tuning.run_folder import RunFolder
from featcache.tuning.tensorboard import Scalars

from featcache.errors import DataError, Interrupted
from featcache.losses import LOSSES
from featcache.outputs import targets_for
from featcache.progress import OnProgress, Progress
from featcache.settings import loss_of
from featcache.tuning.devices import Devices
from featcache.tuning.inputs import Batch, Inputs, Kept, batches, epoch_order
from featcache.tuning.model import Values
from featcache.tuning.program import Measured, Phase, Program, State

BEST, LAST = "best", "last"

EVALUATION_BATCH = 64


@dataclass
class Position:
    """Where a run is, and what it knows so far; all of it is in a checkpoint.

    Parameters
    ----------
    phase, epoch, batch
        Phases done, epochs of this phase done, batches of this epoch done.
    epochs, steps
        Epochs and batches done in all.
    best_epoch, best_value
        The epoch (in all) that was judged best, and the monitored value there, better when smaller.
    stale
        Epochs of this phase since then.
    loss, weight, right, count
        Sums over the batches of this epoch.
    seconds
        Spent on this epoch.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    epochs: int = 0
    steps: int = 0
    best_epoch: int = 0
    best_value: float = math.inf
    stale: int = 0
    loss: float = 0.0
    weight: float = 0.0
    right: float = 0.0
    count: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """Outputs of some rows.

    Parameters
    ----------
    rows
        int ``[n]``: those that could be read.
    outputs
        float32 ``[n, C]``.
    """

    rows: np.ndarray
    outputs: np.ndarray


@dataclass
class Loop:
    """A run.

    Parameters
    ----------
    programs
        One for each phase.
    inputs
        For each phase.
    values
        All arrays of the model; those that trained are replaced as phases end.
    labels, train, val
        Labels of all rows, and the numbers of those that train and judge.
    augmented_epochs
        Whether each epoch draws the photos anew.
    classes
        How many.
    row_weights
        float32 ``[N]``: how much each row counts.
    folder
        Where checkpoints and history go; ``None``: nowhere.
    scalars
        TensorBoard, if it was asked for.
    every
        Seconds between checkpoints within an epoch.
    on_progress, on_epoch, stop
        Who is told after a batch and an epoch; asked after each batch whether to stop.
    """

    programs: Sequence[Program]
    inputs: Sequence[Inputs]
    values: dict[str, Any]
    labels: np.ndarray
    train: np.ndarray
    val: np.ndarray
    classes: int
    row_weights: np.ndarray
    drop_last: bool
    devices: Devices
    folder: RunFolder | None = None
    scalars: Scalars = field(default_factory=lambda: Scalars(None))
    every: float = 600.0
    on_progress: OnProgress = lambda progress: None
    on_epoch: Callable[[Mapping[str, Any]], None] = lambda record: None
    stop: Callable[[], bool] = lambda: False
    position: Position = field(default_factory=Position)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, np.ndarray] = field(default_factory=dict)
    diverged: str | None = None

    def __post_init__(self) -> None:
        self._judging = [Kept(source) for source in self.inputs]
        self._saved = time.monotonic()

    # The whole run ------------------------------------------------------------------------------------------

    def run(self, *, resume: bool = False) -> None:
        """Train through all phases, or what is left of them; `best` then holds the best arrays that changed."""
        state = self._restored() if resume else None
        if state is None:
            self._begin()
        while self.position.phase < len(self.programs) and self.diverged is None:
            program = self.programs[self.position.phase]
            state = self.devices.replicated(state or program.start(self.values))
            state = self._run_phase(program, state)
            self.values |= {name: np.asarray(v) for name, v in program.judged(state).items()}
            self.position = replace(self.position, phase=self.position.phase + 1, epoch=0, stale=0)
            state = None

    def _begin(self) -> None:
        """Judge the start: the frozen head is what fine-tuning has to beat."""
        if not len(self.val):
            return
        record = {"phase": 0, "epoch": 0, "step": 0, **self._validate(self.programs[0], None)}
        self.position.best_value = self._monitored(record)
        self._tell(record)

    def _run_phase(self, program: Program, state: State) -> State:
        phase = program.phase
        fixed = self.devices.replicated(program.fixed(self.values))
        while self.position.epoch < phase.settings.epochs:
            state = self._run_epoch(program, state, fixed)
            if self.diverged is not None:
                break
            self._end_epoch(program, state)
            if self.position.stale >= phase.settings.patience and phase is self.programs[-1].phase:
                break
        return state

    # One epoch ----------------------------------------------------------------------------------------------

    def _run_epoch(self, program: Program, state: State, fixed: Values) -> State:
        position, phase = self.position, program.phase
        epoch = position.epochs + 1
        order = epoch_order(self.train, seed=phase.settings.seed, epoch=epoch)
        source = self.inputs[position.phase]
        size = phase.settings.batch_size
        began, before = time.monotonic(), position.seconds
        pending: Measured | None = None
        stream = batches(source, order, size, epoch=epoch, first=position.batch, drop_last=self.drop_last)
        for batch in _closing(stream):
            x, targets, weight = self.arguments(batch, loss_of(phase.settings))
            state, measured = program.step(state, fixed, x, targets, weight)
            # The numbers of the step before: the device never waits for anybody to read them.
            self._count(pending)
            pending = measured
            position.batch += 1
            position.steps += 1
            position.seconds = before + time.monotonic() - began
            self._report(program, epoch, len(order))
            if self.diverged is not None:
                return state
            if self.stop() or time.monotonic() - self._saved >= self.every:
                self._count(pending)
                pending = None
                if self.diverged is None:
                    self._save(state)
                    self._stop_if_asked(epoch)
        self._count(pending)
        position.seconds = before + time.monotonic() - began
        if not position.count and self.diverged is None:
            raise DataError(
                f"none of the training images could be read; the first: {_first(source.unreadable)}"
            )
        return state

    def arguments(self, batch: Batch, loss: str) -> tuple[Any, Any, Any]:
        """Return values, targets and weights of a batch, on the devices."""
        weight = np.where(batch.rows >= 0, self.row_weights[batch.rows], 0).astype(np.float32)
        targets = targets_for(loss, self.labels[batch.rows], self.classes)
        return self.devices.sharded(batch.x), self.devices.sharded(targets), self.devices.sharded(weight)

    def _count(self, measured: Measured | None) -> None:
        if measured is None:
            return
        loss, weight, right, count = (float(value) for value in measured)
        position = self.position
        if not math.isfinite(loss):
            self.diverged = f"the loss was {loss} at step {position.steps}"
            return
        position.loss += loss
        position.weight += weight
        position.right += right
        position.count += count

    def _report(self, program: Program, epoch: int, rows: int) -> None:
        position = self.position
        note = ""
        if position.count:
            note = (
                f"loss {position.loss / max(position.weight, 1e-9):.3f}, "
                f"accuracy {position.right / position.count:.3f}"
            )
        total = position.epochs - position.epoch + program.phase.settings.epochs
        done = min(position.batch * program.phase.settings.batch_size, rows)
        self.on_progress(Progress(f"epoch {epoch}/{total}", done, rows, note=note))

    def _end_epoch(self, program: Program, state: State) -> None:
        position, phase = self.position, program.phase
        steps = int(state["steps"])
        position.epoch += 1
        position.epochs += 1
        record: dict[str, Any] = {
            "phase": position.phase + 1,
            "epoch": position.epochs,
            "step": position.steps,
            "loss": position.loss / max(position.weight, 1e-9),
            "accuracy": position.right / max(position.count, 1),
            "learning_rate": phase.settings.learning_rate * program.rate_now(max(steps - 1, 0)),
            "images_per_second": position.count / max(position.seconds, 1e-9),
            "seconds": position.seconds,
        }
        if len(self.val):
            record |= self._validate(program, state)
        monitored = self._monitored(record)
        if not math.isfinite(monitored):
            self.diverged = f"the validation loss was {record.get('val_loss')} after epoch {position.epochs}"
            return
        better = not len(self.val) or monitored < position.best_value - phase.settings.min_delta
        if better:
            position.best_value, position.best_epoch, position.stale = monitored, position.epochs, 0
            self.best = {name: np.asarray(value) for name, value in program.judged(state).items()}
        else:
            position.stale += 1
        position.batch = 0
        position.loss = position.weight = position.right = position.count = position.seconds = 0.0
        self._tell(record)
        if self.folder is not None and better:
            self.folder.checkpoints.save(BEST, self.best, {"epoch": position.epochs})
        self._save(state)
        self._stop_if_asked(position.epochs)

    def _tell(self, record: dict[str, Any]) -> None:
        self.history.append(record)
        if self.folder is not None:
            self.folder.log(record)
        for name, value in record.items():
            if name not in ("phase", "epoch", "step"):
                self.scalars.add(name, float(value), int(record["step"]))
        self.on_epoch(record)

    # Judging ------------------------------------------------------------------------------------------------

    def _monitored(self, record: Mapping[str, Any]) -> float:
        if not len(self.val):
            return float(record["loss"])
        score = self.programs[-1].phase.settings.monitor == "score"
        return -record["val_accuracy"] if score else record["val_loss"]

    def _validate(self, program: Program, state: State | None) -> dict[str, float]:
        values = program.judged(state) if state is not None else {}
        judged = self.judge(self.programs.index(program), values, self.val)
        loss = LOSSES[loss_of(program.phase.settings)]
        if not len(judged.rows):
            raise DataError(
                f"none of the validation images could be read; the first: {_first(self._judging[0].unreadable)}"
            )
        targets = targets_for(loss_of(program.phase.settings), self.labels[judged.rows], self.classes)
        by_class, own = judged.outputs.T, targets.T if targets.ndim > 1 else targets
        return {
            "val_loss": float(np.mean(np.asarray(loss.value(by_class, own), np.float64))),
            "val_accuracy": float(np.mean(np.asarray(loss.score(by_class, own), np.float64))),
        }

    def judge(self, number: int, changed: Values, rows: np.ndarray) -> Judgement:
        """Return the outputs of rows, plain, by the program of phase `number` with some arrays `changed`."""
        program = self.programs[number]
        everything = {**self.values, **changed}
        names = program.fixed(everything).keys()
        values = self.devices.replicated(
            {n: v for n, v in everything.items() if n not in names and n in program.known}
        )
        fixed = self.devices.replicated({n: everything[n] for n in names})
        found, outputs = [], []
        size = min(EVALUATION_BATCH, max(1, len(rows)))
        self.on_progress(Progress("validate", 0, len(rows)))
        for batch in _closing(batches(self._judging[number], rows, size, epoch=None)):
            values_of = np.asarray(program.outputs(values, fixed, self.devices.sharded(batch.x)))[
                : len(batch.rows)
            ]
            real = batch.rows >= 0
            found.append(batch.rows[real])
            outputs.append(values_of[real])
            self.on_progress(Progress("validate", sum(map(len, found)), len(rows)))
        if not found:
            return Judgement(np.zeros(0, np.int64), np.zeros((0, self.classes), np.float32))
        return Judgement(np.concatenate(found), np.concatenate(outputs).astype(np.float32))

    # Checkpoints --------------------------------------------------------------------------------------------

    def _save(self, state: State) -> None:
        self._saved = time.monotonic()
        if self.folder is not None:
            self.folder.checkpoints.save(
                LAST, _named_leaves(state), vars(self.position) | _infinite(self.position)
            )

    def _stop_if_asked(self, epoch: int) -> None:
        if self.stop():
            kept = (
                "what was done is kept: go on with --resume"
                if self.folder is not None
                else "nothing was kept"
            )
            raise Interrupted(f"stopped in epoch {epoch}, after {self.position.steps} steps; {kept}")

    def _restored(self) -> State | None:
        """Go back to the last checkpoint; ``None`` if the run was killed before its first."""
        assert self.folder is not None
        names = self.folder.checkpoints.names()
        if LAST not in names:
            self.folder.rewind(-1)
            return None
        arrays, told = self.folder.checkpoints.restore(LAST)
        self.position = Position(**{**told, "best_value": _finite(told["best_value"])})
        self.folder.rewind(self.position.steps)
        self.history = self.folder.history()
        if self.position.best_epoch:
            self.best = self.folder.checkpoints.restore(BEST)[0]
        program = self.programs[self.position.phase]
        template = jax.eval_shape(program.start, self.values)
        return _from_leaves(template, arrays)


def _named_leaves(state: State) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def _from_leaves(template: State, arrays: Mapping[str, np.ndarray]) -> State:
    return jax.tree_util.tree_map_with_path(lambda path, leaf: arrays[jax.tree_util.keystr(path)], template)


def _infinite(position: Position) -> dict[str, Any]:
    # JSON has no infinity.
    return {"best_value": position.best_value if math.isfinite(position.best_value) else None}


def _finite(value: float | None) -> float:
    return math.inf if value is None else value


def _first(unreadable: Mapping[int, str]) -> str:
    return next(iter(unreadable.values()), "unknown")


def _closing(stream: Iterator[Batch]) -> Iterator[Batch]:
    """Pass batches on; threads that read ahead end with whoever takes them, however that ends."""
    try:
        yield from stream
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()


__all__ = ["BEST", "LAST", "Judgement", "Loop", "Phase", "Position"]
