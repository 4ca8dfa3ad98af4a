"""Looking at rows without learning from them: outputs, validation loss and accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from featcache.core.progress import OnProgress, Progress
from featcache.core.sharding import DeviceMesh
from featcache.errors import DataError
from featcache.finetuning.inputs import Inputs, Kept, batches
from featcache.finetuning.model import Values
from featcache.finetuning.train_step import TrainStep
from featcache.heads.losses import LOSSES
from featcache.heads.probabilities import targets_for
from featcache.heads.settings import loss_of

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class ValidationResult:
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


@dataclass(frozen=True)
class Validator:
    """The eyes of a run.

    Parameters
    ----------
    programs, inputs
        One for each phase.
    labels, classes
        Of all rows, int ``[N]``, and how many classes there are.
    devices
        Where arrays are put.
    on_progress
        Who is told after a batch.
    """

    programs: Sequence[TrainStep]
    inputs: Sequence[Inputs]
    labels: np.ndarray
    classes: int
    devices: DeviceMesh
    on_progress: OnProgress

    @cached_property
    def _kept(self) -> list[Kept]:
        return [Kept(source) for source in self.inputs]

    def outputs(self, phase: int, everything: Values, rows: np.ndarray) -> ValidationResult:
        """Return the outputs of plain rows int ``[n]`` by a phase's program, from all arrays of the model."""
        program = self.programs[phase]
        fixed = program.fixed(everything)
        values = self.devices.replicate({n: everything[n] for n in program.known})
        fixed = self.devices.replicate(fixed)
        found, outputs = [np.zeros(0, np.int64)], [np.zeros((0, self.head_outputs), np.float32)]
        size = min(EVALUATION_BATCH, max(1, len(rows)))
        done = 0
        for batch in batches(self._kept[phase], rows, size, epoch=None):
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
        """How many outputs the head has: one tells two classes apart by a sigmoid."""
        return self.programs[0].model.form.outputs

    def validate(self, phase: int, everything: Values, rows: np.ndarray) -> dict[str, float]:
        """Return ``val_loss`` and ``val_accuracy`` of rows.

        Raises
        ------
        DataError
            If none of them can be read.
        """
        judged = self.outputs(phase, everything, rows)
        if not len(judged.rows):
            raise DataError(
                f"none of the validation images could be read; the first: {first_reason(self.inputs[phase])}"
            )
        name = loss_of(self.programs[phase].phase.settings)
        targets = targets_for(name, self.labels[judged.rows], self.classes)
        by_class, own = jnp.asarray(judged.outputs.T), jnp.asarray(targets.T)
        measured = {
            "val_loss": LOSSES[name].value(by_class, own),
            "val_accuracy": LOSSES[name].score(by_class, own),
        }
        return {name: float(np.mean(np.asarray(value, np.float64))) for name, value in measured.items()}

    def monitored(self, record: Mapping[str, Any]) -> float:
        """Return what an epoch is chosen by, better when smaller; without validation rows the training loss."""
        if "val_loss" not in record:
            return float(record["loss"])
        score = self.programs[-1].phase.settings.monitor == "score"
        return float(-record["val_accuracy"] if score else record["val_loss"])


def first_reason(inputs: Inputs) -> str:
    """Return why the first unreadable image could not be read."""
    return next(iter(inputs.unreadable.values()), "unknown")
