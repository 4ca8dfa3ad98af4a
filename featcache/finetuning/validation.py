"""Evaluates the model during a fine-tuning: outputs, validation loss and accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from featcache.core.devices.sharding import DeviceMesh
from featcache.core.progress import OnProgress, Progress
from featcache.errors import DataError
from featcache.finetuning.inputs import InMemoryInputs, Inputs, batches
from featcache.finetuning.model import Values
from featcache.finetuning.train_step import TrainStep
from featcache.heads.losses import LOSSES
from featcache.heads.probabilities import targets_for
from featcache.heads.settings import loss_of

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class ValidationResult:
    """The outputs on some rows.

    Parameters
    ----------
    rows
        Numbers of the rows that could be read, int ``[n]``.
    outputs
        Raw outputs of the head, float32 ``[n, C]``.
    """

    rows: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True)
class Validator:
    """Evaluates the current parameters on held-out rows.

    Parameters
    ----------
    programs, inputs
        The train step and the inputs of each phase.
    labels, classes
        Labels of all rows, int ``[N]``, and the number of classes.
    devices
        The devices that arrays are placed on.
    on_progress
        Called after each batch.
    """

    programs: Sequence[TrainStep]
    inputs: Sequence[Inputs]
    labels: np.ndarray
    classes: int
    devices: DeviceMesh
    on_progress: OnProgress

    @cached_property
    def _cached_inputs(self) -> list[InMemoryInputs]:
        return [InMemoryInputs(source) for source in self.inputs]

    def outputs(self, phase: int, everything: Values, rows: np.ndarray) -> ValidationResult:
        """Return the outputs on plain rows int ``[n]`` by a phase's program; `everything`: all arrays of the model."""
        program = self.programs[phase]
        fixed = program.fixed(everything)
        values = self.devices.replicate({n: everything[n] for n in program.changing})
        fixed = self.devices.replicate(fixed)
        found, outputs = [np.zeros(0, np.int64)], [np.zeros((0, self.head_outputs), np.float32)]
        size = min(EVALUATION_BATCH, max(1, len(rows)))
        done = 0
        for batch in batches(self._cached_inputs[phase], rows, size, epoch=None):
            self.on_progress(Progress("validate", done, len(rows)))
            computed = np.asarray(program.outputs(values, fixed, self.devices.shard(batch.x)))
            real = batch.rows >= 0
            found.append(batch.rows[real])
            outputs.append(computed[: len(batch.rows)][real])
            done += len(found[-1])
        self.on_progress(Progress("validate", done, len(rows)))
        return ValidationResult(np.concatenate(found), np.concatenate(outputs).astype(np.float32))

    @property
    def head_outputs(self) -> int:
        """Number of the head's outputs; a sigmoid head for two classes has one."""
        return self.programs[0].model.form.outputs

    def validate(self, phase: int, everything: Values, rows: np.ndarray) -> dict[str, float]:
        """Return ``val_loss`` and ``val_accuracy`` of rows.

        Raises
        ------
        DataError
            If none of them can be read.
        """
        result = self.outputs(phase, everything, rows)
        if not len(result.rows):
            raise DataError(
                f"none of the validation images could be read; the first: {first_reason(self.inputs[phase])}"
            )
        name = loss_of(self.programs[phase].phase.settings)
        targets = targets_for(name, self.labels[result.rows], self.classes)
        by_class, own = jnp.asarray(result.outputs.T), jnp.asarray(targets.T)
        measured = {
            "val_loss": LOSSES[name].value(by_class, own),
            "val_accuracy": LOSSES[name].score(by_class, own),
        }
        return {name: float(np.mean(np.asarray(value, np.float64))) for name, value in measured.items()}

    def monitor_value(self, record: Mapping[str, Any]) -> float:
        """Return the value that chooses the epoch, smaller is better; without validation rows the training loss."""
        if "val_loss" not in record:
            return float(record["loss"])
        score = self.programs[-1].phase.settings.monitor == "score"
        return float(-record["val_accuracy"] if score else record["val_loss"])


def first_reason(inputs: Inputs) -> str:
    """Return why the first unreadable image could not be read."""
    return next(iter(inputs.unreadable.values()), "unknown")
