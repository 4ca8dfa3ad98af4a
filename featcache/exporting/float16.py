"""A model in half precision: half the size, and about twice as fast on GPUs, phones and in browsers; not on CPUs."""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.errors import ExportError
from featcache.exporting.network_part import PRODUCTS, constants, network_part, with_nodes
from featcache.graphs.convert import require_onnx
from featcache.graphs.sessions import open_session

if TYPE_CHECKING:
    import onnx

# `onnxruntime.transformers.float16` is not used: it goes back to halves between any two nodes that are to stay float32,
# so that variances overflow and probabilities are rounded after all (read in 1.32).

HALF = frozenset(
    (
        *PRODUCTS,
        *("Add", "Sub", "Mul", "Div", "Relu", "Clip", "Sigmoid", "HardSigmoid", "Tanh", "Erf", "Gelu"),
        *("MaxPool", "Pad", "Concat", "Slice", "Split", "Expand", "Gather"),
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"),
    )
)
"""Operators that are computed in halves. Sums, means, roots, exponentials and norms are not among them."""

NEAR_LARGEST_HALF = 65504 / 4
"""How large values may be on the photos that were tried: others may have larger ones."""

_SUMS = frozenset(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "GlobalAveragePool", "AveragePool"))

STORED_AS_HALF = 1024
"""Constants of nodes that stay float32 are stored as halves from so many numbers on, and widened when they are used."""


def to_float16(model: "onnx.ModelProto", photos: Sequence[np.ndarray] = ()) -> "onnx.ModelProto":
    """Return a model whose network computes in half precision: half the size, the same inputs and outputs.

    GPUs, phones and browsers (WebGPU) compute halves about twice as fast; CPUs gain nothing, they compute them as
    float32. Normalisation, softmax, layer normalisation, sums and means over maps, the head and distances stay float32,
    and so do layers whose weights halves do not hold.

    Parameters
    ----------
    model
        As `featcache.exporting.onnx_file.onnx_of` makes it.
    photos
        Pictures uint8 ``[H, W, 3]`` on which no value may come near the largest half. onnxruntime on a CPU computes
        halves as float32 from end to end, so that running the result there would not show it.

    Raises
    ------
    ExportError
        If a value on the photos is beyond the range of halves.
    MissingExtraError
        If the package onnx is not installed.
    """
    onnx = require_onnx()
    if len(photos):
        _require_range(model, photos)
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    floats, known, halves = _floats(model), constants(model), _halves(model)
    kinds = dict.fromkeys(floats, single)
    nodes: list[Any] = []
    tensors: dict[str, Any] = {}

    def cast(name: str, kind: int) -> str:
        to = f"{name}_as_{'half' if kind == half else 'single'}"
        if to not in kinds:
            kinds[to] = kind
            nodes.append(onnx.helper.make_node("Cast", [name], [to], name=to, to=kind))
        return to

    def constant(name: str, kind: int) -> str:
        array = onnx.numpy_helper.to_array(known[name])
        if kind == single and not (array.size >= STORED_AS_HALF and fits_halves(array)):
            tensors[name] = known[name]
            return name
        stored = f"{name}_half"
        kinds[stored] = half
        tensors.setdefault(stored, onnx.numpy_helper.from_array(array.astype(np.float16), stored))
        return stored if kind == half else cast(stored, single)

    for node in model.graph.node:
        kind = half if node.name in halves else single
        inputs = []
        for name in node.input:
            if name in known:
                inputs.append(constant(name, kind) if name in floats else name)
                tensors.update({} if name in floats else {name: known[name]})
            else:
                inputs.append(cast(name, kind) if kinds.get(name, kind) != kind else name)
        written = onnx.NodeProto()
        written.CopyFrom(node)
        written.input[:] = inputs
        nodes.append(written)
        kinds.update({name: kind for name in node.output if name in floats})
    return with_nodes(model, nodes, tensors.values())


def _halves(model: "onnx.ModelProto") -> set[str]:
    """Return the names of the nodes that compute in halves."""
    known = constants(model)
    outputs = {each.name for each in model.graph.output}
    found: set[str] = set()
    # What is made of a sum (the mean and variance of a normalisation, what they are taken from and divided by) stays
    # float32 as far as the next product: a square is beyond 65,504 from 256 on, and a sum over a map from 5 a pixel.
    summed: set[str] = set()
    for node in network_part(model):
        product = node.op_type in PRODUCTS
        if not product and (node.op_type in _SUMS or summed & set(node.input)):
            summed.update(node.output)
        elif node.op_type not in HALF or outputs & set(node.output) or _is_square(node):
            continue
        elif all(fits_halves(_array(known[name])) for name in node.input if name in known):
            found.add(node.name)
    return found


def _require_range(model: "onnx.ModelProto", photos: Sequence[np.ndarray]) -> None:
    """Raise if what the nodes of halves give on photos comes near the largest half."""
    import onnx

    floats, halves = _floats(model), _halves(model)
    watched = [
        name for node in model.graph.node if node.name in halves for name in node.output if name in floats
    ]
    nodes, outputs = list(model.graph.node), []
    for number, name in enumerate(watched):
        size, most = f"watched_{number}_size", f"watched_{number}"
        nodes.append(onnx.helper.make_node("Abs", [name], [size], name=size))
        nodes.append(onnx.helper.make_node("ReduceMax", [size], [most], name=most, keepdims=0))
        outputs.append(onnx.helper.make_tensor_value_info(most, onnx.TensorProto.FLOAT, []))
    watching = with_nodes(model, nodes, model.graph.initializer)
    del watching.graph.output[:]
    watching.graph.output.extend(outputs)
    session = open_session(watching)
    (pictures,) = [each.name for each in model.graph.input]
    largest = 0.0
    for photo in photos if outputs else ():
        found = [np.asarray(each) for each in session.run(None, {pictures: photo[None]})]
        largest = np.maximum(largest, np.max(np.stack(found)))  # NaN stays NaN
    if not largest <= NEAR_LARGEST_HALF:
        raise ExportError(
            f"in half precision this model would overflow: on these photos its values reach {largest:.3g}, and the "
            "largest half is 65,504; export it without --float16"
        )


def _is_square(node: "onnx.NodeProto") -> bool:
    return node.op_type == "Mul" and node.input[0] == node.input[1]


def fits_halves(array: np.ndarray) -> bool:
    """Whether halves hold numbers: none is beyond 65,504, and most are well above the least normal half, 6.1e-5.

    Below that digits are lost, and some devices take a number as zero.
    """
    if array.dtype != np.float32:
        return True
    numbers = array[np.isfinite(array) & (array != 0)].astype(np.float64)
    if not numbers.size:
        return True
    limits = np.finfo(np.float16)
    return bool(
        np.abs(numbers).max() <= limits.max and np.sqrt(np.mean(numbers**2)) >= 32 * float(limits.tiny)
    )


def _array(tensor: "onnx.TensorProto") -> np.ndarray:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def _floats(model: "onnx.ModelProto") -> set[str]:
    """Return the names of the values and constants that are float32."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    single = onnx.TensorProto.FLOAT
    values = (
        each.name
        for each in chain(graph.input, graph.value_info, graph.output)
        if each.type.tensor_type.elem_type == single
    )
    return {*values, *(each.name for each in graph.initializer if each.data_type == single)}
