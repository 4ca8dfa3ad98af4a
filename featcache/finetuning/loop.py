"""The training loop of fine-tuning: steps, epochs, phases, the best epoch, checkpoints and resuming.

Everything that decides the next step is in the checkpoint or follows from the settings, so that a resumed run ends
with the same numbers as an uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featcache.core.devices.sharding import DeviceMesh
from featcache.core.display import percent
from featcache.core.progress import OnProgress, Progress
from featcache.errors import DataError, Interrupted
from featcache.finetuning.inputs import Batch, Inputs, batches, epoch_order
from featcache.finetuning.model import Values
from featcache.finetuning.position import (
    POSITION,
    Position,
    changed_of,
    named_leaves,
    require_like,
    state_of,
)
from featcache.finetuning.runs.run_folder import RunFolder
from featcache.finetuning.runs.tensorboard import Scalars
from featcache.finetuning.train_step import BatchSums, State, TrainStep
from featcache.finetuning.validation import Validator, first_reason
from featcache.heads.probabilities import targets_for
from featcache.heads.settings import loss_of

BEST, LAST = "best", "last"


@dataclass
class Loop:
    """Runs a fine-tuning.

    Parameters
    ----------
    programs
        The train step of each phase.
    inputs
        The inputs of each phase.
    values
        All arrays of the model; trained ones are replaced as phases end.
    labels, train, val
        Labels of all rows, and the numbers of the training and validation rows.
    classes
        Number of classes.
    row_weights
        Weight of each row in the loss, float32 ``[N]``.
    drop_last
        Whether a last batch that is not full is left out.
    devices
        The devices that arrays are placed on.
    folder
        Folder for checkpoints and history; ``None`` to write none.
    scalars
        Writer of TensorBoard scalars.
    every
        Seconds between checkpoints within an epoch.
    on_progress, on_epoch, stop
        Called after a batch; called after an epoch; asked after each batch whether to stop.
    position, history
        How far the run is, and the record of each epoch.
    best, changed
        The arrays of the best epoch, and those that finished phases have changed.
    diverged
        How the run diverged, if it did.
    """

    programs: Sequence[TrainStep]
    inputs: Sequence[Inputs]
    values: dict[str, Any]
    labels: np.ndarray
    train: np.ndarray
    val: np.ndarray
    classes: int
    row_weights: np.ndarray
    drop_last: bool
    devices: DeviceMesh
    folder: RunFolder | None = None
    scalars: Scalars = field(default_factory=lambda: Scalars(None))
    every: float = 600.0
    on_progress: OnProgress = lambda progress: None
    on_epoch: Callable[[Mapping[str, Any]], None] = lambda record: None
    stop: Callable[[], bool] = lambda: False
    position: Position = field(default_factory=Position)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, np.ndarray] = field(default_factory=dict)
    changed: dict[str, np.ndarray] = field(default_factory=dict)
    diverged: str | None = None

    def __post_init__(self) -> None:
        self.validator = Validator(
            self.programs, self.inputs, self.labels, self.classes, self.devices, self.on_progress
        )
        self._saved = time.monotonic()

    # The whole run ------------------------------------------------------------------------------------------

    def run(self, *, resume: bool = False) -> None:
        """Train through all phases, or what is left of them; `best` then holds the best arrays that changed."""
        state = self._restore() if resume else None
        if state is None:
            self._validate_start()
        while self.position.phase < len(self.programs) and self.diverged is None:
            program = self.programs[self.position.phase]
            state = self.devices.replicate(state or program.start(self.values))
            state = self._run_phase(program, state)
            self._update_values({name: np.array(value) for name, value in program.eval_values(state).items()})
            self.position = replace(self.position, phase=self.position.phase + 1, epoch=0, stale=0)
            state = None

    def _update_values(self, changed: Mapping[str, np.ndarray]) -> None:
        """Take over the arrays that a phase has changed."""
        self.values |= changed
        self.changed |= changed

    def _validate_start(self) -> None:
        """Validate the start: the frozen head is what fine-tuning has to beat."""
        if not len(self.val):
            return
        record = {"phase": 0, "epoch": 0, "step": 0, **self.validator.validate(0, self.values, self.val)}
        self.position.best_value = self.validator.monitor_value(record)
        self._add_record(record)

    def _run_phase(self, program: TrainStep, state: State) -> State:
        phase = program.phase
        fixed = self.devices.replicate(program.fixed(self.values))
        last = program is self.programs[-1]
        while self.position.epoch < phase.settings.epochs and self.diverged is None:
            if last and self.position.stale >= phase.settings.patience:
                break
            state = self._run_epoch(program, state, fixed)
            if self.diverged is None:
                self._end_epoch(program, state)
        return state

    # One epoch ----------------------------------------------------------------------------------------------

    def _run_epoch(self, program: TrainStep, state: State, fixed: Values) -> State:
        position, phase = self.position, program.phase
        epoch = position.epochs + 1
        order = epoch_order(self.train, seed=phase.settings.seed, epoch=epoch)
        source = self.inputs[position.phase]
        size = phase.settings.batch_size
        began, before = time.monotonic(), position.seconds
        pending: BatchSums | None = None
        stream = batches(source, order, size, epoch=epoch, first=position.batch, drop_last=self.drop_last)
        for batch in _close_at_end(stream):
            x, targets, weight = self.arguments(batch, loss_of(phase.settings))
            state, measured = program.step(state, fixed, x, targets, weight)
            # Read the sums of the step before: so the device does not wait for the host.
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
            raise DataError(f"none of the training images could be read; the first: {first_reason(source)}")
        return state

    def arguments(self, batch: Batch, loss: str) -> tuple[Any, Any, Any]:
        """Return a batch's values ``[B, …]``, targets ``[B, C]`` and weights ``[B]``, on the devices."""
        weight = np.where(batch.rows >= 0, self.row_weights[batch.rows], 0).astype(np.float32)
        targets = targets_for(loss, self.labels[batch.rows], self.classes)
        # The values are shared out, and padded where the devices do not divide them; the step cuts the padding off.
        return self.devices.shard(batch.x), self.devices.replicate(targets), self.devices.replicate(weight)

    def _count(self, measured: BatchSums | None) -> None:
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

    def _report(self, program: TrainStep, epoch: int, rows: int) -> None:
        position = self.position
        note = ""
        if position.count:
            note = f"loss {position.mean_loss:.3f}, accuracy {percent(position.accuracy)}"
        total = position.epochs - position.epoch + program.phase.settings.epochs
        done = min(position.batch * program.phase.settings.batch_size, rows)
        self.on_progress(Progress(f"epoch {epoch}/{total}", done, rows, note=note))

    def _end_epoch(self, program: TrainStep, state: State) -> None:
        position, phase = self.position, program.phase
        steps = int(state["steps"])
        position.epoch += 1
        position.epochs += 1
        record: dict[str, Any] = {
            "phase": position.phase + 1,
            "epoch": position.epochs,
            "step": position.steps,
            "loss": position.mean_loss,
            "accuracy": position.accuracy,
            "learning_rate": phase.settings.learning_rate * program.rate_now(max(steps - 1, 0)),
            "images_per_second": position.count / max(position.seconds, 1e-9),
            "seconds": position.seconds,
        }
        # Copies: the state's buffers are donated to the next step.
        changed = {name: np.array(value) for name, value in program.eval_values(state).items()}
        if len(self.val):
            record |= self.validator.validate(position.phase, {**self.values, **changed}, self.val)
        value = self.validator.monitor_value(record)
        if not math.isfinite(value):
            self.diverged = f"the validation loss was {record.get('val_loss')} after epoch {position.epochs}"
            return
        better = not len(self.val) or value < position.best_value - phase.settings.min_delta
        if better:
            position.best_value, position.best_epoch, position.stale = value, position.epochs, 0
            self.best = {**self.changed, **changed}
        else:
            position.stale += 1
        position.next_epoch()
        self._add_record(record)
        if self.folder is not None and better:
            self.folder.checkpoints.save(BEST, self.best, {"epoch": position.epochs})
        self._save(state)
        self._stop_if_asked(position.epochs)

    def _add_record(self, record: dict[str, Any]) -> None:
        self.history.append(record)
        if self.folder is not None:
            self.folder.log(record)
        for name, value in record.items():
            if name not in ("phase", "epoch", "step"):
                self.scalars.add(name, float(value), int(record["step"]))
        self.on_epoch(record)

    # Checkpoints --------------------------------------------------------------------------------------------

    def _save(self, state: State) -> None:
        self._saved = time.monotonic()
        if self.folder is None:
            return
        arrays = named_leaves(state, self.changed)
        self.folder.checkpoints.save(LAST, arrays, self.position.to_json())

    def _stop_if_asked(self, epoch: int) -> None:
        if self.stop():
            kept = (
                "the checkpoint is saved: continue with --resume"
                if self.folder is not None
                else "nothing was saved"
            )
            raise Interrupted(f"stopped in epoch {epoch}, after {self.position.steps} steps; {kept}")

    def _restore(self) -> State | None:
        """Restore the last checkpoint; returns ``None`` if the run was killed before its first."""
        assert self.folder is not None
        names = self.folder.checkpoints.names()
        if LAST not in names:
            self.folder.rewind(-1)
            return None
        arrays, position = self.folder.checkpoints.restore(LAST)
        origin = self.folder.checkpoints.folder / f"{LAST}.json"
        POSITION.check(position, origin)
        self.position = Position.from_json(position)
        if self.position.phase >= len(self.programs):
            raise POSITION.damaged(
                origin, f"phase is {self.position.phase}, expected below {len(self.programs)}"
            )
        self.folder.rewind(self.position.steps)
        self.folder.require_epochs(self.position.epochs)
        self.history = self.folder.history()
        if self.position.best_epoch:
            self.best = self._like_values(self.folder.checkpoints.restore(BEST)[0])
        self._update_values(self._like_values(changed_of(arrays)))
        return state_of(self.programs[self.position.phase].template(self.values), arrays)

    def _like_values(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return arrays that take the place of some of the model's; refuse any that could not."""
        return {
            name: require_like(name, arrays, self.values.get(name, np.zeros(0, np.int8))) for name in arrays
        }


def _close_at_end(stream: Iterator[Batch]) -> Iterator[Batch]:
    """Pass batches on, and stop the threads that read ahead when the consumer ends, even by an error."""
    try:
        yield from stream
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()
