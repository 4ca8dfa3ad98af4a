"""A backbone up to a head's layer, and the head, as one pure function of named arrays.

The caller takes gradients with respect to the arrays that train. Names are those of `LoadedBackbone.tensors`, and
``head.NAME`` for the head's own.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from featcache.backbones.chain import variables
from featcache.backbones.layer import Layer
from featcache.backbones.loaded import network_input
from featcache.finetuning.settings import HEAD
from featcache.heads.model import BATCH_AXIS, HEADS, HeadArchitecture, draw_flat
from featcache.images.transforms import Transforms

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone

Values: TypeAlias = Mapping[str, Any]
"""Arrays by name."""

PREFIX = f"{HEAD}."


@dataclass(frozen=True)
class Model:
    """A network and a head on one of its layers.

    Parameters
    ----------
    network, layer, transforms
        The backbone, the layer that the head takes, and how pixels become the network's input.
    form
        The architecture of the head.
    compute_dtype
        The dtype that the network computes in.
    batch_norm_momentum
        Share of the old running statistics that a step keeps, where they are updated.
    """

    network: "LoadedBackbone"
    layer: Layer
    transforms: Transforms
    form: HeadArchitecture
    compute_dtype: str = "float32"
    batch_norm_momentum: float = 0.9

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the head's layer needs, in the order of the data."""
        chain = self.network.network
        return chain.order[: chain.order.index(chain.stage_of(self.layer.stage)) + 1]

    @cached_property
    def stage_of(self) -> Mapping[str, str]:
        """The stage of each of the network's arrays; a stage's name may hold dots (``blocks.0``)."""
        return {name: str(path[1]) for name, (path, _) in variables(self.network.state).items()}

    def values(self, head: Values) -> dict[str, np.ndarray]:
        """Return all arrays of the model: those of `stages`, and the head's."""
        wanted = set(self.stages)
        own = {n: v for n, v in self.network.tensors.items() if self.stage_of[n] in wanted}
        return own | {PREFIX + name: np.asarray(value, np.float32) for name, value in head.items()}

    def statistics(self) -> frozenset[str]:
        """Return the names of BatchNorm's running statistics, which have no gradient."""
        flat = variables(self.network.state)
        return frozenset(name for name, (_, leaf) in flat.items() if isinstance(leaf, nnx.BatchStat))

    def pixels(self, images: jax.Array) -> jax.Array:
        """Return the network's input from photos uint8 ``[B, H, W, 3]``."""
        return network_input(images, self.transforms)

    def features(
        self, values: Values, x: jax.Array, *, after: str | None, moving: Collection[str] = ()
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Run the chain from after stage `after` (``None``: from its input) to the head's layer.

        Parameters
        ----------
        values
            All arrays of the stages that run.
        x
            The output of stage `after`, or the network's normalised input, ``[B, …]``.
        after
            See `featcache.backbones.chain.Backbone`; ``"head"``: `x` is the features already.
        moving
            Stages whose BatchNorms normalise by the batch, and update their running statistics.

        Returns
        -------
        features, statistics
            float32 ``[B, …]``, and the new running statistics of the `moving` stages.
        """
        dtype = jnp.dtype(self.compute_dtype)
        if after == HEAD:
            return x.astype(jnp.float32), {}
        if after == self.layer.stage:
            return self.layer.apply(x).astype(jnp.float32), {}
        network = nnx.merge(self.network.graphdef, self._state(values))
        for stage in moving:
            network.stages[stage].set_attributes(
                batch_statistics=True, momentum=self.batch_norm_momentum, raise_if_not_found=False
            )
        tap = self.layer.stage
        out = network(x.astype(dtype), taps=(tap,), after=after)[tap]
        moved = variables(nnx.state(network, nnx.BatchStat)) if moving else {}
        kept = {n: leaf[...] for n, (_, leaf) in moved.items() if self.stage_of[n] in moving}
        return self.layer.apply(out).astype(jnp.float32), kept

    def _state(self, values: Values) -> Any:
        # Stages that do not run keep their loaded arrays, which are not traced into the program.
        return nnx.from_flat_state(
            [
                (path, leaf.replace(values[name]) if name in values else leaf)
                for name, (path, leaf) in variables(self.network.state).items()
            ]
        )

    def logits(self, values: Values, features: jax.Array) -> jax.Array:
        """Return the head's outputs ``[B, C]`` of features ``[B, …]``."""
        head = head_of(values)
        flat = features.reshape(len(features), -1)
        return jax.vmap(lambda row: HEADS[self.form.head].logits(self.form, head, row))(flat)

    def train_logits(
        self, values: Values, features: jax.Array, *, dropout: float, key: jax.Array
    ) -> jax.Array:
        """Return outputs ``[B, C]`` for training, with dropout of hidden units."""
        if not (dropout and self.form.units):
            return self.logits(values, features)
        head, form = head_of(values), self.form
        product = form.scaled(features.reshape(len(features), -1)) @ head[form.first]
        uniform = draw_flat(jax.random.uniform, key, (len(features), form.units))

        def one(product: jax.Array, uniform: jax.Array) -> jax.Array:
            weight, share = jnp.ones(()), jnp.asarray(dropout)
            return HEADS[form.head].train_logits(form, head, product, weight, share, uniform)[0]

        return jax.vmap(one, axis_name=BATCH_AXIS)(product, uniform)


def head_of(values: Values) -> dict[str, Any]:
    """Return the head's own arrays, without the prefix."""
    return {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}
