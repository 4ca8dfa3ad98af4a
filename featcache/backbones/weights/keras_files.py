"""Keras weight files, old (``.h5``) and new (``.weights.h5``, ``.keras``), as named numpy arrays.

Both layouts give the same names, ``{layer}.{leaf}``, with one set of leaf names: kernel, bias, gamma, beta,
moving_mean, moving_variance, depthwise_kernel, pointwise_kernel, mean, variance, count; others stay as they
are. A ``/`` in a layer's name, which Keras 3 forbids, becomes ``_``. A layer inside of a nested model goes by
its own name; the nested models are sets of their own beside the whole file. Nothing is deserialised as a model:
``model_config`` and ``config.json``, which may hold code, are never read. The state of optimizers and of random
generators is left out.

One ambiguity of the old layout remains: Keras 3 writes a depthwise kernel into it as ``kernel`` (TensorFlow's Keras
wrote ``depthwise_kernel``), and only the model's configuration says of which class the layer is.
"""

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from featcache.backbones.weights.hdf5_manifest import Manifest, Window, read_dataset, read_manifest
from featcache.backbones.weights.levels import Levels
from featcache.backbones.weights.torch_pickle import MalformedError, shorten
from featcache.backbones.weights.zip_entries import zip_entries

WEIGHTS_ENTRY = "model.weights.h5"
"""Name of the weights inside of a ``.keras`` archive."""

_SAVE_AGAIN = 'load the model with a current Keras and save it again: model.save_weights("x.weights.h5")'
_ZIP_AGAIN = "save the model again with model.save(), which does not compress"

# Leaf names by position, for each class in snake case the known sets; the number of variables decides. One
# variable of a layer normalisation is not listed: it may be gamma or beta. Three of a batch normalisation may
# be gamma and the statistics, but keras.applications only ever leaves out gamma (scale=False).
_POSITIONS = {
    "batch_normalization": (
        "gamma beta moving_mean moving_variance",
        "beta moving_mean moving_variance",
        "moving_mean moving_variance",
    ),
    "conv2d": ("kernel bias", "kernel"),
    "conv2d_transpose": ("kernel bias", "kernel"),
    "dense": ("kernel bias", "kernel"),
    "depthwise_conv2d": ("depthwise_kernel bias", "depthwise_kernel"),
    "layer_normalization": ("gamma beta",),
    "layer_scale": ("gamma",),
    "normalization": ("mean variance count",),
    "separable_conv2d": ("depthwise_kernel pointwise_kernel bias", "depthwise_kernel pointwise_kernel"),
}

# Files of 2016 name a weight "block1_conv1_W_1:0" and without a scope; running_std held a variance then too.
_NAMES_OF_2016 = re.compile(
    r"(?:.*_)?(W|b|gamma|beta|running_mean|running_std|depthwise_kernel|pointwise_kernel)(?:_\d+)?"
)
_RENAMED = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}


# The group of the old layout for variables of the model itself; it is not listed among the layers.
_MODEL_ITSELF = "top_level_model_weights"


def read_keras_hdf5(file: BinaryIO) -> Levels:
    """Read a Keras ``.h5`` or ``.weights.h5`` file.

    Parameters
    ----------
    file
        The open file, with a descriptor.

    Returns
    -------
    Levels
        The whole file under ``""`` and each nested model by its name, ``{layer}.{leaf}`` to an array of its own;
        NaN is allowed. There is no ``""`` where layers of two nested models have the same names.

    Raises
    ------
    MalformedError
        The file is damaged, has anything but plain named tensors of Keras, or two of one name in one model.

    References
    ----------
    ``keras/src/legacy/saving/legacy_h5_format.py``, ``keras/src/saving/saving_lib.py``.
    """
    return _read(file, Window(0, os.fstat(file.fileno()).st_size))


def read_keras_archive(file: BinaryIO) -> Levels:
    """Read the weights of a ``.keras`` archive where they lie in it; the archive's checksum is verified.

    Parameters
    ----------
    file
        The open file, with a descriptor.

    Returns
    -------
    Levels
        As from `read_keras_hdf5`.

    Raises
    ------
    MalformedError
        As from `read_keras_hdf5`, or the archive itself is damaged.
    """
    entries = [entry for entry in zip_entries(file) if entry.filename == WEIGHTS_ENTRY]
    if len(entries) != 1:
        raise MalformedError(
            f"the archive has {len(entries)} entries {WEIGHTS_ENTRY!r}, not one", _SAVE_AGAIN
        )
    return _read(file, _window(file, entries[0]))


