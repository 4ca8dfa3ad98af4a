"""Goldens of networks that exist in torch: made with torchvision or timm, compared without them.

``cd tests && python -m helpers.torch_reference [NAME ...]`` writes ``backbones/goldens/torch/NAME.json`` in an
environment that has torch, torchvision and timm (nothing of featcache is needed there); ``--check`` compares instead
of writing. The cases are the files of ``helpers/torch_cases``.
"""

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers import torch_cases
from helpers.drawing import draw, images

FOLDER = Path(__file__).parents[1] / "backbones" / "goldens" / "torch"

SAMPLES = 16
"""Values of each point that a golden holds, evenly spread over the flattened array."""


@dataclass(frozen=True)
class TorchCase:
    """One network of torchvision or timm.

    Parameters
    ----------
    name
        Our ``arch.tag``.
    build
        Imports its framework and returns the module, without weights, with the classifier.
    points
        Regular expressions over the paths of the modules whose outputs are compared (a path that matches any).
    sizes
        Image sizes, height and width.
    dropped
        Expressions over names of tensors that the published file lacks.
    """

    name: str
    build: Callable[[], Any]
    points: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    dropped: tuple[str, ...] = ()


def cases() -> Mapping[str, TorchCase]:
    """Return all cases by name."""
    modules = sorted(module.name for module in pkgutil.iter_modules(torch_cases.__path__))
    found = (importlib.import_module(f"{torch_cases.__name__}.{name}") for name in modules)
    return {case.name: case for module in found for case in getattr(module, "CASES", ())}


def fan_in(name: str, shape: tuple[int, ...]) -> int | None:
    """Products summed in one output of a kernel in torch's layout, ``None`` for other tensors."""
    leaf = name.rpartition(".")[2]
    kernel = len(shape) in (2, 4) and (leaf == "weight" or leaf.endswith("proj_weight"))
    return int(np.prod(shape[1:])) if kernel else None


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the random tensor of this name in torch's layout."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    return draw(name, tuple(shape), fan_in(name, tuple(shape)))


def golden(case: TorchCase) -> dict[str, Any]:
    """Run the reference and return what is kept of it."""
    import torch

    torch.set_num_threads(2)
    model = case.build().eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(drawn(name, shape)) for name, shape in shapes.items()})
    kept = {name: shape for name, shape in shapes.items() if not _any(case.dropped, name)}
    runs = []
    for height, width in case.sizes:
        values = _run(case, model, images(height, width))
        runs.append({"size": [height, width], "points": {n: summary(v) for n, v in values.items()}})
    return {"versions": _versions(), "tensors": {n: list(s) for n, s in kept.items()}, "runs": runs}


def _run(case: TorchCase, model: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of the points for images ``[B, H, W, 3]``, maps with channels last; ``""`` is the model's own."""
    import torch

    values: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            # A copy: the next layer may work in place.
            values[name] = output.detach().clone().numpy()

        return hook

    handles = [
        module.register_forward_hook(keep(name))
        for name, module in model.named_modules()
        if name and _any(case.points, name)
    ]
    with torch.no_grad():
        values["logits"] = model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    for handle in handles:
        handle.remove()
    return {name: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for name, v in values.items()}


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _versions() -> dict[str, str]:
    return {name: importlib.import_module(name).__version__ for name in ("torch", "torchvision", "timm")}


def summary(value: np.ndarray) -> dict[str, Any]:
    """Shape, samples, norm and largest absolute value of an array."""
    flat = np.asarray(value, np.float64).ravel()
    at = np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).round().astype(int)
    return {
        "shape": list(value.shape),
        "samples": [float(f"{v:.7g}") for v in flat[at]],
        "norm": float(f"{np.linalg.norm(flat):.7g}"),
        "largest": float(f"{np.abs(flat).max():.7g}"),
    }


def main(names: list[str], *, check: bool) -> None:
    """Write the goldens, or compare what would be written with what is there."""
    for name, case in cases().items():
        if names and name not in names:
            continue
        path, made = FOLDER / f"{name}.json", golden(case)
        if check:
            compare(name, json.loads(path.read_text("utf-8")), made)
        else:
            path.write_text(json.dumps(made, separators=(",", ":")) + "\n", "utf-8")
        print(f"{name}: {'as it was' if check else f'{path.stat().st_size / 1000:.0f} kB'}", flush=True)


def compare(name: str, kept: dict[str, Any], made: dict[str, Any]) -> None:
    assert kept["tensors"] == made["tensors"], name
    for old, new in zip(kept["runs"], made["runs"], strict=True):
        assert old["points"].keys() == new["points"].keys(), name
        for point, value in old["points"].items():
            error = np.abs(np.subtract(value["samples"], new["points"][point]["samples"])).max()
            # Another version or processor sums in another order.
            assert error <= 1e-5 * value["largest"], f"{name} {point}: {error}"


if __name__ == "__main__":
    main([a for a in sys.argv[1:] if not a.startswith("-")], check="--check" in sys.argv)
