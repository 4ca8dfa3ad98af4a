"""The objective of K logistic regressions on the same features, its gradient, and its values along a direction.

`featcache.solvers.logistic` minimises it. Per unit of weight, it is the weighted mean of the cross-entropies plus
``decay / 2 · ‖W‖²``. All arrays have the heads first and the rows last, so that everything but the two products
is elementwise on ``[K, C, N]``. P = D + 1 counts the bias, which comes last; J is the number of outputs, 1 for two
classes and C for more.

Margins are logits minus the right class's. From them losses and probabilities of the wrong classes follow without
a difference of large numbers, so that a loss of 1e-9 keeps its digits in float32.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from featcache.heads.model import feature_scaling
from featcache.solvers.lbfgs import LineSearchPoint, dot, scale_each

ABSENT = -16.0
"""Logit of a class without rows: never chosen, at most 1e-7 (float32's resolution) beside a class that is.

Its best bias is minus infinity. The present classes' logits add up to 0, so that the largest is at least 0.
"""


class ObjectiveRows(NamedTuple):
    """The rows, which all heads share.

    Parameters
    ----------
    x, turned
        Features around `centre` and a column of ones, ``[N, P]`` and ``[P, N]``: a product that adds over the last
        axis of both its factors takes little more than half the time of one that does not (on a CPU).
    centre
        ``[P]``: the features' mean, 0 for the ones.
    size
        Root mean square of the features around their mean, 1 where they are constant.
    right
        bool ``[C, N]``: whether the class is the row's.
    """

    x: jax.Array
    turned: jax.Array
    centre: jax.Array
    size: jax.Array
    right: jax.Array


class Heads(NamedTuple):
    """The problems of K heads.

    Parameters
    ----------
    share
        ``[K, N]``: row weights that add up to 1, or all 0.
    present
        bool ``[K, C, 1]``: whether the class has rows.
    decay
        ``[K, P]``: the penalty beside the mean of the losses, 0 for the bias.
    unit, shift
        ``[K, P]``: a head sees ``(x - centre - shift) · unit``.
    origin
        ``[K, P]``: mean of the features that the gradient is reported for.
    """

    share: jax.Array
    present: jax.Array
    decay: jax.Array
    unit: jax.Array
    shift: jax.Array
    origin: jax.Array


@jax.jit
def shared_rows(x: jax.Array, right: jax.Array, used: jax.Array) -> ObjectiveRows:
    """Return the shared rows of features ``[N, D]`` and right classes bool ``[C, N]``.

    Rows that no head uses (`used` bool ``[N]`` is false) may hold anything.
    """
    count = jnp.maximum(jnp.sum(used), 1)
    centre = jnp.sum(jnp.where(used[:, None], x, 0), axis=0) / count
    x = jnp.where(used[:, None], x - centre, 0)
    size = jnp.sqrt(jnp.sum(jnp.square(x)) / (count * x.shape[1]))
    wide = jnp.concatenate([x, jnp.ones((len(x), 1))], axis=1)
    return ObjectiveRows(wide, wide.T, jnp.append(centre, 0), jnp.where(size > 0, size, 1), right)


def heads_to_solve(rows: ObjectiveRows, weight: jax.Array, c: jax.Array, *, scaling: str) -> Heads:
    """Return the problems of row weights ``[K, N]`` and inverse strengths ``[K]``."""
    total = jnp.sum(weight, axis=1, keepdims=True)
    total = jnp.where(total > 0, total, 1)
    share = weight / total
    scaled = scaling != "none"
    own = jax.vmap(partial(feature_scaling, rows.x[:, :-1], scaling=scaling))(weight)
    mean, deviation = (jnp.pad(part, ((0, 0), (0, 1)), constant_values=1) for part in own)
    feature = jnp.arange(rows.x.shape[1]) < rows.x.shape[1] - 1
    shift = jnp.where(feature, mean, 0)
    # The bias belongs to a column between one feature and a row of D in size. Ones take four times the iterations
    # on features in hundreds or in hundredths (more than 1,000 for 250), and up to a third more on photos'.
    ones = (1.0 if scaled else rows.size) * (rows.x.shape[1] - 1) ** 0.25
    unit = jnp.where(feature, 1 / deviation if scaled else jnp.ones_like(shift), ones)
    present = jnp.any(rows.right & (weight > 0)[:, None], axis=2, keepdims=True)
    # ½‖w‖² of two classes is twice ½‖W‖²: see `featcache.solvers.logistic`.
    strength = total[:, 0] * (c / 2 if len(rows.right) == 2 else c)
    return Heads(
        share,
        present | ~present.any(axis=1, keepdims=True),
        jnp.where(feature, 1 / strength[:, None], 0),
        unit,
        shift,
        jnp.zeros_like(shift) if scaled else shift + rows.centre,
    )


def class_margins(rows: ObjectiveRows, heads: Heads, weights: jax.Array) -> jax.Array:
    """Return each class's logit minus the right class's, ``[K, C, N]``, of weights ``[K, J, P]``."""
    kernel, bias = _folded(heads, weights, heads.shift)
    wide = jnp.concatenate([kernel, bias[..., None]], axis=2)
    logits = _columns(jnp.einsum("kjp,np->kjn", wide, rows.x, precision=lax.Precision.HIGHEST))
    return logits - jnp.sum(jnp.where(rows.right, logits, 0), axis=1, keepdims=True)


def objective_gradient(
    rows: ObjectiveRows, heads: Heads, weights: jax.Array, margins: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the objective ``[K]`` and its gradient ``[K, J, P]`` at weights with these margins."""
    # f = Σ_i share_i·ℓ_i + ½ Σ decay·W². Of a softmax p over logits z, ∂ℓ_i/∂z_ci = p_ci − [c = y_i]: p for the wrong
    # classes; for the right one p − 1 = −Σ_wrong p, which loses no digits where p is near 1.
    wrong, losses = _losses(rows, heads, margins)
    residual = jnp.where(rows.right, -jnp.sum(wrong, axis=1, keepdims=True), wrong) * heads.share[:, None]
    if weights.shape[1] == 1:
        # z = (−u, u) / √2 of the one output u, so ∂f/∂u = (∂f/∂z_1 − ∂f/∂z_0) / √2.
        residual = (residual[:, 1:] - residual[:, :1]) / np.sqrt(2)
    # With r the residual, Σ_i r_i·(x_i − shift)·unit = (Σ_i r_i·x_i − shift·Σ_i r_i)·unit: one product of [K·J, N] with
    # the x that all heads share, whose column of ones gives Σ_i r_i as the last element.
    gradient = jnp.einsum("kjn,pn->kjp", residual, rows.turned, precision=lax.Precision.HIGHEST)
    gradient = (gradient - gradient[..., -1:] * heads.shift[:, None]) * heads.unit[:, None]
    pull = heads.decay[:, None] * weights
    return dot(heads.share, losses) + dot(weights, pull) / 2, gradient + pull


def objective_along(
    rows: ObjectiveRows,
    heads: Heads,
    weights: jax.Array,
    margins: jax.Array,
    direction: jax.Array,
    moved: jax.Array,
    step: jax.Array,
) -> LineSearchPoint:
    """Return the objective at ``weights + step · direction`` with no matrix product: logits are linear.

    Parameters
    ----------
    rows, heads
        The problems.
    weights, direction
        ``[K, J, P]``.
    margins, moved
        `class_margins` of both, ``[K, C, N]``.
    step
        ``[K]``.
    """
    # ℓ(t) = log Σ_c exp(m_c + t·δ_c) with m = δ = 0 for the right class. Over the softmax p at t, ℓ' = E_p[δ] and
    # ℓ'' = Var_p[δ] = E_p[δ²] − E_p[δ]². The penalty ½ Σ decay·(W + t·d)² adds Σ decay·(W + t·d)·d and Σ decay·d².
    wrong, losses = _losses(rows, heads, margins + scale_each(step, moved))
    mean = jnp.sum(wrong * moved, axis=1)
    variance = jnp.sum(wrong * moved * moved, axis=1) - mean * mean
    end = weights + scale_each(step, direction)
    pull = heads.decay[:, None] * direction
    return LineSearchPoint(
        dot(heads.share, losses) + dot(end, heads.decay[:, None] * end) / 2,
        dot(heads.share, mean) + dot(end, pull),
        dot(heads.share, variance) + dot(direction, pull),
    )


def largest_element(heads: Heads, gradient: jax.Array) -> jax.Array:
    """Return the largest element ``[K]`` of the gradient on the features that scikit-learn would be given."""
    # With r the residual, Σ_i r_i is the bias's gradient, and Σ_i r_i·x_i = Σ_i r_i·(x_i − origin) + origin·Σ_i r_i.
    bias = gradient[..., -1:] / heads.unit[:, None, -1:]
    kernel = gradient[..., :-1] + bias * heads.origin[:, None, :-1]
    largest = jnp.maximum(jnp.max(jnp.abs(kernel), axis=(1, 2)), jnp.max(jnp.abs(bias), axis=(1, 2)))
    # scikit-learn's one vector is w = √2·u (the difference of both logits), so ∂f/∂w = ∂f/∂u / √2.
    return largest / np.sqrt(2) if gradient.shape[1] == 1 else largest


def raw_parameters(rows: ObjectiveRows, heads: Heads, weights: jax.Array) -> dict[str, jax.Array]:
    """Return ``kernel [K, D, C]`` and ``bias [K, C]`` on raw features."""
    kernel, bias = _folded(heads, weights, heads.shift + rows.centre)
    present = heads.present[..., 0]
    return {
        "kernel": jnp.where(present[:, None], jnp.swapaxes(_columns(kernel), 1, 2), 0),
        "bias": jnp.where(present, _columns(bias), ABSENT),
    }


def _folded(heads: Heads, weights: jax.Array, mean: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return kernel ``[K, J, D]`` and bias ``[K, J]`` for features from which `mean` has not been subtracted."""
    # ((x − mean)·unit) · W + unit_b·b = x · (unit·W) + (unit_b·b − mean · (unit·W))
    scaled = weights * heads.unit[:, None]
    kernel = scaled[..., :-1]
    return kernel, scaled[..., -1] - jnp.sum(kernel * mean[:, None, :-1], axis=2)


def _columns(outputs: jax.Array) -> jax.Array:
    """Return ``[K, C, …]`` of ``[K, J, …]``: two classes have one output u, and the columns (−u, u) / √2."""
    if outputs.shape[1] > 1:
        return outputs
    return jnp.concatenate([-outputs, outputs], axis=1) / np.sqrt(2)


def _losses(rows: ObjectiveRows, heads: Heads, margins: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return probabilities ``[K, C, N]`` of the wrong classes (0 for the right one) and losses ``[K, N]``."""
    # A mask, not a product with 0 and 1: XLA turns a product and a sum into a slow dot.
    margins = jnp.where(heads.present & ~rows.right, margins, -jnp.inf)
    # ℓ = log(1 + Σ_wrong exp(m_c)) = M + log(exp(−M) + Σ_wrong exp(m_c − M)) with M = max(0, max m_c): no exponential
    # overflows. At M = 0 it is log1p(Σ exp(m_c)), which keeps the digits of a small loss.
    largest = jnp.maximum(jnp.max(margins, axis=1), 0)
    odds = jnp.exp(margins - largest[:, None])
    total = jnp.sum(odds, axis=1)
    losses = largest + jnp.log1p(total + jnp.expm1(-largest))
    return odds / (jnp.exp(-largest) + total)[:, None], losses
