"""The chain of named stages: one forward method that runs from any stage to any stage.

Removing the top, freezing the bottom, tapping a layer, original ImageNet predictions and fine-tuning from a
cached map are all this call with different end points.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import jax
from flax import nnx

from featcache.errors import UnknownNameError, UsageError, did_you_mean

Recorder = Callable[[str, jax.Array], jax.Array]
"""Called by a stage with the name of an inner point and its value; returns the value to go on with."""


class Stage(Protocol):
    """A stage of the chain: an ``nnx.Module`` that maps one array to one array.

    A stage with inner values that can be tapped (``block_13_expand_relu`` inside ``block_13``) also has
    ``points``, the suffixes of those values, and takes `record`.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the previous stage's output to this stage's."""
        ...


class Backbone(nnx.Module):
    """An ordered chain of named stages.

    Parameters
    ----------
    stages
        Stage name to module, in the order the data flows. The first takes images ``[B, H, W, 3]``.
    aliases
        Other frameworks' names of the same values, to our names. Every chain has ``pool``, the default layer:
        a stage of its own, or (where the original has none) the alias of the map that is pooled.
    prefix_tokens
        How many tokens of a transformer's ``[B, N, D]`` values come before those of the patches (class token,
        registers).
    """

    def __init__(
        self,
        stages: Mapping[str, nnx.Module],
        aliases: Mapping[str, str] | None = None,
        *,
        prefix_tokens: int = 0,
    ) -> None:
        self.order = tuple(stages)
        self.aliases = tuple((aliases or {}).items())
        self.prefix_tokens = prefix_tokens
        self.stages = nnx.Dict(stages)

    def without(self, stages: Iterable[str]) -> "Backbone":
        """Return the chain that ends before the first of `stages` (``include_top=False``)."""
        end = min(map(self.order.index, stages))
        kept = {name: self.stages[name] for name in self.order[:end]}
        return Backbone(kept, dict(self.aliases), prefix_tokens=self.prefix_tokens)

    @property
    def points(self) -> tuple[str, ...]:
        """Names of all values that can be tapped: the stages and their inner points, in order of the data."""
        names: list[str] = []
        for stage in self.order:
            names += [f"{stage}_{point}" for point in getattr(self.stages[stage], "points", ())]
            names.append(stage)
        return tuple(names)

    def resolve(self, name: str) -> str:
        """Return our name for `name`; raise `UnknownNameError` with the nearest names if there is none."""
        known = self.points
        if name in known:
            return name
        alias = dict(self.aliases).get(name)
        if alias not in known:  # without a top, some aliases have nothing to name
            raise UnknownNameError(f"no stage {name!r} in this network; {did_you_mean(name, known)}")
        return alias

    def stage_of(self, point: str) -> str:
        """Return the stage in which `point` arises (itself, if it is a stage)."""
        for stage in self.order:
            inner = (f"{stage}_{p}" for p in getattr(self.stages[stage], "points", ()))
            if point == stage or point in inner:
                return stage
        raise UnknownNameError(f"no stage {point!r} in this network; {did_you_mean(point, self.points)}")

    def __call__(
        self,
        x: jax.Array,
        *,
        taps: Iterable[str] = ("pool",),
        after: str | None = None,
        added: Mapping[str, jax.Array] | None = None,
    ) -> dict[str, jax.Array]:
        """Run the chain as far as the last tap and return the tapped values.

        Parameters
        ----------
        x
            Normalised images ``[B, H, W, 3]``, or the output of stage `after`.
        taps
            Names of stages or inner points whose values to return.
        after
            The stage whose output `x` is; the chain runs from the next one. ``None``: `x` is the input.
        added
            Names of stages or inner points to what is added to their values on the way: with zeros, what comes out has
            derivatives with respect to these values, wherever they arise.

        Returns
        -------
        dict
            Tap, as it was written, to its value.

        Raises
        ------
        UnknownNameError
            If a tap or `after` is no stage, or a tap lies at or before `after`.
        UsageError
            If there is no tap, or `after` is a value inside a stage.
        """
        wanted = {tap: self.resolve(tap) for tap in taps}
        if not wanted:
            raise UsageError(f"no layer was asked for; name at least one, such as {self.order[-1]!r}")
        start = 0 if after is None else self.order.index(self._stage(after)) + 1
        last = max(self.order.index(self.stage_of(point)) for point in wanted.values())
        changes = {self.resolve(name): change for name, change in (added or {}).items()}
        seen: dict[str, jax.Array] = {}
        for stage in self.order[start : last + 1]:
            x = self._run_stage(stage, x, seen, changes)
            x = seen[stage] = x + changes[stage] if stage in changes else x
        unreached = [tap for tap, point in wanted.items() if point not in seen]
        if unreached:
            raise UnknownNameError(f"stages {unreached} lie at or before {after!r}, where the run starts")
        return {tap: seen[point] for tap, point in wanted.items()}

    def _stage(self, name: str) -> str:
        point = self.resolve(name)
        if point in self.order:
            return point
        # Its shape may well be that of the stage's output, and the numbers would silently be wrong.
        stage = self.stage_of(point)
        raise UsageError(
            f"{name!r} lies inside stage {stage!r}, and a run can only start after a whole stage; "
            f"start after {stage!r} or the one before"
        )

    def _run_stage(
        self, stage: str, x: jax.Array, seen: dict[str, jax.Array], changes: Mapping[str, jax.Array]
    ) -> jax.Array:
        module = self.stages[stage]
        if not getattr(module, "points", ()):
            return module(x)

        def record(point: str, value: jax.Array) -> jax.Array:
            name = f"{stage}_{point}"
            seen[name] = value + changes[name] if name in changes else value
            return seen[name]

        return module(x, record)


def record_nothing(point: str, value: jax.Array) -> jax.Array:
    """A `Recorder` that keeps nothing."""
    del point
    return value


def variables(state: nnx.State) -> dict[str, tuple[tuple[Any, ...], nnx.Variable]]:
    """Return a state's variables and their paths by our names, such as ``block_1.expand.conv.kernel``."""
    # The first part of a path is the chain's own "stages".
    return {".".join(str(part) for part in path[1:]): (path, leaf) for path, leaf in nnx.to_flat_state(state)}
