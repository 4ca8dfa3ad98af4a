"""Attention rollout: how much of each patch reaches what the head reads, through all blocks of a transformer.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers", https://arxiv.org/abs/2005.00928. The residual
connection is counted as half of each block. It knows of no class: it shows where the network looks, not what for.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from featcache.backbones.loaded import network_input
from featcache.backbones.nn.attention import AttentionPool
from featcache.explanations.places import as_grid, block_stages
from featcache.explanations.subject import Subject


def rollout_heat(subject: Subject, images: np.ndarray) -> np.ndarray:
    """Return heat float32 ``[B, 1, rows, columns]`` for pictures uint8 ``[B, H, W, 3]``; its values are shares."""
    network = subject.network
    key = ("rollout", subject.layer, subject.transforms, subject.compute_dtype)
    run = network.remembered(key, partial(_compile, subject))
    shares = np.asarray(run(network.state, images))
    return as_grid(shares[..., None], network, subject.transforms)[..., 0][:, None]


def _compile(subject: Subject) -> Any:
    network, layer, transforms = subject.network, subject.layer, subject.transforms
    assert layer is not None
    graphdef, dtype = network.graphdef, jnp.dtype(subject.compute_dtype)
    order, prefix = network.network.order, network.network.prefix_tokens
    blocks = block_stages(network, layer)
    before = [order[order.index(block) - 1] for block in blocks]
    seen = order[: order.index(network.network.stage_of(layer.stage)) + 1]
    pool = next((name for name in seen if isinstance(network.network.stages[name], AttentionPool)), None)
    taken = [*before, *([] if pool is None else [order[order.index(pool) - 1]])]
    by_token = prefix > 0 and layer.pooling != "avg"
    precision = "highest" if dtype == jnp.float32 else "default"

    def run(state: Any, images: jax.Array) -> jax.Array:
        chain = nnx.merge(graphdef, state)
        with jax.default_matmul_precision(precision):
            found = chain(network_input(images, transforms).astype(dtype), taps=dict.fromkeys(taken))
            flow = None
            for block, stage in zip(blocks, before, strict=True):
                module: Any = chain.stages[block]
                weights = module.attn.weights(module.norm1(found[stage])).mean(axis=1)
                step = (weights + jnp.eye(weights.shape[-1])) / 2
                flow = step if flow is None else step @ flow
            assert flow is not None
            if pool is not None:
                reading: Any = chain.stages[pool]
                return (reading.weights(found[taken[-1]]).mean(axis=1) @ flow)[:, 0]
            return flow[:, 0] if by_token else flow[:, prefix:].mean(axis=1)

    return jax.jit(run)
