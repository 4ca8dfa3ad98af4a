"""A network beside its original in keras.applications: the same random weights, every stage compared.

The original is built with ``weights=None``, all its tensors are overwritten, statistics included, and it is saved
in Keras' own file formats. Ours reads that file as it would a published one.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import pytest
from flax import nnx

from featcache.backbones import load
from featcache.backbones.chain import Backbone
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import family_of, resolve
from featcache.backbones.summary import summarise
from featcache.errors import WeightsError
from helpers.drawing import draw, images
from helpers.support import compiled_quickly, keras, scaled_error

TOLERANCE = 1e-4
"""Of a stage's largest value. A layer's rounding error is about √n·2⁻²⁴ for sums of n products (1e-5 for the widest),
a hundred layers add up at random, and normalisation damps what comes in. A wrong pad, epsilon, stride or activation
changes 1e-3 and more."""


@dataclass(frozen=True, eq=False)
class KerasCase:
    """One architecture of keras.applications.

    Parameters
    ----------
    name
        Our ``arch.tag``, whose layout is Keras'.
    build
        ``(keras.applications, input_shape, include_top) -> Model`` with ``weights=None`` and without softmax.
    same
        Keras' layer to our point, where the layer's name is automatic (``"activation_3"``) or not an alias.
    other
        Keras' layers whose name we use for another value on purpose (should be empty).
    uncovered
        Our stages that no layer of Keras shows.
    raw
        From normalised images to what the model takes, where it normalises inside.
    constants
        ``layer.leaf`` of such a model's inner normalisation to values.
    """

    name: str
    build: Callable[[Any, tuple[int, int, int], bool], Any]
    same: Mapping[str, str] = field(default_factory=dict)
    other: tuple[str, ...] = ()
    uncovered: tuple[str, ...] = ()
    raw: Callable[[np.ndarray], np.ndarray] = lambda x: x
    constants: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@contextmanager
def initialised(by: Callable[[tuple[int, ...]], np.ndarray]) -> Iterator[None]:
    """Keras' kernels are what a function of their shape returns: drawing them by JAX takes half a minute."""

    def values(self: Any, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        del self, dtype
        return by(shape).astype(np.float32)

    initializers = keras().initializers
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GlorotUniform", "VarianceScaling", "TruncatedNormal", "RandomNormal"):
            patch.setattr(getattr(initializers, name), "__call__", values)
        yield


def untouched(case: KerasCase, size: tuple[int, int], *, top: bool = True) -> Any:
    """Return the original as it is built: its kernels are zeros."""
    keras().backend.clear_session()  # automatic names start from the beginning
    with initialised(np.zeros):
        return case.build(keras().applications, (*size, 3), top)


def reference(case: KerasCase, size: tuple[int, int], *, top: bool = True) -> Any:
    """Return the original with every tensor drawn anew."""
    model = untouched(case, size, top=top)
    for layer in model.layers:
        for variable in layer.weights:
            leaf = variable.path.rpartition("/")[2]
            name = f"{layer.name}.{leaf}"
            fixed = case.constants.get(name)
            value = _drawn(layer, name, tuple(variable.shape)) if fixed is None else np.asarray(fixed)
            variable.assign(value.reshape(variable.shape))
    return model


# Tests of one original follow each other.
_last_reference = lru_cache(maxsize=1)(reference)


@lru_cache(maxsize=1)
def _last_outputs(case: KerasCase, size: tuple[int, int], layers: tuple[str, ...]) -> dict[str, np.ndarray]:
    return run_keras(_last_reference(case, size, top=False), case.raw(images(*size)), layers)


def _drawn(layer: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if not name.endswith("kernel"):
        return draw(name, shape)
    depthwise = len(shape) == 4 and shape[3] == 1
    return draw(name, shape, int(np.prod(shape[:2] if depthwise else shape[:-1])))


def save(model: Any, path: Path) -> Path:
    """Write a model's weights in the format that the name asks for: ``.weights.h5`` or the older ``.h5``."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
        return path
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def run_ours(loaded: LoadedBackbone, x: np.ndarray, taps: list[str]) -> dict[str, np.ndarray]:
    """Return the tapped values of normalised images."""

    def run(state: Any, x: Any) -> Any:
        return nnx.merge(loaded.graphdef, state)(x, taps=taps)

    with jax.default_matmul_precision("highest"):
        values = jax.jit(run, compiler_options=compiled_quickly())(loaded.state, x)
    return {tap: np.asarray(value) for tap, value in values.items()}


def run_keras(model: Any, x: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the outputs of the named layers."""
    submodel = keras().Model(model.inputs, [model.get_layer(name).output for name in layers])
    variables = (
        [v.value for v in submodel.trainable_variables],
        [v.value for v in submodel.non_trainable_variables],
    )
    with jax.default_matmul_precision("highest"):
        values, _ = jax.jit(submodel.stateless_call, compiler_options=compiled_quickly())(*variables, x)
    return dict(zip(layers, map(np.asarray, values), strict=True))


def compared_points(case: KerasCase, model: Any, network: Backbone) -> dict[str, str]:
    """Return Keras' layers to our points: all whose name we know, and those that the case names."""
    known = {**dict(network.aliases), **{point: point for point in network.points}}
    names = [layer.name for layer in model.layers if layer.name not in case.other]
    return {name: known[name] for name in names if known.get(name) in network.points} | {
        name: point for name, point in case.same.items() if name in names
    }


def assert_equals_keras(
    case: KerasCase, size: tuple[int, int], folder: Path, *, suffix: str = ".weights.h5", top: bool = True
) -> dict[str, float]:
    """Compare every stage at one input size, through a file of Keras' format.

    Returns
    -------
    dict
        Keras' layer to the largest difference, as a fraction of the layer's largest value.
    """
    # With its dense layers an original may have half a gigabyte: that is not kept.
    model = reference(case, size) if top else _last_reference(case, size, top=False)
    path = save(model, folder / f"{case.name}{suffix}")
    loaded = load(case.name, weights=path)
    path.unlink()
    points = compared_points(case, model, loaded.network)
    x = images(*size)
    layers = tuple(points)
    expected = run_keras(model, case.raw(x), layers) if top else _last_outputs(case, size, layers)
    actual = run_ours(loaded, x, sorted(set(points.values())))
    errors = {layer: scaled_error(actual[point], expected[layer]) for layer, point in points.items()}
    assert {layer: error for layer, error in errors.items() if not error < TOLERANCE} == {}
    covered = {loaded.network.resolve(point) for point in points.values()}
    assert set(loaded.network.order) - covered == set(case.uncovered) & set(loaded.network.order)
    for layer, value in expected.items():  # the numbers mean something
        assert np.isfinite(value).all(), layer
        assert value.std() > 1e-3 * np.abs(value).max() > 0, layer
    return errors


def assert_built_as_keras(case: KerasCase, size: tuple[int, int]) -> None:
    """Compare the names and shapes of all tensors, and the shapes of all stages at one input size.

    It computes nothing, and is for the sizes of a family between those that are compared by their numbers: they have
    the same layers in another number and width, so that a wrong repeat, width, kernel or stride is a shape.
    """
    model, weights = untouched(case, size, top=False), resolve(case.name)
    family = family_of(weights)
    network, table = family.abstract(weights.config), family.key_tables[weights.layout](weights.config)
    given = {
        # ConvNeXt's LayerScale has one variable, to which Keras gives no name.
        f"{layer.name}.{re.sub(r'^variable.*', 'gamma', variable.path.rpartition('/')[2])}": tuple(
            variable.shape
        )
        for layer in model._flatten_layers(include_self=False)
        if not list(layer._flatten_layers(include_self=False))
        for variable in layer.weights
    }
    nothing = {name: np.broadcast_to(np.float32(0), shape) for name, shape in given.items()}
    names, found = table.renumber(nothing), {}
    for name, tensor in nothing.items():
        if not table.ignores(name) and table.constant(name) is None:
            translated = table.translate(names[name], tensor)
            assert translated is not None, name
            assert translated[0] not in found, name
            found[translated[0]] = translated[1].shape
    state = nnx.to_flat_state(nnx.state(network))
    shapes = {".".join(map(str, path[1:])): leaf.shape for path, leaf in state}
    beyond = {name for name in shapes if name.partition(".")[0] in ("logits", *case.uncovered)}
    assert found == {name: shape for name, shape in shapes.items() if name not in beyond}

    stages = summarise(network, size)
    ours = {stage.name: stage.shape for stage in stages} | {
        point: shape for stage in stages for point, shape in stage.points.items()
    }
    points = compared_points(case, model, network)
    assert set(network.order) - {network.resolve(point) for point in points.values()} <= {
        "logits",
        *case.uncovered,
    }
    for layer, point in points.items():
        assert tuple(model.get_layer(layer).output.shape[1:]) == ours[network.resolve(point)], layer


def assert_mapping_is_strict(case: KerasCase, size: tuple[int, int], folder: Path) -> None:
    """Remove, add and reshape one tensor of a file: each is refused by name."""
    model = untouched(case, size, top=False)
    for layer in model.layers:
        for variable in layer.weights:
            fixed = case.constants.get(f"{layer.name}.{variable.path.rpartition('/')[2]}")
            if fixed is not None:
                variable.assign(np.reshape(fixed, variable.shape))
    path = save(model, folder / "good.h5")
    kernels = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: kernels.append(name) if name.endswith("kernel") else None)
    middle = kernels[len(kernels) // 2]

    def refused(change: Callable[[h5py.File], None], match: str) -> None:
        changed = folder / "changed.h5"
        changed.write_bytes(path.read_bytes())
        with h5py.File(changed, "r+") as file:
            change(file)
        with pytest.raises(WeightsError, match=match):
            load(case.name, weights=changed)

    refused(lambda file: _drop(file, middle), r"does not fit this network: 1 missing \(")
    refused(lambda file: _add(file, middle), r"1 unknown \(.*surplus")
    refused(lambda file: _reshape(file, middle), r"1 wrong shape \(.* is \(.*\), expected \(")


def _owner(file: h5py.File, name: str) -> h5py.Group:
    return file[name.partition("/")[0]]


def _drop(file: h5py.File, name: str) -> None:
    group = _owner(file, name)
    inner = name.partition("/")[2]
    group.attrs["weight_names"] = [n for n in group.attrs["weight_names"] if _text(n) != inner]
    del file[name]


def _add(file: h5py.File, name: str) -> None:
    group = _owner(file, name)
    surplus = name.partition("/")[2].rpartition("/")[0] + "/surplus"
    group.attrs["weight_names"] = [*map(_text, group.attrs["weight_names"]), surplus]
    group.create_dataset(surplus, data=np.zeros(3, np.float32))


def _reshape(file: h5py.File, name: str) -> None:
    value = file[name][...]
    del file[name]
    file.create_dataset(name, data=np.concatenate([value, value]))


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
