"""Map third-party tensors to our names and layouts, with checks for missing, unknown and ill-shaped ones."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from featcache.core.display import some
from featcache.errors import WeightsError

Template = str | Callable[..., str]


@dataclass(frozen=True)
class KeyTable:
    """How a file's tensor names map to ours.

    Parameters
    ----------
    modules
        Pairs of a regular expression over the file's module path (the name without its last component) and
        our module path: a format string or a function of the expression's groups, which may raise
        ``LookupError`` where this network has no such module.
    leaf
        ``(last component, tensor) -> (our last component, tensor in our layout)``.
    ignore
        Regular expressions over whole names of tensors that are left out on purpose.
    layouts
        Pairs of an expression over *our* whole name and a function that brings the tensor into our layout
        after `leaf`: for the few whose layout depends on more than their own name (the first dense layer
        after a flattened map).
    numbered
        Keras classes such as ``"conv2d"`` whose layers have automatic names, ``conv2d``, ``conv2d_1``, …: they
        are counted from 0 in the order of these numbers, wherever the session that wrote the file had begun.
    constants
        Pairs of an expression over a file's whole name and the values that it must hold, because they belong
        to the transforms here (the mean and variance that some Keras networks hold inside).
    """

    modules: tuple[tuple[str, Template], ...]
    leaf: Callable[[str, np.ndarray], tuple[str, np.ndarray]]
    ignore: tuple[str, ...] = ()
    layouts: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = ()
    numbered: tuple[str, ...] = ()
    constants: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def translate(self, name: str, tensor: np.ndarray) -> tuple[str, np.ndarray] | None:
        """Return our name and layout of one tensor, or ``None`` if no row of the table matches."""
        module, _, last = name.rpartition(".")
        for pattern, template in self.modules:
            if match := re.fullmatch(pattern, module):
                groups = match.groups()
                try:
                    ours = template(*groups) if callable(template) else template.format(*groups)
                except LookupError:  # the file of a deeper network has blocks that this one lacks
                    return None
                leaf, value = self.leaf(last, tensor)
                return self._to_our_layout(f"{ours}.{leaf}", value)
        return None

    def _to_our_layout(self, name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
        for pattern, layout in self.layouts:
            if re.fullmatch(pattern, name):
                try:
                    return name, layout(tensor)
                except (ValueError, IndexError):  # of a foreign layer: its shape is reported as it is
                    return name, tensor
        return name, tensor

    def knows(self, name: str) -> bool:
        """Whether the table has a row for such a name, be there such a module in this network or not."""
        module = name.rpartition(".")[0]
        return any(re.fullmatch(pattern, module) for pattern, _ in self.modules)

    def renumber(self, names: Iterable[str]) -> dict[str, str]:
        """Return each of a file's names with the automatic numbers counted from 0."""
        names = list(names)
        renamed = {name: name for name in names}
        for prefix in self.numbered:
            found = {name: re.fullmatch(rf"{prefix}(?:_(\d+))?(\..*)", name) for name in names}
            numbers = sorted({int(match[1] or 0) for match in found.values() if match})
            renamed |= {
                name: f"{prefix}_{numbers.index(int(match[1] or 0))}{match[2]}"
                for name, match in found.items()
                if match
            }
        return renamed

    def constant(self, name: str) -> tuple[float, ...] | None:
        """Return the values that this tensor of the file must hold, if it is a constant."""
        return next((values for pattern, values in self.constants if re.fullmatch(pattern, name)), None)

    def agrees(self, name: str, tensor: np.ndarray) -> bool:
        """Whether a tensor is no constant, or holds the values that it must."""
        values = self.constant(name)
        return values is None or _equals(tensor, values)

    def ignores(self, name: str) -> bool:
        """Whether a tensor of the file is left out on purpose."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignore)


def torch_leaf(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """Map PyTorch's leaf names and layouts: OIHW to HWIO, ``[out, in]`` to ``[in, out]``, norms by rank."""
    if name == "weight":
        if tensor.ndim == 4:
            return "kernel", tensor.transpose(2, 3, 1, 0)
        return ("kernel", tensor.T) if tensor.ndim == 2 else ("scale", tensor)
    return {"running_mean": "mean", "running_var": "var"}.get(name, name), tensor


_KERAS_LEAVES = {
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
    "depthwise_kernel": "kernel",
}


def keras_leaf(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """Map Keras' leaf names; its kernels have our layout, but for depthwise ones: ``[kh, kw, C, 1]``."""
    # A depthwise kernel is called "kernel" in some files. No network here ends in a single output channel.
    depthwise = tensor.ndim == 4 and tensor.shape[3] == 1 < tensor.shape[2]
    return _KERAS_LEAVES.get(name, name), tensor.transpose(0, 1, 3, 2) if depthwise else tensor


def convert(
    tensors: Mapping[str, np.ndarray], table: KeyTable, shapes: Mapping[str, tuple[int, ...]], *, origin: str
) -> dict[str, np.ndarray]:
    """Return our tensors from a file's, float32 and contiguous.

    Parameters
    ----------
    tensors
        Arrays by the file's names.
    table
        The mapping.
    shapes
        Shapes by our names; each must be given.
    origin
        The file's name for the message.

    Raises
    ------
    WeightsError
        Naming all unknown, missing, repeated and ill-shaped tensors at once; if some are whole numbers.
    """
    ours: dict[str, np.ndarray] = {}
    unknown: list[str] = []
    doubled: list[str] = []
    other: list[str] = []
    names = table.renumber(tensors)
    for name, tensor in tensors.items():
        if table.ignores(name):
            continue
        if (values := table.constant(name)) is not None:
            if not table.agrees(name, tensor):
                other.append(f"{name}, expected {', '.join(map(str, values))}")
            continue
        translated = table.translate(names[name], tensor)
        if translated is None or translated[0] not in shapes:
            unknown.append(name)
        elif translated[0] in ours:
            doubled.append(name)
        else:
            ours[translated[0]] = translated[1]
    _refuse_quantised(origin, ours)
    missing = [name for name in shapes if name not in ours]
    wrong = [
        f"{name} is {ours[name].shape}, expected {shape}"
        for name, shape in shapes.items()
        if name in ours and ours[name].shape != shape
    ]
    problems = {
        "missing": missing,
        "unknown": unknown,
        "given twice": doubled,
        "wrong shape": wrong,
        "other than the transforms of these weights": other,
    }
    _refuse_mismatch(origin, problems)
    return {name: np.ascontiguousarray(ours[name], np.float32) for name in shapes}


def _equals(tensor: np.ndarray, values: tuple[float, ...]) -> bool:
    # Written as float32 and sometimes through a square and a root: 1e-5 is far below a grey level.
    return tensor.size == len(values) and bool(np.allclose(tensor.ravel(), values, rtol=1e-5))


def _refuse_quantised(origin: str, ours: Mapping[str, np.ndarray]) -> None:
    whole = [f"{name} is {tensor.dtype}" for name, tensor in ours.items() if tensor.dtype.kind in "iub"]
    if whole:
        raise WeightsError(
            f"{origin}: {len(whole)} of {len(ours)} tensors are whole numbers ({some(whole)}), as of a quantised one; "
            "their values need its scales: save the weights before quantisation, as float16 or float32"
        )


def _refuse_mismatch(origin: str, problems: Mapping[str, list[str]]) -> None:
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})"
        for kind, names in problems.items()
        if names
    ]
    if parts:
        raise WeightsError(
            f"{origin} does not fit this network: {'; '.join(parts)}. "
            "Give the weights of this architecture, or name the backbone they belong to."
        )
