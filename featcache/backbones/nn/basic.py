"""The layers that families are built of.

All maps are ``[B, H, W, C]`` (batch, height, width, channels) and kernels ``[kh, kw, C_in, C_out]``. How a
convolution or a pooling is computed is decided in `featcache.backbones.nn.convolution`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from featcache.backbones.nn.convolution import (
    Padding,
    adaptive_average_pool,
    average_pool,
    convolve,
    max_pool,
)
from featcache.errors import UsageError

Activation = Callable[[jax.Array], jax.Array]


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
        activation: Activation | None = None,
        rngs: nnx.Rngs | None,
    ) -> None:
        kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.strides = (strides, strides) if isinstance(strides, int) else strides
        self.padding: Padding = padding
        shape = (kh, kw, in_features // groups, out_features)
        self.kernel = nnx.Param(_initial(nnx.initializers.he_normal(), shape, rngs))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C_in]`` to ``[B, H', W', C_out]``."""
        y = convolve(x, self.kernel[...].astype(x.dtype), strides=self.strides, padding=self.padding)
        if self.bias is not None:
            y = y + self.bias[...].astype(x.dtype)
        return y if self.activation is None else self.activation(y)


class BatchNorm(nnx.Module):
    """Batch normalisation: `scale`, `bias`, `mean`, `var` are ``[C]``. Some networks (Inception) have no `scale`.

    As it is built it runs in inference mode, by the stored statistics. To train it, switch on some stages what a
    network has of it: ``network.stages[name].set_attributes(batch_statistics=True, raise_if_not_found=False)``.
    Where that is done inside a compiled function, the moved statistics leave it as ``nnx.state(network,
    nnx.BatchStat)``; inside `jax.grad`, ``nnx.merge(..., copy=True)`` gives variables that may be moved there.

    Attributes
    ----------
    batch_statistics : bool
        Normalise by the mean and variance of the batch itself, and move the stored ones towards them.
    momentum : float
        The share of the stored statistics that stays when they are moved.

    References
    ----------
    Ioffe and Szegedy, "Batch Normalization", https://arxiv.org/abs/1502.03167
    """

    def __init__(self, features: int, *, epsilon: float, use_scale: bool = True) -> None:
        self.epsilon = epsilon
        self.batch_statistics = False
        self.momentum = 0.9
        self.scale = nnx.Param(jnp.ones(features)) if use_scale else None
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise ``[..., C]`` channel by channel; with `batch_statistics`, move `mean` and `var` in place."""
        if self.batch_statistics:
            return self._by_the_batch(x)
        factor = self._factor(self.var[...])
        offset = self.bias[...] - self.mean[...] * factor
        return x * factor.astype(x.dtype) + offset.astype(x.dtype)

    def _by_the_batch(self, x: jax.Array) -> jax.Array:
        """Statistics over all axes but the last, in float32 at least."""
        full = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        places = tuple(range(x.ndim - 1))
        mean = jnp.mean(full, axis=places)
        centred = full - mean
        # Of the batch itself, over n and not n - 1, and so it is stored, too: Keras' choice. PyTorch stores n - 1.
        var = jnp.mean(jnp.square(centred), axis=places)
        for stored, own in ((self.mean, mean), (self.var, var)):
            moved = self.momentum * stored[...] + (1 - self.momentum) * own
            stored[...] = lax.stop_gradient(moved).astype(stored[...].dtype)
        return (centred * self._factor(var) + self.bias[...]).astype(x.dtype)

    def _factor(self, var: jax.Array) -> jax.Array:
        spread = lax.rsqrt(var + self.epsilon)
        return spread if self.scale is None else self.scale[...] * spread


class ConvNorm(nnx.Module):
    """Convolution, batch normalisation, activation: the usual unit of these networks.

    Mostly without a bias (`use_bias`), which the normalisation would take away again, and with a learnt scale
    (`use_scale`).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, int] = 1,
        *,
        strides: int = 1,
        padding: Padding = "same",
        groups: int = 1,
        use_bias: bool = False,
        use_scale: bool = True,
        epsilon: float,
        activation: Activation | None = None,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.conv = Conv(
            in_features,
            out_features,
            kernel_size,
            strides=strides,
            padding=padding,
            groups=groups,
            use_bias=use_bias,
            rngs=rngs,
        )
        self.norm = BatchNorm(out_features, epsilon=epsilon, use_scale=use_scale)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C_in]`` to ``[B, H', W', C_out]``."""
        y = self.norm(self.conv(x))
        return y if self.activation is None else self.activation(y)


class Dense(nnx.Module):
    """Affine map of the last axis; `kernel` is ``[D_in, D_out]``, `bias` ``[D_out]`` or absent."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        activation: Activation | None = None,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.kernel = nnx.Param(_initial(nnx.initializers.lecun_normal(), (in_features, out_features), rngs))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[..., D_in]`` to ``[..., D_out]``."""
        y = x @ self.kernel[...].astype(x.dtype)
        if self.bias is not None:
            y = y + self.bias[...].astype(x.dtype)
        return y if self.activation is None else self.activation(y)


