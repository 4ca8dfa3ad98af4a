"""Network layers and, above all, how convolutions are computed.

Families never call ``lax.conv*`` themselves: the lowering that is fast on a platform is decided here.
All maps are ``[B, H, W, C]`` (batch, height, width, channels) and kernels ``[kh, kw, C_in, C_out]``.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

Padding = Literal["same", "symmetric", "valid"] | tuple[tuple[int, int], tuple[int, int]]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


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
        return ((0, 0), (0, 0))
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
    kh, kw = kernel.shape[:2]
    height = (x.shape[1] - kh) // strides[0] + 1
    width = (x.shape[2] - kw) // strides[1] + 1
    total = None
    for row in range(kh):
        for column in range(kw):
            stop = (row + (height - 1) * strides[0] + 1, column + (width - 1) * strides[1] + 1)
            part = x[:, row : stop[0] : strides[0], column : stop[1] : strides[1], :] * kernel[row, column, 0]
            total = part if total is None else total + part
    assert total is not None
    return total


def _depthwise_grouped(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, strides, "VALID", dimension_numbers=_LAYOUT, feature_group_count=x.shape[-1]
    )


def convolve(
    x: jax.Array, kernel: jax.Array, *, strides: tuple[int, int] = (1, 1), padding: Padding = "same"
) -> jax.Array:
    """Convolve a map with a kernel, lowered to what is fast on the platform.

    A 1×1 kernel with stride 1 is a matrix product. A depthwise kernel (``[kh, kw, 1, C]`` on a map of C
    channels) is a sum of shifted products on a CPU, where XLA's grouped convolution reaches 0.7 GFLOP/s
    against 8–18, and a grouped convolution elsewhere. Everything else is ``conv_general_dilated``.

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
    if fan_in == 1 and features == x.shape[-1]:
        padded = _pad(x, pads)
        return lax.platform_dependent(
            padded,
            kernel,
            cpu=lambda x, k: _depthwise_shifted(x, k, strides),
            default=lambda x, k: _depthwise_grouped(x, k, strides),
        )
    groups = x.shape[-1] // fan_in
    return lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=_LAYOUT, feature_group_count=groups
    )


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
        rngs: nnx.Rngs,
    ) -> None:
        kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.strides = (strides, strides) if isinstance(strides, int) else strides
        self.padding: Padding = padding
        shape = (kh, kw, in_features // groups, out_features)
        self.kernel = nnx.Param(nnx.initializers.he_normal()(rngs.params(), shape))
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
        rngs: nnx.Rngs,
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

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (in_features, out_features)))
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
