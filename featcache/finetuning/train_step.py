"""The train step and the evaluation outputs of fine-tuning, jitted once for each phase.

A state is a dictionary of dictionaries of named arrays, so that a checkpoint holds just its leaves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from featcache.finetuning.model import Model, Values
from featcache.heads.losses import LOSSES
from featcache.heads.settings import Settings, loss_of
from featcache.solvers.optimizers import Hyperparameters, directions, hyperparameters, rate, start

State: TypeAlias = dict[str, Any]
"""``values`` (trained parameters), ``moving`` (running statistics that are updated), ``optimizer``, ``average``,
``gradients`` (accumulated since the last step), ``batches`` and ``steps`` (done, int32)."""


class BatchSums(NamedTuple):
    """Sums over the rows of a batch: of the weighted losses, of the weights, of right answers, and of rows."""

    loss: jax.Array
    weight: jax.Array
    right: jax.Array
    rows: jax.Array


@dataclass(frozen=True)
class Phase:
    """A part of the training in which the same parameters train.

    Parameters
    ----------
    name
        ``"head"`` or ``"backbone"``.
    settings
        Optimiser, schedule, learning rate, `epochs` and so on of this phase.
    rates
        Learning rate of each trained parameter, by name.
    moving
        Stages whose running statistics are updated.
    after
        The phase's input: the output of this stage, ``None`` for photos, ``"head"`` for features.
    steps_per_epoch
        Optimiser steps per epoch.
    accumulate, average
        See `featcache.finetuning.settings.FineTuningSettings`.
    """

    name: str
    settings: Settings
    rates: Mapping[str, float]
    moving: tuple[str, ...]
    after: str | None
    steps_per_epoch: int
    accumulate: int = 1
    average: float | None = None


@dataclass(frozen=True)
class TrainStep:
    """The compiled programs of a phase.

    Parameters
    ----------
    model, phase
        The model and the phase that it trains in.
    """

    model: Model
    phase: Phase

    def start(self, values: Values) -> State:
        """Return the state before the first step of the phase, from all arrays of the model."""
        return jax.jit(self._start)(*self._arrays(values))  # one program, not one for each of the many shapes

    def template(self, values: Values) -> State:
        """Return shapes and dtypes of a state, without computing one."""
        return jax.eval_shape(self._start, *self._arrays(values))

    def _arrays(self, values: Values) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the trained parameters, and the statistics that are updated."""
        trained, moving = (
            {name: np.asarray(values[name], np.float32) for name in sorted(names)}
            for names in (self.phase.rates, self._moving_names)
        )
        return trained, moving

    def _start(self, trained: dict[str, jax.Array], moving: dict[str, jax.Array]) -> State:
        # Copies: a state's buffers are donated to the step, and none may be donated twice.
        averaged = {**trained, **moving} if self.phase.average is not None else {}
        return {
            "values": jax.tree.map(jnp.copy, trained),
            "moving": jax.tree.map(jnp.copy, moving),
            "optimizer": start(self.phase.settings.optimizer, trained),
            "average": jax.tree.map(jnp.copy, averaged),
            "gradients": jax.tree.map(jnp.zeros_like, trained) if self.phase.accumulate > 1 else {},
            "batches": jnp.zeros((), jnp.int32),
            "steps": jnp.zeros((), jnp.int32),
        }

    @cached_property
    def _moving_names(self) -> frozenset[str]:
        moving = set(self.phase.moving)
        return frozenset(n for n in self.model.statistics() if self.model.stage_of[n] in moving)

    @cached_property
    def changing(self) -> frozenset[str]:
        """Names of the arrays that this phase changes."""
        return frozenset({*self.phase.rates, *self._moving_names})

    def fixed(self, values: Values) -> dict[str, Any]:
        """Return the arrays that the phase uses without changing them."""
        return {n: value for n, value in values.items() if n not in self.changing and self._runs(n)}

    def _runs(self, name: str) -> bool:
        after, stages = self.phase.after, self.model.stages
        stage = self.model.stage_of.get(name)
        if stage is None or after is None:  # an array of the head, or every stage runs
            return True
        return after in stages and stages.index(stage) > stages.index(after)

    def eval_values(self, state: State) -> dict[str, Any]:
        """Return the arrays that are validated and kept: the moving averages, where there are any."""
        return dict(state["average"] or {**state["values"], **state["moving"]})

    # Compiled -----------------------------------------------------------------------------------------------

    @cached_property
    def step(self) -> Any:
        """``(state, fixed, x, targets, weight [B]) -> (state, Measured)``; the state's buffers are donated."""
        return jax.jit(self._step, donate_argnums=0)

    @cached_property
    def outputs(self) -> Any:
        """``(values, fixed, x) -> [B, C]``: outputs in inference mode, without dropout and mixup."""
        return jax.jit(self._outputs)

    @cached_property
    def gradients(self) -> Any:
        """``(values, moving, fixed, x, targets, weight, key) -> ((loss, …), gradients)``."""
        return jax.jit(self._gradients)

    @property
    def _gradients(self) -> Any:
        return jax.value_and_grad(self._loss, has_aux=True)

    def _input(self, x: jax.Array) -> jax.Array:
        return self.model.pixels(x) if self.phase.after is None else x.astype(jnp.float32)

    def _outputs(self, values: Values, fixed: Values, x: jax.Array) -> jax.Array:
        with self._precision():
            everything = {**fixed, **values}
            features, _ = self.model.features(everything, self._input(x), after=self.phase.after)
            return self.model.logits(everything, features)

    def _precision(self) -> Any:
        # "highest" keeps float32 products float32 on GPUs and TPUs, as extraction does.
        return jax.default_matmul_precision("highest" if self.model.compute_dtype == "float32" else "default")

    def _loss(
        self,
        values: Values,
        moving: Values,
        fixed: Values,
        x: jax.Array,
        targets: jax.Array,
        weight: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, tuple[dict[str, jax.Array], BatchSums]]:
        settings = self.phase.settings
        everything = {**fixed, **moving, **values}
        mixing, dropping = jax.random.split(key)
        x = self._input(x)
        partner, share = jnp.arange(len(x)), jnp.ones(())
        if settings.mixup:
            partner, share = _draw_mixup(mixing, len(x), settings.mixup)
            x = share * x + (1 - share) * x[partner]
        features, moved = self.model.features(everything, x, after=self.phase.after, moving=self.phase.moving)
        outputs = self.model.train_logits(everything, features, dropout=settings.dropout, key=dropping)
        loss = LOSSES[loss_of(settings)]
        by_class = outputs.T  # losses take classes first
        own, other = targets.T, targets[partner].T
        smoothing = settings.label_smoothing
        losses = share * loss.value(by_class, own, smoothing) + (1 - share) * loss.value(
            by_class, other, smoothing
        )
        count = jnp.sum(weight)
        total = jnp.sum(jnp.where(weight > 0, losses, 0.0) * weight)
        right = jnp.sum(loss.score(by_class, own) * (weight > 0))
        measured = BatchSums(total, count, right, jnp.sum(weight > 0))
        return total / jnp.maximum(count, 1e-9), (moved, measured)

    def _step(
        self, state: State, fixed: Values, x: jax.Array, targets: jax.Array, weight: jax.Array
    ) -> tuple[State, BatchSums]:
        # Rows that only pad the last device's share must reach neither batch statistics nor mixup.
        x = x[: len(weight)]
        key = jax.random.fold_in(jax.random.key(self.phase.settings.seed), state["batches"])
        with self._precision():
            (_, (moved, measured)), gradients = self._gradients(
                state["values"], state["moving"], fixed, x, targets, weight, key
            )
        state = {**state, "moving": {**state["moving"], **moved}, "batches": state["batches"] + 1}
        every = self.phase.accumulate
        if every == 1:
            return self._update(state, gradients), measured
        summed = jax.tree.map(lambda s, g: s + g / every, state["gradients"], gradients)

        def step() -> State:
            return {**self._update(state, summed), "gradients": jax.tree.map(jnp.zeros_like, summed)}

        due = state["batches"] % every == 0
        return jax.lax.cond(due, step, lambda: {**state, "gradients": summed}), measured

    def _update(self, state: State, gradients: Values) -> State:
        """Return the state after one step of the optimiser and of the moving average."""
        settings, number = self.phase.settings, state["steps"]
        hyper = self._hyper
        steps, optimizer = directions(
            settings.optimizer,
            state["values"],
            state["optimizer"],
            gradients,
            hyper,
            number,
            clip=settings.clip is not None,
        )
        factor = rate(
            settings.schedule,
            hyper,
            number,
            steps_per_epoch=self.phase.steps_per_epoch,
            epochs=settings.epochs,
        )
        values = {
            name: value - self.phase.rates[name] * factor * steps[name]
            for name, value in state["values"].items()
        }
        average = state["average"]
        if self.phase.average is not None:
            kept = self.phase.average
            average = jax.tree.map(
                lambda old, new: kept * old + (1 - kept) * new, average, {**values, **state["moving"]}
            )
        return {**state, "values": values, "optimizer": optimizer, "average": average, "steps": number + 1}

    @cached_property
    def _hyper(self) -> Hyperparameters:
        """The optimiser's hyperparameters; the learning rate is 1, because each parameter has its own."""
        given = self.phase.settings
        names = ("weight_decay", "label_smoothing", "momentum", "warmup", "end", "power")
        clip = float("inf") if given.clip is None else given.clip
        found = hyperparameters(
            learning_rate=1.0, clip=clip, **{name: getattr(given, name) for name in names}
        )
        return Hyperparameters(*(np.float32(value[0]) for value in found))

    def rate_now(self, steps: int) -> float:
        """Return the schedule's factor on the learning rates at a step."""
        return float(self._rate(steps))

    @cached_property
    def _rate(self) -> Any:
        settings = self.phase.settings
        return jax.jit(
            partial(
                rate,
                settings.schedule,
                self._hyper,
                steps_per_epoch=self.phase.steps_per_epoch,
                epochs=settings.epochs,
            )
        )


def _draw_mixup(key: jax.Array, rows: int, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Return each row's mixup partner, and the weight λ of the row itself (Zhang et al., https://arxiv.org/abs/1710.09412)."""
    order, share = jax.random.split(key)
    return jax.random.permutation(order, rows), jax.random.beta(share, alpha, alpha)