class LayerNorm(nnx.Module):
    """Normalisation over the last axis, statistics in float32: `scale` and `bias` are ``[C]``."""

    def __init__(self, features: int, *, epsilon: float) -> None:
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise each vector of ``[..., C]``."""
        full = x.astype(jnp.float32)
        centred = full - jnp.mean(full, axis=-1, keepdims=True)
        spread = lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + self.epsilon)
        return (centred * spread * self.scale[...] + self.bias[...]).astype(x.dtype)


class SqueezeExcite(nnx.Module):
    """Squeeze-and-excitation: scale channels by a gate of the map's mean (`reduce` 1×1, activation, `expand` 1×1).

    Hu et al., "Squeeze-and-Excitation Networks", https://arxiv.org/abs/1709.01507
    """

    def __init__(
        self,
        features: int,
        reduced: int,
        *,
        activation: Activation,
        gate: Activation = jax.nn.sigmoid,
        rngs: nnx.Rngs | None,
    ) -> None:
        self.reduce = Conv(features, reduced, use_bias=True, rngs=rngs)
        self.expand = Conv(reduced, features, use_bias=True, rngs=rngs)
        self.activation, self.gate = activation, gate

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C]`` to the same shape."""
        mean = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32).astype(x.dtype)
        return x * self.gate(self.expand(self.activation(self.reduce(mean))))


class MaxPool(nnx.Module):
    """Largest value of each window; see `featcache.backbones.nn.convolution.max_pool`."""

    def __init__(self, size: int, *, strides: int | None = None, padding: Padding = "valid") -> None:
        self.size, self.strides = size, strides
        self.padding: Padding = padding

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C]`` to ``[B, H', W', C]``."""
        return max_pool(x, self.size, strides=self.strides, padding=self.padding)


class AveragePool(nnx.Module):
    """Mean of each window; see `featcache.backbones.nn.convolution.average_pool`."""

    def __init__(
        self,
        size: int,
        *,
        strides: int | None = None,
        padding: Padding = "valid",
        count_padding: bool = False,
    ) -> None:
        self.size, self.strides, self.count_padding = size, strides, count_padding
        self.padding: Padding = padding

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C]`` to ``[B, H', W', C]``."""
        return average_pool(
            x, self.size, strides=self.strides, padding=self.padding, count_padding=self.count_padding
        )


class AdaptiveAveragePool(nnx.Module):
    """Mean over ``size × size`` windows, whatever the map's size (PyTorch's ``AdaptiveAvgPool2d``)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``[B, H, W, C]`` to ``[B, size, size, C]``."""
        return adaptive_average_pool(x, self.size)


class GlobalAveragePool(nnx.Module):
    """Mean over height and width: ``[B, H, W, C]`` to ``[B, C]``, summed in float32."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return ``[B, C]`` in the dtype of `x`."""
        return jnp.mean(x, axis=(1, 2), dtype=jnp.float32).astype(x.dtype)


class Flatten(nnx.Module):
    """``[B, H, W, C]`` to ``[B, H·W·C]``, rows first, channels last (PyTorch's order is another).

    The dense layer behind it fits one size of map only, `size` by `size`, which images of `input_size` by
    `input_size` give.
    """

    def __init__(self, size: int, *, input_size: int) -> None:
        self.size, self.input_size = size, input_size

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return ``[B, H·W·C]``; raise `UsageError` for a map of another size."""
        if x.shape[1:3] != (self.size, self.size):
            raise UsageError(
                f"the dense layers of this network need maps of {self.size}×{self.size}, and these images give "
                f"{x.shape[1]}×{x.shape[2]}; use images of {self.input_size}×{self.input_size}, or a layer "
                "before the dense ones, such as pool"
            )
        return x.reshape(x.shape[0], -1)


class Serial(nnx.Module):
    """Modules in sequence, as one stage or as a part of one; the parts are attributes by their names."""

    def __init__(self, **parts: Callable[[jax.Array], jax.Array]) -> None:
        self.order = tuple(parts)
        for name, part in parts.items():
            setattr(self, name, part)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the input of the first part to the output of the last."""
        for name in self.order:
            x = getattr(self, name)(x)
        return x


def relu6(x: jax.Array) -> jax.Array:
    """Clip to 0..6 (``jax.nn.relu6`` goes through two selects and a custom gradient)."""
    return jnp.clip(x, 0.0, 6.0)


def gelu(x: jax.Array) -> jax.Array:
    """``x · Φ(x)`` by the error function (`jax.nn.gelu` by itself takes the tanh approximation)."""
    return jax.nn.gelu(x, approximate=False)


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """``clip(x + 3, 0, 6) / 6``."""
    return jnp.clip(x + 3.0, 0.0, 6.0) * (1 / 6)


def hard_swish(x: jax.Array) -> jax.Array:
    """``x · hard_sigmoid(x)``."""
    return x * hard_sigmoid(x)
