"""The layers of transformers over image patches: attention, its block, its pooling, positions at any size.

Vaswani et al., "Attention Is All You Need", https://arxiv.org/abs/1706.03762

Values are tokens ``[B, N, D]``: batch, tokens, width. Attributes have timm's names (``attn.qkv``, ``mlp.fc1``).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from featcache.backbones.chain import Record, forget
from featcache.backbones.layers import Activation, Dense, LayerNorm, Serial
from featcache.errors import UsageError

HEAD_WIDTH = 64
"""Width of one head: the same in every network that is known here."""


def quick_gelu(x: jax.Array) -> jax.Array:
    """``x · sigmoid(1.702 x)``: the approximation of GELU with which OpenAI trained CLIP."""
    return x * jax.nn.sigmoid(1.702 * x)


def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Mean of `value` weighted by how much each key resembles each query, softmax in float32.

    Parameters
    ----------
    query
        ``[B, heads, N, d]``.
    key, value
        ``[B, heads, M, d]``.

    Returns
    -------
    jax.Array
        ``[B, N, heads · d]``.
    """
    # Heads first and two batched products: of 1370 tokens (DINOv2) on a CPU in half the time of an einsum with the
    # heads behind the tokens, and 0.6 of jax.nn.dot_product_attention's; of 197 tokens all take the same.
    alike = query * query.shape[-1] ** -0.5 @ key.swapaxes(-1, -2)
    weights = jax.nn.softmax(alike.astype(jnp.float32), axis=-1).astype(value.dtype)
    mean = (weights @ value).swapaxes(1, 2)
    return mean.reshape(*mean.shape[:2], -1)


def split_heads(x: jax.Array, parts: int) -> jax.Array:
    """Split ``[B, N, parts · D]`` into `parts` arrays of ``[B, heads, N, d]``, stacked on the first axis."""
    return x.reshape(*x.shape[:2], parts, -1, HEAD_WIDTH).transpose(2, 0, 3, 1, 4)


class Attention(nnx.Module):
    """Self-attention: each token becomes a mean of all, weighted anew in each head."""

    def __init__(self, width: int, *, rngs: nnx.Rngs | None) -> None:
        self.qkv = Dense(width, 3 * width, rngs=rngs)
        self.proj = Dense(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, N, D]`` to the same shape."""
        query, key, value = split_heads(self.qkv(x), 3)
        return self.proj(attend(query, key, value))


class AttentionPool(nnx.Module):
    """Tokens to one vector: one learnt query attends to all of them, then an MLP (the head of SigLIP).

    Lee et al., "Set Transformer", https://arxiv.org/abs/1810.00825; Zhai et al., "Scaling Vision Transformers",
    https://arxiv.org/abs/2106.04560
    """

    def __init__(self, width: int, *, epsilon: float, activation: Activation, rngs: nnx.Rngs | None) -> None:
        self.latent = nnx.Param(jnp.zeros((1, 1, width)))
        self.q = Dense(width, width, rngs=rngs)
        self.kv = Dense(width, 2 * width, rngs=rngs)
        self.proj = Dense(width, width, rngs=rngs)
        self.norm = LayerNorm(width, epsilon=epsilon)
        self.mlp = mlp(width, activation=activation, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, N, D]`` to ``[B, D]``."""
        latent = jnp.broadcast_to(self.latent[...].astype(x.dtype), (x.shape[0], 1, x.shape[2]))
        (query,) = split_heads(self.q(latent), 1)
        key, value = split_heads(self.kv(x), 2)
        y = self.proj(attend(query, key, value))
        return (y + self.mlp(self.norm(y)))[:, 0]


