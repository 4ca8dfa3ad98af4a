"""How convolutions and pooling are computed: the lowering that is fast on a platform is decided here.

Families never call ``lax.conv*`` or ``lax.reduce_window`` themselves.
All maps are ``[B, H, W, C]`` (batch, height, width, channels) and kernels ``[kh, kw, C_in, C_out]``.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
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


def _pad(x: jax.Array, padding: tuple[tuple[int, int], ...], value: float = 0.0) -> jax.Array:
    if not any(n for pair in padding for n in pair):
        return x
    # Without the barrier XLA's CPU compiler fuses the pad into the k·k reads of the shifted sum, and every
    # read then pays a bounds test.
    return lax.optimization_barrier(jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _depthwise_shifted(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Depthwise convolution of a padded map as a sum of ``kh·kw`` shifted products (fast on CPUs).

    Its gradient is written out: derived from the sum, it takes 10–20 times as long as the sum itself.
    """
    # y[b, i, j, c] = Σ_uv x[b, i·s + u, j·s + v, c] · k[u, v, 0, c]. For one (u, v) that is a strided read of x,
    # [B, H', W', C], times a vector [C]: elementwise, and vectorised over the channels.
    total = None
    for row, column, part in _strided_reads(x, kernel.shape[:2], strides):
        product = part * kernel[row, column, 0]
        total = product if total is None else total + product
    assert total is not None
    return total


def _depthwise_forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _depthwise_shifted(x, kernel, strides), (x, kernel)


