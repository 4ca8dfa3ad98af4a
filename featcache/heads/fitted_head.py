"""A fitted head, and its raw outputs on features, averaged over an image's views if asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from featcache.core.forked import require_jax
from featcache.errors import DataError, IntegrityError, UsageError
from featcache.heads.settings import Settings, loss_of
from featcache.heads.task_types import TASK_TYPES


@dataclass(frozen=True)
class FittedHead:
    """A head's parameters and settings.

    Parameters
    ----------
    settings
        The settings that it was trained with.
    parameters
        Its arrays, for raw features.
    classes
        Number of classes (multiclass), labels (multilabel) or targets (regression).
    task
        The task; see `featcache.core.tasks.TASKS`.
    """

    settings: Settings
    parameters: Mapping[str, np.ndarray]
    classes: int
    task: str

    @property
    def width(self) -> int:
        """Width D of its input features."""
        for name, axis in (("features", 1), ("kernel_0", 0), ("kernel", 0)):
            if name in self.parameters:
                return int(self.parameters[name].shape[axis])
        raise IntegrityError(f"a {self.settings.head} head without numbers; train it again")

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return raw outputs ``[N, C]`` of features ``[N, …]``, which are flattened.

        Raises
        ------
        UsageError
            If they are of another width.
        DataError
            If an output is NaN or infinite, so that nothing could be said about an image.
        """
        require_jax()
        from featcache.heads.inference import outputs

        flat = np.asarray(features, np.float32).reshape(len(features), int(np.prod(np.shape(features)[1:])))
        if flat.shape[1] != self.width:
            raise UsageError(f"features of width {flat.shape[1]}; this classifier takes {self.width}")
        single = {name: value[None] for name, value in self.parameters.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused
            found = outputs(self.settings, single, flat, classes=self.classes)[0]
        # A class without training rows is minus infinitely likely; not all may be.
        bad = np.flatnonzero(~np.isfinite(found.max(axis=1, initial=-np.inf)))
        if len(bad):
            raise DataError(
                f"the head's outputs of row {bad[0]} are NaN or infinite: the features, or the head's numbers, are too "
                "large; train it again with a lower learning rate"
            )
        return found

    def raw(self, features: np.ndarray, *, tta: bool) -> tuple[np.ndarray, str]:
        """Return raw outputs ``[N, C]``, and the loss by which they are to be interpreted.

        With `tta`, values are averaged over views and converted back to raw outputs; see
        `featcache.heads.task_types.TaskType.to_raw`.

        Parameters
        ----------
        features
            ``[N, …]``; with `tta` all views of each image, ``[N, V, …]``.
        tta
            Whether to average.
        """
        loss = loss_of(self.settings)
        if not tta:
            return self.logits(features), loss
        count, views = np.shape(features)[:2]
        logits = self.logits(np.reshape(features, (count * views, *np.shape(features)[2:])))
        task_type = TASK_TYPES[self.task]
        each = task_type.values(loss, logits, self.classes)
        return task_type.to_raw(each.reshape(count, views, self.classes).mean(axis=1, dtype=np.float64))