def _window(file: BinaryIO, entry: zipfile.ZipInfo) -> Window:
    """Return the place of an uncompressed entry in a zip archive."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise MalformedError(f"{WEIGHTS_ENTRY!r} is compressed inside of the archive", _ZIP_AGAIN)
    file.seek(max(entry.header_offset, 0))
    header = file.read(30)
    if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
        raise MalformedError(f"{WEIGHTS_ENTRY!r} is not where the archive's directory says")
    # The local header is followed by the name and an extra field.
    window = Window(entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:])), entry.file_size)
    if _checksum(file, window) != entry.CRC:
        raise MalformedError(f"{WEIGHTS_ENTRY!r} does not match the archive's checksum")
    return window


def _checksum(file: BinaryIO, window: Window) -> int:
    file.seek(window.offset)
    checksum, left = 0, window.size
    while left and (chunk := file.read(min(left, 2**20))):
        checksum, left = zlib.crc32(chunk, checksum), left - len(chunk)
    return -1 if left else checksum


def _read(file: BinaryIO, window: Window) -> Levels:
    manifest = read_manifest(file, window)
    whole: dict[str, np.ndarray] = {}
    models: dict[str, dict[str, np.ndarray]] = {}
    doubled = None
    for name, path, model in _names(manifest):
        if name in whole:
            doubled = (name, path)
        inner = models.setdefault(model, {})
        if name in inner:
            raise doubled_name(name, path)
        if path not in manifest.datasets:
            raise MalformedError(f"weight {shorten(path)} is listed but absent")
        inner[name] = whole[name] = read_dataset(file, window, manifest.datasets[path])
    if not whole:
        raise MalformedError("it holds no weights", _SAVE_AGAIN)
    if doubled:
        return Levels(models, doubled)
    return Levels({"": whole} | {model: inner for model, inner in models.items() if model})


def doubled_name(name: str, path: str) -> MalformedError:
    """Return the error that a file has two tensors of one name, the second at `path`."""
    return MalformedError(
        f"two tensors are named {shorten(name)}, the second is {shorten(path)}",
        "rename one of the layers and save it again",
    )


# Names of tensors, their paths, and the outermost nested model that they are in ("" for none)
_Names = Iterator[tuple[str, str, str]]


def _names(manifest: Manifest) -> _Names:
    for root in ("", "/model_weights"):  # weights alone, a whole model
        if "layer_names" in manifest.groups.get(root or "/", {}):
            return _legacy_names(manifest, root)
    return _positional_names(manifest)


# The old layout: /LAYER with the attribute weight_names, and the weights under these names in it


def _legacy_names(manifest: Manifest, root: str) -> _Names:
    layers = list(manifest.groups[root or "/"]["layer_names"])
    if f"{root}/{_MODEL_ITSELF}" in manifest.groups:
        layers.append(_MODEL_ITSELF)
    for layer in layers:
        path = f"{root}/{layer}"
        if "weight_names" not in manifest.groups.get(path, {}):
            raise MalformedError(f"layer {shorten(layer)} is listed but absent")
        weights = manifest.groups[path]["weight_names"]
        scopes = {_split(weight)[0] for weight in weights}
        nested = len(scopes) > 1
        for weight in weights:
            yield _legacy_name(layer, weight, nested=nested), f"{path}/{weight}", layer if nested else ""


def _legacy_name(layer: str, weight: str, *, nested: bool) -> str:
    """Name a weight of a layer, or of a layer inside of a nested model, whose weights have several scopes.

    One scope of another name than the layer's is the same layer all the same: TensorFlow 1 counted scopes.
    """
    scope, leaf = _split(weight)
    if not scope and (old := _NAMES_OF_2016.fullmatch(leaf)):
        leaf = _RENAMED.get(old[1], old[1])
    if scope not in ("", layer) and not weight.endswith(":0"):  # Keras 3: the last part is the own name
        layer = scope.rpartition("/")[2]
    elif scope not in ("", layer) and nested:
        layer = scope.removeprefix(f"{layer}/")
    # The only weight that keras.applications gave no name, of ConvNeXt's LayerScale.
    if "layer_scale" in layer and re.fullmatch(r"[Vv]ariable(_\d+)?", leaf):
        leaf = "gamma"
    return f"{layer.replace('/', '_')}.{leaf}"


def _split(weight: str) -> tuple[str, str]:
    scope, _, leaf = re.sub(r":\d+$", "", weight).rpartition("/")
    return scope, leaf


# TensorFlow 2.13 wrote the second for layers.
_COLLECTIONS = ("layers", "_layer_checkpoint_dependencies")


# The new layout: …/CLASS_N/vars with the attribute name, and the variables in it as "0", "1", …


def _positional_names(manifest: Manifest) -> _Names:
    layers: dict[str, list[str]] = {}
    for path in manifest.datasets:
        layers.setdefault(path.rpartition("/")[0], []).append(path)
    for group in sorted(layers):
        parent, _, last = group.rpartition("/")
        kind = re.sub(r"_\d+$", "", parent.rpartition("/")[2])
        if last != "vars":
            raise MalformedError(f"dataset {shorten(layers[group][0])} is in no layer", _SAVE_AGAIN)
        if kind == "seed_generator":
            continue
        name = manifest.groups.get(group, {}).get("name", [])
        if len(name) != 1:
            raise MalformedError(
                f"layer {shorten(parent)} has no name (an older Keras 3 wrote none)", _SAVE_AGAIN
            )
        for leaf, path in _leaves(kind, layers[group]):
            yield f"{name[0].replace('/', '_')}.{leaf}", path, _model_of(manifest, group)


def _model_of(manifest: Manifest, group: str) -> str:
    """Return the name of the outermost nested model of a layer's variables, such as `/layers/functional`."""
    _, collection, model, *inner = [*group.split("/"), "", ""]
    if collection not in _COLLECTIONS or not set(_COLLECTIONS) & set(inner):
        return ""
    named = manifest.groups.get(f"/{collection}/{model}/vars", {}).get("name", [])
    return named[0] if named else model


def _leaves(kind: str, paths: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the leaf name and path of each variable of one layer."""
    known = next(
        (names for names in map(str.split, _POSITIONS.get(kind, ())) if len(names) == len(paths)), []
    )
    leaf_of = {str(position): leaf for position, leaf in enumerate(known)}
    for path in sorted(paths):
        position = path.rpartition("/")[2]
        yield leaf_of.get(position, position), path
