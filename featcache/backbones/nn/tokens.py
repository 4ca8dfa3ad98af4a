"""Patch and position embeddings of transformers at any image size, and pooling to the class token.

Tokens are ``[B, N, D]``: batch, tokens, width; class token and registers, where there are any, come first.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from featcache.backbones.chain import Recorder, record_nothing
from featcache.errors import UsageError


class Embedding(nnx.Module):
    """Embed images as tokens: linear patch embeddings, class token and registers before them, positions added.

    Its point ``proj`` is the map of patches ``[B, rows, columns, D]`` before all that.

    Parameters
    ----------
    width
        Width D of a token.
    patch
        Side of a patch, in pixels.
    grid
        Rows, and columns, of patches that the stored positions are for; for others they are interpolated.
    patch_bias
        Whether patches have a bias.
    class_token
        Whether there is a class token.
    registers
        Number of further tokens, behind the class token.
    rngs
        See `featcache.backbones.family.Family`.
    """

    def __init__(
        self,
        width: int,
        *,
        patch: int,
        grid: int,
        patch_bias: bool,
        class_token: bool,
        registers: int,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.grid = (grid, grid)
        self.proj = Patches(patch, width, use_bias=patch_bias, rngs=rngs)
        self.class_token = nnx.Param(jnp.zeros((1, 1, width))) if class_token else None
        self.registers = nnx.Param(jnp.zeros((1, registers, width))) if registers else None
        # In timm's files of networks with registers, the class token already holds its position.
        self.before = int(class_token and not registers)
        self.positions = nnx.Param(jnp.zeros((1, self.before + grid**2, width)))
        self.points = ("proj",)

    def __call__(self, x: jax.Array, record: Recorder = record_nothing) -> jax.Array:
        """Map images ``[B, H, W, 3]`` to tokens ``[B, N, D]``."""
        patches = record("proj", self.proj(x))
        batch, rows, columns, width = patches.shape
        of_prefix, of_patches = jnp.split(self.positions[...], [self.before], axis=1)
        of_patches = resample_positions(of_patches, self.grid, (rows, columns)).astype(x.dtype)
        given = (self.class_token, self.registers)
        prefix = [token[...].astype(x.dtype) for token in given if token is not None]
        if self.before:
            prefix[0] = prefix[0] + of_prefix.astype(x.dtype)
        tokens = patches.reshape(batch, rows * columns, width) + of_patches
        repeated = [jnp.broadcast_to(token, (batch, *token.shape[1:])) for token in prefix]
        return jnp.concatenate([*repeated, tokens], axis=1)


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
