"""A model as StableHLO, by `jax.export`: one program with an open batch size, for CPUs, NVIDIA GPUs and TPUs."""

from typing import TYPE_CHECKING

import numpy as np

from featcache.errors import ExportError, first_line
from featcache.exporting.program import INPUT, Outputs, Program

if TYPE_CHECKING:
    from featcache.exporting.parity import Run

PLATFORMS = ("cpu", "cuda", "tpu")

MOST_BYTES = 2**31 - 2**20
"""A serialised program holds its numbers in one flatbuffer, whose offsets have 31 bits."""


def stablehlo_model(program: Program) -> bytes:
    """Return a model serialised: what ``jax.export.deserialize`` reads.

    Raises
    ------
    ExportError
        If JAX cannot write it, or it is larger than one file of it may be.
    """
    import jax
    from jax import export

    size = sum(array.nbytes for array in program.network.tensors.values())
    if size > MOST_BYTES:
        raise ExportError(
            f"this model has {size / 1e9:.1f} GB of numbers, and one file of StableHLO holds 2 GB; take a smaller "
            "backbone"
        )
    height, width = program.transforms.input_size
    (count,) = export.symbolic_shape("N")
    picture = jax.ShapeDtypeStruct((count, height, width, 3), np.uint8)

    def function(images: jax.Array) -> dict[str, jax.Array]:
        return program.function(images)

    function.__name__ = f"{INPUT}_to_outputs"
    try:
        return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(picture).serialize())
    except (NotImplementedError, ValueError, TypeError) as error:
        raise ExportError(
            f"JAX cannot write this model as StableHLO for {', '.join(PLATFORMS)}: {first_line(error)}; write it as "
            "ONNX (-o model.onnx)"
        ) from error


def stablehlo_run(model: bytes, program: Program) -> "Run":
    """Return a serialised model, read again, as a function from pictures to outputs."""
    from jax import export

    call = export.deserialize(bytearray(model)).call
    names = list(program.outputs)

    def run(images: np.ndarray) -> Outputs:
        found = call(images)
        return {name: np.asarray(found[name]) for name in names}

    return run
