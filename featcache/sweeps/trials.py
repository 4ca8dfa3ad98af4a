"""The heads that a sweep fits: configurations × seeds × folds × shots, and which of them share a program."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featcache.core.argument_types import spelled
from featcache.core.identity import sha256_json
from featcache.errors import UsageError
from featcache.heads.settings import DESCENT, FULL_BATCH, HEADS, SETTINGS, Settings, settings_for
from featcache.sweeps.axes import Axis, Given, read_axis

RELEVANT: Mapping[str, tuple[str, ...]] = {head: settings_for(head) for head in HEADS}
"""The settings that each kind of head uses; axes over others are not multiplied out for it."""

STEPS_ONLY = frozenset(name for name, setting in SETTINGS.items() if "lbfgs" not in setting.optimizers)
"""Settings without effect on full-batch optimisers."""


@dataclass(frozen=True)
class Trial:
    """One head to fit.

    Parameters
    ----------
    cache
        Index of the cache among those of the sweep.
    layer
        Name of one of its layers.
    settings
        How it is trained, with the trial's seed.
    fold
        Number of the fold that is held out; ``None`` with fixed validation rows.
    shots
        Training examples of each class; ``None`` for all.
    """

    cache: int
    layer: str
    settings: Settings
    fold: int | None = None
    shots: int | None = None

    @property
    def configuration(self) -> "Trial":
        """The trial without its seed and fold: what a sweep chooses between."""
        return replace(self, settings=replace(self.settings, seed=0), fold=None)

    def program(self) -> tuple[Any, ...]:
        """Return a key that is equal for trials which one program can fit on the same rows."""
        own = self.settings
        common = (self.cache, self.layer, self.shots, own.head)
        if own.head not in DESCENT:
            shared = {
                "logistic": ("scaling", "views"),
                "ridge": ("scaling", "views"),
                "knn": ("metric", "temperature"),
                "prototype": ("metric", "views"),
            }
            return (*common, *(getattr(own, name) for name in shared[own.head]))
        architecture = (own.hidden, own.activation, own.batch_norm) if own.head == "mlp" else ()
        flags = (own.clip is not None, own.mixup > 0, own.noise > 0, own.scaling, own.views)
        steps = (own.loss, own.optimizer, own.schedule, own.batch_size, own.epochs, own.monitor)
        return (*common, *architecture, *flags, *steps)

    def identity(self, features: str, rows: str, views: Mapping[str, Any]) -> str:
        """Return a name for the result: the same for the same trial on the same features and rows.

        Parameters
        ----------
        features
            Fingerprint of the plain images' features.
        rows
            Hash over the rows and how they are divided.
        views
            How the cache's views were drawn, as in its recipe. Left out for heads that learn from the plain images:
            they have the same name on a cache without views.
        """
        told = {
            name: getattr(self.settings, name) for name in ("head", "seed", *RELEVANT[self.settings.head])
        }
        if told.get("scaling") in (
            "standard",
            "none",
        ):  # results from before there was another keep their names
            told["standardize"] = told.pop("scaling") == "standard"
        if told.get("views") in (None, 1):
            told.pop("views", None)
        else:
            told["views"] = {**views, "count": told["views"]}
        return sha256_json(
            {
                "features": features,
                "rows": rows,
                "fold": self.fold,
                "shots": self.shots,
                "settings": {name: list(v) if isinstance(v, tuple) else v for name, v in told.items()},
            }
        )[:16]


def read_axes(given: Mapping[str, Given]) -> dict[str, Axis]:
    """Return an axis for each setting that a sweep may try: what is given, else its grid or its default.

    Raises
    ------
    UsageError
        A setting is unknown, or values are not in the grammar.
    """
    told = {name: value for name, value in given.items() if value is not None}
    defaults = {name: setting.grid or setting.default for name, setting in SETTINGS.items() if setting.axis}
    return {name: read_axis(name, value) for name, value in (defaults | told).items()}


def configurations(axes: Mapping[str, Axis], *, trials: int | None = None, seed: int = 0) -> list[Settings]:
    """Return the settings to try: all combinations for each kind of head, or some at random.

    Parameters
    ----------
    axes
        One for each setting that a sweep may try.
    trials
        How many to draw at random for each kind of head; ``None`` for the whole grid.
    seed
        Seed of the draw.

    Raises
    ------
    UsageError
        A grid has a range without a count, or a value is not valid.
    """
    found: dict[Settings, None] = {}
    for head in axes["head"].values:
        if head not in HEADS:
            Settings(head=head)  # raises, naming those that exist
        relevant = [axes[name] for name in RELEVANT[head]]
        for values in _grid(relevant) if trials is None else _draws(relevant, trials, seed, head):
            found[Settings(head=head, **_told(head, values))] = None
    return list(found)


def _told(head: str, values: dict[str, Any]) -> dict[str, Any]:
    """Drop settings that the optimiser ignores, so that no head is fitted twice."""
    if head not in DESCENT or values["optimizer"] not in FULL_BATCH:
        return values
    return {name: value for name, value in values.items() if name not in STEPS_ONLY}


def _grid(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    for axis in axes:
        if not axis.values:
            raise UsageError(
                f"{spelled(axis.name)}: a range without a count is for random search; "
                "give a count, such as log8, or --trials"
            )
    return [
        {axis.name: value for axis, value in zip(axes, values, strict=True)}
        for values in itertools.product(*(axis.values for axis in axes))
    ]


def _draws(axes: Sequence[Axis], trials: int, seed: int, head: str) -> list[dict[str, Any]]:
    # One generator for each kind of head: adding a kind does not change the draws of another.
    random = np.random.default_rng([seed, HEADS.index(head)])
    return [{axis.name: axis.draw(random) for axis in axes} for _ in range(trials)]


def groups(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Group the trials by program, in the order of each group's first trial."""
    found: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.program(), []).append(trial)
    return list(found.values())