class LayerScale(nnx.Module):
    """A learnt factor for each channel (`scale`, ``[D]``) of what a block adds.

    Touvron et al., "Going deeper with Image Transformers", https://arxiv.org/abs/2103.17239
    """

    def __init__(self, width: int) -> None:
        self.scale = nnx.Param(jnp.ones(width))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scale ``[..., D]``."""
        return x * self.scale[...].astype(x.dtype)


def mlp(width: int, *, activation: Activation, rngs: nnx.Rngs | None) -> Serial:
    """Two dense layers with an activation in between, four times as wide inside."""
    return Serial(
        fc1=Dense(width, 4 * width, activation=activation, rngs=rngs), fc2=Dense(4 * width, width, rngs=rngs)
    )


class TransformerBlock(nnx.Module):
    """Attention, then an MLP, each normalised before and added to what came in (scaled, with `layer_scale`).

    Its points ``attn`` and ``mlp`` are the outputs of the two, before they are scaled and added.
    """

    def __init__(
        self,
        width: int,
        *,
        epsilon: float,
        activation: Activation,
        layer_scale: bool,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.norm1 = LayerNorm(width, epsilon=epsilon)
        self.attn = Attention(width, rngs=rngs)
        self.ls1 = LayerScale(width) if layer_scale else None
        self.norm2 = LayerNorm(width, epsilon=epsilon)
        self.mlp = mlp(width, activation=activation, rngs=rngs)
        self.ls2 = LayerScale(width) if layer_scale else None
        self.points = ("attn", "mlp")

    def __call__(self, x: jax.Array, record: Record = forget) -> jax.Array:
        """Map ``[B, N, D]`` to the same shape."""
        y = record("attn", self.attn(self.norm1(x)))
        x = x + (y if self.ls1 is None else self.ls1(y))
        y = record("mlp", self.mlp(self.norm2(x)))
        return x + (y if self.ls2 is None else self.ls2(y))


class Patches(nnx.Module):
    """Each patch of ``size × size`` pixels to one vector: `kernel` is ``[size, size, 3, D]``, `bias` ``[D]``."""

    def __init__(self, size: int, width: int, *, use_bias: bool, rngs: nnx.Rngs | None) -> None:
        self.size = size
        shape = (size, size, 3, width)
        zeros = jnp.zeros(shape)
        self.kernel = nnx.Param(
            zeros if rngs is None else nnx.initializers.lecun_normal()(rngs.params(), shape)
        )
        self.bias = nnx.Param(jnp.zeros(width)) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, 3]`` to ``[B, H / size, W / size, D]``; raise `UsageError` where a patch is cut."""
        batch, height, width, channels = x.shape
        size = self.size
        if height % size or width % size:
            raise UsageError(
                f"images of {height}×{width} are no whole number of patches of {size}×{size} pixels; give them "
                f"{_nearest('height', height, size)} and {_nearest('width', width, size)}"
            )
        patches = x.reshape(batch, height // size, size, width // size, size, channels).swapaxes(2, 3)
        y = jnp.einsum("brcijk,ijkd->brcd", patches, self.kernel[...].astype(x.dtype))
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


def _nearest(side: str, pixels: int, size: int) -> str:
    lower, upper = pixels // size * size, -(-pixels // size) * size
    return f"a {side} of {upper if lower in (0, upper) else f'{lower} or {upper}'}"


class FirstToken(nnx.Module):
    """The class token: ``[B, N, D]`` to ``[B, D]``."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the first token of each image."""
        return x[:, 0]


def resample_positions(positions: jax.Array, grid: tuple[int, int], new: tuple[int, int]) -> jax.Array:
    """Position embeddings for another number of patches, as timm and torch interpolate them.

    Parameters
    ----------
    positions
        ``[1, rows · columns, D]``, row by row.
    grid, new
        Rows and columns of patches that the embeddings have, and that they shall have.

    Returns
    -------
    jax.Array
        ``[1, new rows · new columns, D]``; the same array where nothing changes.
    """
    if new == grid:
        return positions
    rows, columns = (bicubic_weights(*sizes) for sizes in zip(grid, new, strict=True))
    planes = positions.reshape(*grid, -1)
    # A few million products once a batch: their precision costs nothing, whatever that of the network is.
    resized = jnp.einsum("ih,jw,hwd->ijd", rows, columns, planes, precision=lax.Precision.HIGHEST)
    return resized.reshape(1, new[0] * new[1], -1)


def bicubic_weights(old: int, new: int) -> np.ndarray:
    """Return the matrix ``[new, old]`` that resamples a line of samples: float32, its rows sum to 1.

    As ``torch.nn.functional.interpolate(mode="bicubic", antialias=True, align_corners=False)``: Keys' cubic
    kernel with a = −0.5, widened where the line gets shorter, normalised over the samples that it meets.

    Keys, "Cubic convolution interpolation for digital image processing", 1981,
    https://doi.org/10.1109/TASSP.1981.1163711
    """
    step = old / new
    stretch = max(step, 1.0)
    centres = (np.arange(new) + 0.5) * step
    distances = np.abs(np.arange(old) + 0.5 - centres[:, None]) / stretch
    weights = _keys(distances)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _keys(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = −0.5 at the distances `x`; 0 from 2 on."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))
