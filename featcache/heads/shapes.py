"""Names and shapes of heads' parameters, known without importing JAX."""

from collections.abc import Sequence
from typing import TypeVar

Length = TypeVar("Length", int, int | None)

WHOLE_NUMBERS = ("labels", "neighbours")
"""Those that are int32; all others are float32."""


def layer_shapes(
    features: Length, outputs: int, hidden: Sequence[int] = ()
) -> dict[str, tuple[int | Length, ...]]:
    """Return the shapes of dense layers: ``kernel_0``, ``bias_0``, … of the hidden ones, then ``kernel``, ``bias``.

    Parameters
    ----------
    features
        Width D of the input features; ``None`` where it is not known.
    outputs
        Number of outputs C.
    hidden
        Widths of the hidden layers.
    """
    shapes: dict[str, tuple[int | Length, ...]] = {}
    before: int | Length = features
    for number, width in enumerate(hidden):
        shapes |= {f"kernel_{number}": (before, width), f"bias_{number}": (width,)}
        before = width
    return shapes | {"kernel": (before, outputs), "bias": (outputs,)}


def remembered_shapes(rows: Length, features: Length) -> dict[str, tuple[int | Length, ...]]:
    """Return the shapes of what a ``knn`` head remembers: N training rows of D features, and how many vote."""
    return {"features": (rows, features), "labels": (rows,), "weight": (rows,), "neighbours": (1,)}
