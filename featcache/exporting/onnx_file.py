"""A model as ONNX."""

from typing import TYPE_CHECKING

import numpy as np

from featcache.exporting.program import INPUT, Outputs, Program
from featcache.graphs.convert import onnx_model
from featcache.graphs.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from featcache.exporting.parity import Run


def onnx_of(program: Program, metadata: "Mapping[str, str]") -> "onnx.ModelProto":
    """Return a program as an ONNX model that says what it is.

    Raises
    ------
    ExportError
        Naming what ONNX has no exact form of.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    height, width = program.transforms.input_size
    return onnx_model(
        program.function,
        {INPUT: ((height, width, 3), np.uint8)},
        metadata=metadata,
        doc=f"{program.words}; images are uint8 [N, {height}, {width}, 3] in RGB, not normalised",
    )


def onnx_run(model: bytes) -> "Run":
    """Return a model in onnxruntime as a function from pictures to outputs."""
    session = open_session(model)
    names = [each.name for each in session.get_outputs()]

    def run(images: np.ndarray) -> Outputs:
        values = map(np.asarray, session.run(names, {INPUT: images}))
        return dict(zip(names, values, strict=True))

    return run