def _depthwise_backward(
    strides: tuple[int, int], kept: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Gradients of `_depthwise_shifted` with respect to the padded map and the kernel; `slope` is its output's."""
    x, kernel = kept
    return _depthwise_map_slope(x.shape, kernel, strides, slope), _depthwise_kernel_slope(
        x, kernel, strides, slope
    )


def _depthwise_map_slope(
    shape: Sequence[int], kernel: jax.Array, strides: tuple[int, int], slope: jax.Array
) -> jax.Array:
    """Return the gradient of the padded map: `_depthwise_shifted` again, over the output's gradient `slope`."""
    # With g the slope, ∂L/∂x[p, q] = Σ_uv k[u, v] · g[(p − u) / s, (q − v) / s] over the (u, v) for which both are
    # whole: the mirrored kernel over g, with s − 1 zeros between its pixels, k − 1 before them, and after them as many
    # as make the result as large as x (pixels that no window reaches have the gradient 0).
    pads = []
    for size, steps, k, stride in zip(shape[1:3], slope.shape[1:3], kernel.shape[:2], strides, strict=True):
        pads.append((k - 1, size - 1 - (steps - 1) * stride, stride - 1))
    spread = lax.pad(slope, jnp.zeros((), slope.dtype), ((0, 0, 0), *pads, (0, 0, 0)))
    return _depthwise_shifted(lax.optimization_barrier(spread), kernel[::-1, ::-1], (1, 1))


def _depthwise_kernel_slope(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], slope: jax.Array
) -> jax.Array:
    """Return the kernel's gradient, added up row by row: as one reduction, XLA's CPU code is not vectorised."""
    # With g the slope, ∂L/∂k[u, v, c] = Σ_bij g[b, i, j, c] · x[b, i·s + u, j·s + v, c]. The loop runs over the rows
    # (b, i) and keeps kh·kw sums [W', C], elementwise over j and c; the sum over j is taken at the end.
    batch, height, width, channels = slope.shape
    (kh, kw), (down, across) = kernel.shape[:2], strides
    wide = jnp.promote_types(slope.dtype, jnp.float32)  # a sum in bfloat16 would stop growing at 256 terms

    def add_row(number: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        image, row = number // height, number % height
        rows = lax.dynamic_slice(x, (image, row * down, 0, 0), (1, kh, *x.shape[2:]))[0].astype(wide)
        own = lax.dynamic_slice(slope, (image, row, 0, 0), (1, 1, width, channels))[0, 0].astype(wide)
        parts = (
            rows[i, j : j + (width - 1) * across + 1 : across] * own for i in range(kh) for j in range(kw)
        )
        return tuple(total + part for total, part in zip(sums, parts, strict=True))

    zeros = (jnp.zeros((width, channels), wide),) * (kh * kw)
    sums = lax.fori_loop(0, batch * height, add_row, zeros)
    return jnp.stack([jnp.sum(total, axis=0) for total in sums]).reshape(kernel.shape).astype(kernel.dtype)


_depthwise_shifted.defvjp(_depthwise_forward, _depthwise_backward)


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
    # y[b, i, j, f] = Σ_p patches[b, i, j, p] · k[p, f] with p = (u, v, c), the order in which a kernel lies in
    # memory: [B·H'·W', kh·kw·C_in] × [kh·kw·C_in, C_out].
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
        # Every pixel by itself: one product [B·H·W, C_in] × [C_in, C_out], and so is its gradient.
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


def max_pool(x: jax.Array, size: int, *, strides: int | None = None, padding: Padding = "valid") -> jax.Array:
    """Largest value of each window: ``[B, H, W, C]`` to ``[B, H', W', C]``.

    Parameters
    ----------
    x
        Map ``[B, H, W, C]``.
    size
        Height and width of the window, in pixels.
    strides
        Step in pixels; the window's size if not given.
    padding
        See `explicit_padding`; padded places never win, whatever the sign of the map.
    """
    window, steps = (size, size), (strides or size, strides or size)
    pads = explicit_padding(padding, x.shape[1:3], window, steps)

    def shifted(x: jax.Array) -> jax.Array:
        return _reduce_window(jnp.maximum, _pad(x, pads, -jnp.inf), window, steps)

    def windowed(x: jax.Array) -> jax.Array:
        # Of numpy: JAX differentiates a window's largest value only where it sees that this is the least number.
        lowest = np.array(-np.inf, x.dtype)
        return lax.reduce_window(x, lowest, lax.max, (1, *window, 1), (1, *steps, 1), ((0, 0), *pads, (0, 0)))

    return lax.platform_dependent(x, cpu=shifted, default=windowed)


def average_pool(
    x: jax.Array,
    size: int,
    *,
    strides: int | None = None,
    padding: Padding = "valid",
    count_padding: bool = False,
) -> jax.Array:
    """Mean of each window: ``[B, H, W, C]`` to ``[B, H', W', C]``.

    Parameters
    ----------
    x
        Map ``[B, H, W, C]``.
    size
        Height and width of the window, in pixels.
    strides
        Step in pixels; the window's size if not given.
    padding
        See `explicit_padding`.
    count_padding
        Whether padded zeros count as pixels: PyTorch's default (``count_include_pad``). TensorFlow leaves them
        out of the mean.
    """
    window, steps = (size, size), (strides or size, strides or size)
    pads = explicit_padding(padding, x.shape[1:3], window, steps)

    def shifted(x: jax.Array) -> jax.Array:
        return _reduce_window(jnp.add, _pad(x, pads), window, steps)

    def windowed(x: jax.Array) -> jax.Array:
        zero = np.array(0, x.dtype)
        return lax.reduce_window(x, zero, lax.add, (1, *window, 1), (1, *steps, 1), ((0, 0), *pads, (0, 0)))

    total = lax.platform_dependent(x, cpu=shifted, default=windowed)
    if count_padding:
        return total / (size * size)
    inside = [_pixels_inside(n, size, steps[0], pad) for n, pad in zip(x.shape[1:3], pads, strict=True)]
    return total / jnp.asarray(np.outer(*inside)[:, :, None], x.dtype)


def _reduce_window(
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    window: tuple[int, int],
    strides: tuple[int, int],
) -> jax.Array:
    """Combine the shifted reads of a padded map, which on a CPU is faster than ``reduce_window``."""
    parts = [part for _, _, part in _strided_reads(x, window, strides)]
    return reduce(combine, parts)


def _pixels_inside(size: int, window: int, stride: int, pad: tuple[int, int]) -> np.ndarray:
    """How many pixels of each window along one axis are not padding."""
    steps = (size + sum(pad) - window) // stride + 1
    starts = np.arange(steps) * stride - pad[0]
    return np.minimum(starts + window, size) - np.maximum(starts, 0)


def adaptive_average_pool(x: jax.Array, size: int) -> jax.Array:
    """Mean over ``size × size`` windows that share out the map: ``[B, H, W, C]`` to ``[B, size, size, C]``.

    As PyTorch's ``AdaptiveAvgPool2d``: window i reaches from ``floor(i·H / size)`` to ``ceil((i + 1)·H / size)``.
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (jnp.asarray(_shares(n, size), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x)


def _shares(pixels: int, size: int) -> np.ndarray:
    """Weights ``[size, pixels]`` of each pixel in each window's mean."""
    weights = np.zeros((size, pixels), np.float32)
    for row in range(size):
        start, stop = row * pixels // size, -(-(row + 1) * pixels // size)
        weights[row, start:stop] = 1 / (stop - start)
    return weights
