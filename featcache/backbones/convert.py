"""Third-party tensors into our network, checked both ways: nothing missing, nothing left over, right shapes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

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
        Expressions over whole names that are left out on purpose.
    """

    modules: tuple[tuple[str, Template], ...]
    leaf: Callable[[str, np.ndarray], tuple[str, np.ndarray]]
    ignore: tuple[str, ...] = ()

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
                return f"{ours}.{leaf}", value
        return None

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


def convert(
    tensors: Mapping[str, np.ndarray], table: KeyTable, shapes: Mapping[str, tuple[int, ...]], *, origin: str
) -> dict[str, np.ndarray]:
    """Return our tensors from a file's, float32 and contiguous.

    Parameters
    ----------
    tensors
        The file's names to arrays.
    table
        The mapping.
    shapes
        Our names to shapes: every one must be met.
    origin
        The file's name for the message.

    Raises
    ------
    WeightsError
        With all unknown, missing, doubled and ill-shaped names at once.
    """
    ours: dict[str, np.ndarray] = {}
    unknown: list[str] = []
    doubled: list[str] = []
    for name, tensor in tensors.items():
        if table.ignores(name):
            continue
        translated = table.translate(name, tensor)
        if translated is None or translated[0] not in shapes:
            unknown.append(name)
        elif translated[0] in ours:
            doubled.append(name)
        else:
            ours[translated[0]] = translated[1]
    missing = [name for name in shapes if name not in ours]
    wrong = [
        f"{name} is {ours[name].shape}, expected {shape}"
        for name, shape in shapes.items()
        if name in ours and ours[name].shape != shape
    ]
    problems = {"missing": missing, "unknown": unknown, "given twice": doubled, "wrong shape": wrong}
    _refuse_mismatch(origin, problems)
    return {name: np.ascontiguousarray(ours[name], np.float32) for name in shapes}


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
