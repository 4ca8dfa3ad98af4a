"""Keras weight files written with h5py alone: the layouts of 2016 to today, and a base for hostile ones."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

Layers = Mapping[str, Mapping[str, np.ndarray]]


def values(*shape: int, dtype: str = "float32") -> np.ndarray:
    """Numbers that differ in every place."""
    return (np.arange(np.prod(shape)) + 1).astype(dtype).reshape(shape)


def write_legacy(group: h5py.Group, layers: Layers) -> None:
    """Layer names to weight names, as they are in the file, to values."""
    group.attrs["layer_names"] = np.array([name.encode() for name in layers])
    group.attrs["backend"] = b"tensorflow"
    for layer, weights in layers.items():
        inner = group.create_group(layer)
        inner.attrs["weight_names"] = np.array([name.encode() for name in weights])
        for name, array in weights.items():
            inner[name] = array


def write_new(group: h5py.Group, layers: Layers) -> None:
    """``CLASS_N/NAME`` to the variables ``0``, ``1``, … of that layer."""
    group.create_group("vars").attrs["name"] = "model"
    for where, variables in layers.items():
        place, _, name = where.rpartition("/")
        inner = group.create_group(f"layers/{place}/vars")
        inner.attrs["name"] = name
        for position, array in variables.items():
            inner[position] = array


def legacy_file(path: Path, layers: Layers) -> Path:
    with h5py.File(path, "w") as file:
        write_legacy(file, layers)
    return path


def new_file(path: Path, layers: Layers) -> Path:
    with h5py.File(path, "w") as file:
        write_new(file, layers)
    return path


def archive(path: Path, weights: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", "{not JSON")
        file.writestr("model.weights.h5", weights)
    return path


DENSE = {"fc": {"fc/kernel:0": values(3, 2), "fc/bias:0": values(2)}}
NEW_DENSE = {"dense/fc": {"0": values(3, 2), "1": values(2)}}
