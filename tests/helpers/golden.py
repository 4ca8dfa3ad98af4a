"""A network beside what torchvision or timm computed with the same random weights; see `torch_reference`."""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from featcache.backbones import load
from featcache.backbones.loaded import LoadedBackbone
from featcache.errors import WeightsError
from helpers.drawing import images
from helpers.keras_oracle import TOLERANCE, run_ours
from helpers.torch_reference import FOLDER, drawn


@cache
def kept(name: str) -> dict[str, Any]:
    """Return a golden."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def tensors(name: str) -> dict[str, np.ndarray]:
    """Return the reference's tensors, as its own file would hold them."""
    return {tensor: drawn(tensor, tuple(shape)) for tensor, shape in kept(name)["tensors"].items()}


def zeros(name: str, without: str = "") -> dict[str, np.ndarray]:
    """Return tensors of the reference's names and shapes, for what is decided without their values."""
    shapes = kept(name)["tensors"].items()
    return {
        tensor: np.zeros(shape, np.float32) for tensor, shape in shapes if not re.fullmatch(without, tensor)
    }


def loaded_from_file(name: str, folder: Path, without: str = "") -> LoadedBackbone:
    """Load the reference's tensors through a file in its layout, but those whose name matches `without`."""
    path = folder / f"{name}.safetensors"
    kept_tensors = (tensor for tensor in kept(name)["tensors"] if not re.fullmatch(without, tensor))
    save_file({tensor: drawn(tensor, tuple(kept(name)["tensors"][tensor])) for tensor in kept_tensors}, path)
    loaded = load(name, weights=path)
    path.unlink()
    return loaded


def assert_equals_golden(
    name: str,
    folder: Path,
    *,
    runs: Iterable[int] = (0, 1),
    uncovered: Iterable[str] = (),
    without: str = "",
) -> dict[str, float]:
    """Compare every stage that the golden holds, by the reference's own names for them.

    Parameters
    ----------
    name
        Our ``arch.tag``.
    folder
        For the weights file.
    runs
        Which of the golden's image sizes.
    uncovered
        Stages that the reference does not show.
    without
        Expression over tensors to leave out of the file: the top, where it is large.

    Returns
    -------
    dict
        Point to the largest difference found, as a fraction of its largest value.
    """
    loaded = loaded_from_file(name, folder, without)
    errors: dict[str, float] = {}
    for run in (kept(name)["runs"][number] for number in runs):
        points = {point: value for point, value in run["points"].items() if _known(loaded, point)}
        actual = run_ours(loaded, images(*run["size"]), list(points))
        for point, expected in points.items():
            error = difference(actual[point], expected)
            errors[point] = max(error, errors.get(point, 0.0))
    assert {point: error for point, error in errors.items() if not error < TOLERANCE} == {}
    covered = {loaded.network.resolve(point) for point in errors}
    assert set(loaded.network.order) - covered == set(uncovered)
    return errors


def _known(loaded: LoadedBackbone, point: str) -> bool:
    name = dict(loaded.network.aliases).get(point, point)
    return name in loaded.network.points


def difference(actual: np.ndarray, expected: dict[str, Any]) -> float:
    """Return the largest difference of the samples and of the norm, as a fraction of the largest value."""
    assert list(actual.shape) == expected["shape"]
    flat = np.asarray(actual, np.float64).ravel()
    at = np.linspace(0, flat.size - 1, len(expected["samples"])).round().astype(int)
    samples = np.abs(flat[at] - expected["samples"]).max() / expected["largest"]
    # The norm stands for the values in between.
    return float(max(samples, abs(np.linalg.norm(flat) / expected["norm"] - 1)))


def assert_mapping_is_strict(name: str, folder: Path, *, without: str = "") -> None:
    """Remove, add (to a layer) and reshape one tensor of the reference's file: each is refused by name.

    Tensors whose names match `without` are left out of the file: the top, where it is large.
    """
    given = zeros(name, without)
    middle = [tensor for tensor, value in given.items() if value.ndim >= 2][len(given) // 8]

    def refused(changed: dict[str, np.ndarray], match: str) -> None:
        path = folder / "changed.safetensors"
        save_file(changed, path)
        with pytest.raises(WeightsError, match=match):
            load(name, weights=path)

    without = {tensor: value for tensor, value in given.items() if tensor != middle}
    refused(without, r"does not fit this network: 1 missing \(")
    surplus = f"{middle.rpartition('.')[0]}.surplus"
    refused(given | {surplus: np.zeros(3, np.float32)}, rf"1 unknown \({re.escape(surplus)}\)")
    longer = np.concatenate([given[middle], given[middle]])
    refused(given | {middle: longer}, r"1 wrong shape \(.* is \(.*\), expected \(")
