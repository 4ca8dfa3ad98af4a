"""Keras files give every layer's own weights under its name, whichever Keras wrote them, and in which layout."""

import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from keras_writer import DENSE, NEW_DENSE, legacy_file, new_file, values, write_legacy, write_new
from support import keras

from featcache.backbones import hdf5_walk
from featcache.backbones.readers import read_tensors
from featcache.errors import WeightsError

# Our leaf names to the attributes of Keras's layers where the variables are.
NORMS = {name: name for name in ("gamma", "beta", "moving_mean", "moving_variance")}
LEAVES = {
    "BatchNormalization": NORMS,
    "Conv2D": {"kernel": "kernel", "bias": "bias"},
    "Dense": {"kernel": "kernel", "bias": "bias"},
    "DepthwiseConv2D": {"depthwise_kernel": "kernel", "bias": "bias"},
    "LayerNormalization": {"gamma": "gamma", "beta": "beta"},
    "LayerScale": {"gamma": "gamma"},
    "Normalization": {"mean": "adapt_mean", "variance": "adapt_variance", "count": "count"},
    "SeparableConv2D": {
        "depthwise_kernel": "depthwise_kernel",
        "pointwise_kernel": "pointwise_kernel",
        "bias": "bias",
    },
}


def assert_same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].shape == array.shape, name
        assert actual[name].tobytes() == array.tobytes(), name
        assert actual[name].flags.c_contiguous, name
        assert actual[name].flags.aligned, name
        assert actual[name].base is None or actual[name].base.nbytes == array.nbytes, name


# Files of Keras itself


def weights_of(model) -> dict[str, np.ndarray]:
    """What the layers themselves hold, those of nested models too."""
    found = {}
    for layer in model._flatten_layers(include_self=False):
        for leaf, attribute in LEAVES.get(type(layer).__name__, {}).items():
            if (variable := getattr(layer, attribute, None)) is not None:
                found[f"{layer.name}.{leaf}"] = np.asarray(variable)
    return found


@pytest.fixture(scope="module")
def model():
    """A base model inside of a Sequential, with every layer class that the backbones use; never trained."""
    k = keras()
    from keras.src.applications.convnext import LayerScale

    zeros = {"kernel_initializer": "zeros"}
    image = k.Input((8, 8, 3))
    x = k.layers.Normalization(name="normalization_in")(image)
    x = k.layers.Conv2D(4, 3, use_bias=False, name="conv_1", **zeros)(x)
    x = k.layers.BatchNormalization(name="conv_1_bn")(x)
    x = k.layers.DepthwiseConv2D(3, depthwise_initializer="zeros", name="dw")(x)
    x = k.layers.BatchNormalization(scale=False, name="dw_bn")(x)
    x = k.layers.SeparableConv2D(
        5, 3, name="separable", depthwise_initializer="zeros", pointwise_initializer="zeros"
    )(x)
    x = k.layers.LayerNormalization(name="norm")(x)
    x = LayerScale(1e-6, 5, name="block_layer_scale")(x)
    x = k.layers.GlobalAveragePooling2D()(k.layers.Dropout(0.1)(x))
    base = k.Model(image, k.layers.Dense(3, name="embed", **zeros)(x), name="base")
    head = k.Sequential(
        [k.layers.Dense(4, name="hidden", **zeros), k.layers.Dense(2, name="out", **zeros)], name="head"
    )
    whole = k.Sequential([k.Input((8, 8, 3)), base, head, k.layers.Dense(2, name="top", **zeros)])
    rng = np.random.default_rng(0)
    for variable in whole.variables:
        variable.assign(rng.normal(size=variable.shape) * 10)
    whole.compile("adam")
    whole.optimizer.build(whole.trainable_variables)
    return whole


@pytest.mark.filterwarnings("ignore:You are saving your model")
@pytest.mark.parametrize("name", ["w.weights.h5", "w.keras"])
def test_files_of_keras_3_equal_the_model(model, tmp_path, name):
    path = tmp_path / name
    model.save(path) if name.endswith(".keras") else model.save_weights(path)
    expected = weights_of(model)
    assert len(expected) == 3 + 1 + 4 + 2 + 3 + 3 + 2 + 1 + 2 + 2 * 2 + 2
    assert_same(read_tensors(path), expected)


@pytest.mark.parametrize("whole", [False, True], ids=["weights", "model"])
def test_legacy_files_of_keras_3_equal_the_model(model, tmp_path, whole):
    from keras.src.legacy.saving import legacy_h5_format

    path = tmp_path / "w.h5"
    if whole:
        legacy_h5_format.save_model_to_hdf5(model, str(path))
    else:
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
    expected = weights_of(model)
    # Which class a layer is of, and so that this is a depthwise kernel, is not said beside the weights.
    expected["dw.kernel"] = expected.pop("dw.depthwise_kernel")
    assert_same(read_tensors(path), expected)


