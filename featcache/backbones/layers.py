"""Network layers and, above all, how convolutions are computed.

Families never call ``lax.conv*`` themselves: the lowering that is fast on a platform is decided here.
All maps are ``[B, H, W, C]`` (batch, height, width, channels) and kernels ``[kh, kw, C_in, C_out]``.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

Padding = Literal["same", "symmetric", "valid"] | tuple[tuple[int, int], tuple[int, int]]

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_NO_PADDING = ((0, 0), (0, 0))

FEW_CHANNELS = 4
"""Up to this many input channels a convolution is computed over patches on a CPU."""


def explicit_padding(
    padding: Padding, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return the rows and columns of zeros to add as ``((top, bottom), (left, right))``.

    Parameters
    ----------
    padding
        ``"same"`` as TensorFlow pads (output is ``ceil(size / stride)``, the odd zero goes last),
        ``"symmetric"`` as PyTorch pads ``k // 2`` on both sides, ``"valid"`` for none, or explicit numbers.
    size, kernel, strides
        Height and width of the map, of the kernel, and of the step, in pixels.
    """
    if padding == "valid":
        return _NO_PADDING
    if padding == "symmetric":
        return tuple((k // 2, k // 2) for k in kernel)
    if padding == "same":
        totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, strides, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    if isinstance(padding, str):
        raise ValueError(f"padding {padding!r} is none of 'same', 'symmetric', 'valid'")
    return padding


def _pad(x: jax.Array, padding: tuple[tuple[int, int], ...]) -> jax.Array:
    if not any(n for pair in padding for n in pair):
        return x
    # Without the barrier XLA's CPU compiler fuses the pad into the k·k reads of the shifted sum, and every
    # read then pays a bounds test.
    return lax.optimization_barrier(jnp.pad(x, ((0, 0), *padding, (0, 0))))


def _depthwise_shifted(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Depthwise convolution of a padded map as a sum of ``kh·kw`` shifted products (fast on CPUs)."""
    total = None
    for row, column, part in _strided_reads(x, kernel.shape[:2], strides):
        product = part * kernel[row, column, 0]
        total = product if total is None else total + product
    assert total is not None
    return total


def _strided_reads(
    x: jax.Array, size: Sequence[int], strides: tuple[int, int]
) -> Iterator[tuple[int, int, jax.Array]]:
    """Yield, for each position of a kernel of `size`, the pixels of a padded map it meets."""
    height, width = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], size, strides, strict=True))
    for row in range(size[0]):
        for column in range(size[1]):
            stop = (row + (height - 1) * strides[0] + 1, column + (width - 1) * strides[1] + 1)
            yield row, column, x[:, row : stop[0] : strides[0], column : stop[1] : strides[1], :]


def _patches_dot(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Convolution of a padded map of few channels as one matrix product over its patches (fast on CPUs)."""
    parts = [part for _, _, part in _strided_reads(x, kernel.shape[:2], strides)]
    # The barrier keeps the gathering of patches out of the product's inner loop.
    patches = lax.optimization_barrier(jnp.concatenate(parts, axis=-1))
    return jnp.einsum("bhwp,pf->bhwf", patches, kernel.reshape(-1, kernel.shape[-1]))


def _direct(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: tuple[tuple[int, int], ...] = _NO_PADDING
) -> jax.Array:
    groups = x.shape[-1] // kernel.shape[2]
    return lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=_LAYOUT, feature_group_count=groups
    )


def convolve(
    x: jax.Array, kernel: jax.Array, *, strides: tuple[int, int] = (1, 1), padding: Padding = "same"
) -> jax.Array:
    """Convolve a map with a kernel, lowered to what is fast on the platform.

    A 1×1 kernel with stride 1 is a matrix product. A depthwise kernel (``[kh, kw, 1, C]`` on a map of C
    channels) is a sum of shifted products on a CPU, where XLA's grouped convolution reaches 0.7 GFLOP/s
    against 8–18, and a grouped convolution elsewhere. A map of few channels (the image itself) becomes one
    matrix product over its patches on a CPU, 2× faster. Everything else is ``conv_general_dilated``.

    Parameters
    ----------
    x
        Map ``[B, H, W, C_in]``.
    kernel
        ``[kh, kw, C_in / groups, C_out]``.
    strides
        Vertical and horizontal step in pixels.
    padding
        See `explicit_padding`.

    Returns
    -------
    jax.Array
        Map ``[B, H', W', C_out]``.
    """
    kh, kw, fan_in, features = kernel.shape
    pads = explicit_padding(padding, x.shape[1:3], (kh, kw), strides)
    if (kh, kw, *strides) == (1, 1, 1, 1) and fan_in == x.shape[-1] and not any(sum(pads, ())):
        return jnp.einsum("bhwc,cf->bhwf", x, kernel[0, 0])
    depthwise = fan_in == 1 and features == x.shape[-1]
    if depthwise or x.shape[-1] == fan_in <= FEW_CHANNELS:
        on_cpu = _depthwise_shifted if depthwise else _patches_dot
        return lax.platform_dependent(
            _pad(x, pads),
            kernel,
            cpu=partial(on_cpu, strides=strides),
            default=partial(_direct, strides=strides),
        )
    return _direct(x, kernel, strides, pads)


def _initial(
    initializer: Callable[..., jax.Array], shape: tuple[int, ...], rngs: nnx.Rngs | None
) -> jax.Array:
    # Without random numbers a network that is about to be filled with weights is built in a third of the time.
    return jnp.zeros(shape) if rngs is None else initializer(rngs.params(), shape)


class Conv(nnx.Module):
    """2-D convolution; `kernel` is ``[kh, kw, C_in / groups, C_out]``, `bias` ``[C_out]`` or absent.

    ``groups == in_features`` makes it depthwise.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, int] = 1,
        *,
        strides: int | tuple[int, int] = 1,
        padding: Padding = "same",
        groups: int = 1,
        use_bias: bool = False,
        rngs: nnx.Rngs | None,
    ) -> None:
        kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.strides = (strides, strides) if isinstance(strides, int) else strides
        self.padding: Padding = padding
        shape = (kh, kw, in_features // groups, out_features)
        self.kernel = nnx.Param(_initial(nnx.initializers.he_normal(), shape, rngs))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C_in]`` to ``[B, H', W', C_out]``."""
        y = convolve(x, self.kernel[...].astype(x.dtype), strides=self.strides, padding=self.padding)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class BatchNorm(nnx.Module):
    """Batch normalisation by stored statistics (inference mode): `scale`, `bias`, `mean`, `var` are ``[C]``."""

    def __init__(self, features: int, *, epsilon: float) -> None:
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise ``[..., C]`` channel by channel."""
        factor = self.scale[...] * lax.rsqrt(self.var[...] + self.epsilon)
        offset = self.bias[...] - self.mean[...] * factor
        return x * factor.astype(x.dtype) + offset.astype(x.dtype)


class ConvNorm(nnx.Module):
    """Convolution without bias, batch normalisation, activation: the usual unit of these networks."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int = 1,
        *,
        strides: int = 1,
        padding: Padding = "same",
        groups: int = 1,
        epsilon: float,
        activation: Callable[[jax.Array], jax.Array] | None = None,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.conv = Conv(
            in_features,
            out_features,
            kernel_size,
            strides=strides,
            padding=padding,
            groups=groups,
            rngs=rngs,
        )
        self.norm = BatchNorm(out_features, epsilon=epsilon)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C_in]`` to ``[B, H', W', C_out]``."""
        y = self.norm(self.conv(x))
        return y if self.activation is None else self.activation(y)


class Dense(nnx.Module):
    """Affine map of the last axis; `kernel` is ``[D_in, D_out]``, `bias` ``[D_out]``."""

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs | None) -> None:
        self.kernel = nnx.Param(_initial(nnx.initializers.lecun_normal(), (in_features, out_features), rngs))
        self.bias = nnx.Param(jnp.zeros(out_features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[..., D_in]`` to ``[..., D_out]``."""
        return x @ self.kernel[...].astype(x.dtype) + self.bias[...].astype(x.dtype)


class GlobalAveragePool(nnx.Module):
    """Mean over height and width: ``[B, H, W, C]`` to ``[B, C]``, summed in float32."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return ``[B, C]`` in the dtype of `x`."""
        return jnp.mean(x, axis=(1, 2), dtype=jnp.float32).astype(x.dtype)


def relu6(x: jax.Array) -> jax.Array:
    """Clip to 0..6 (``jax.nn.relu6`` goes through two selects and a custom gradient)."""
    return jnp.clip(x, 0.0, 6.0)