# Drawing random numbers compiles a generator for each shape.
ONES = {"kernel_initializer": "ones"}


def test_bfloat16_and_float16_of_keras(tmp_path):
    k = keras()
    for dtype in ("bfloat16", "float16"):
        small = k.Sequential([k.Input((3,)), k.layers.Dense(2, name="fc", dtype=dtype, **ONES)])
        small.save_weights(tmp_path / f"{dtype}.weights.h5")
        tensors = read_tensors(tmp_path / f"{dtype}.weights.h5")
        assert tensors["fc.kernel"].dtype == (ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16)
        assert_same(tensors, weights_of(small))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["MobileNetV2", "ConvNeXtTiny", "Xception"],
    ids=["a cache", "no layers", "no layer names", "a dataset elsewhere", "an empty model"],
)
def test_hdf5_files_without_weights_are_named(tmp_path, fill, message):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        fill(file)
    with pytest.raises(WeightsError, match=message):
        read_tensors(tmp_path / "w.h5")


@pytest.mark.parametrize("what", ["layer", "weight", "group"])
def test_listed_names_that_are_absent_are_refused(tmp_path, what):
    path = legacy_file(tmp_path / "w.h5", DENSE)
    with h5py.File(path, "r+") as file:
        match what:
            case "layer":
                file.attrs["layer_names"] = [b"fc", b"gone"]
            case "weight":
                file["fc"].attrs["weight_names"] = [b"fc/kernel:0", b"../fc/fc/bias:0"]
            case "group":
                del file["fc"].attrs["weight_names"]
    names = {"layer": "layer 'gone'", "weight": "weight '/fc/../fc/fc/bias:0'", "group": "layer 'fc'"}
    with pytest.raises(WeightsError, match=f"{names[what]} is listed but absent"):
        read_tensors(path)


# Archives


def archive(path: Path, weights: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", "{not JSON")
        file.writestr("model.weights.h5", weights)
    return path


def test_archives_that_are_not_as_keras_writes_them(tmp_path):
    weights = new_file(tmp_path / "w.h5", NEW_DENSE).read_bytes()
    assert sorted(read_tensors(archive(tmp_path / "a.zip", weights))) == ["fc.bias", "fc.kernel"]

    with pytest.raises(WeightsError, match=r"'model\.weights\.h5' is compressed.*save the model again"):
        read_tensors(archive(tmp_path / "deflated.keras", weights, zipfile.ZIP_DEFLATED))

    data, kernel = (tmp_path / "a.zip").read_bytes(), values(3, 2).tobytes()
    (tmp_path / "damaged.keras").write_bytes(data.replace(kernel, kernel[::-1]))
    with pytest.raises(WeightsError, match="does not match the archive's checksum"):
        read_tensors(tmp_path / "damaged.keras")

    (tmp_path / "moved.keras").write_bytes(
        data.replace(b"PK\x03\x04", b"PK\x03\x05").replace(b"PK\x03\x05", b"PK\x03\x04", 1)
    )
    with pytest.raises(WeightsError, match="not where the archive's directory says"):
        read_tensors(tmp_path / "moved.keras")

    with zipfile.ZipFile(tmp_path / "npz.keras", "w") as file:
        file.writestr("config.json", "{}")
        file.writestr("model.weights.npz", b"")
    with pytest.raises(WeightsError, match=r"0 entries 'model\.weights\.h5', not one.*save it again"):
        read_tensors(tmp_path / "npz.keras")


# What it costs


def test_a_file_is_held_in_memory_once(tmp_path):
    arrays = {"0": np.ones((5, 1000, 1000), np.float32)}
    path = new_file(tmp_path / "w.weights.h5", {"dense/fc": arrays})
    packed = archive(tmp_path / "w.keras", path.read_bytes())
    for file in (path, packed):
        tracemalloc.start()
        try:
            read_tensors(file)
            # 20 MB of weights, and the 5 MB of booleans with which they are found to be finite.
            assert tracemalloc.get_traced_memory()[1] < 28_000_000
        finally:
            tracemalloc.stop()


def test_the_child_process_needs_neither_jax_nor_featcache():
    code = (
        "import runpy, sys; sys.path.extend(sys.argv[2:]); import h5py; runpy.run_path(sys.argv[1], run_name='child');"
        "print(sorted({'jax', 'featcache', 'flax', 'keras'} & set(sys.modules)))"
    )
    folder = str(Path(h5py.__file__).parents[1])
    command = [sys.executable, "-I", "-c", code, hdf5_walk.__file__, folder]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
