"""Keras files give every layer's own weights under its name, whichever Keras wrote them, and in which layout."""

import tracemalloc
import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest
from helpers.keras_oracle import initialised
from helpers.keras_writer import (
    DENSE,
    NEW_DENSE,
    archive,
    legacy_file,
    new_file,
    values,
    write_legacy,
    write_new,
)
from helpers.support import keras

from featcache.backbones.weights.readers import read_tensors
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
@pytest.mark.parametrize("name", ["MobileNetV2", "ConvNeXtTiny", "Xception"])
def test_both_layouts_name_the_weights_of_keras_applications_alike(tmp_path, name):
    with initialised(np.random.default_rng(0).standard_normal):
        network = getattr(keras().applications, name)(
            weights=None, include_top=False, input_shape=(96, 96, 3)
        )
    from keras.src.legacy.saving import legacy_h5_format

    network.save_weights(tmp_path / "new.weights.h5")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    new, old = read_tensors(tmp_path / "new.weights.h5"), read_tensors(tmp_path / "old.h5")
    assert_same(
        {key.replace(".depthwise_kernel", ".kernel"): array for key, array in new.items()},
        {key.replace(".depthwise_kernel", ".kernel"): array for key, array in old.items()},
    )
    assert sum(array.size for array in new.values()) == network.count_params()
    named = weights_of(network)
    assert_same({key: new[key] for key in named}, named)


# Files of earlier versions, by hand


def test_names_of_2016(tmp_path):
    """VGG16's and ResNet50's published files are of this kind; Xception's kernels would be named so."""
    layers = {
        "input_1": {},
        "block1_conv1": {"block1_conv1_W_1:0": values(3, 3, 3, 4), "block1_conv1_b_1:0": values(4)},
        "bn2a_branch2a": {
            "bn2a_branch2a_gamma_1:0": values(4),
            "bn2a_branch2a_beta_1:0": values(4) + 1,
            "bn2a_branch2a_running_mean_1:0": values(4) + 2,
            "bn2a_branch2a_running_std_1:0": values(4) + 3,
        },
        "sepconv": {"sepconv_depthwise_kernel": values(3, 3, 4, 1), "sepconv_pointwise_kernel": values(4, 5)},
        "fc": {"fc_W:0": values(4, 2), "fc_b:0": values(2)},
    }
    expected = {
        "block1_conv1.kernel": values(3, 3, 3, 4),
        "block1_conv1.bias": values(4),
        "bn2a_branch2a.gamma": values(4),
        "bn2a_branch2a.beta": values(4) + 1,
        "bn2a_branch2a.moving_mean": values(4) + 2,
        "bn2a_branch2a.moving_variance": values(4) + 3,
        "sepconv.depthwise_kernel": values(3, 3, 4, 1),
        "sepconv.pointwise_kernel": values(4, 5),
        "fc.kernel": values(4, 2),
        "fc.bias": values(2),
    }
    assert_same(read_tensors(legacy_file(tmp_path / "w.h5", layers)), expected)


def test_names_of_tensorflow(tmp_path):
    layers = {
        "conv1/conv": {"conv1/conv/kernel:0": values(3, 3, 3, 4)},
        "conv_dw_1": {"conv_dw_1/depthwise_kernel:0": values(3, 3, 4, 1)},
        # The second network of a session had its scopes counted.
        "bn": {"bn_3/gamma:0": values(4), "bn_3/moving_variance:0": values(4)},
        # A Sequential inside of ConvNeXt, whose layers go by their own names.
        "stem": {"stem_conv/kernel:0": values(4, 4, 3, 8), "stem/stem_norm/gamma:0": values(8)},
        "block_layer_scale": {"block_layer_scale/Variable:0": values(8)},
        "other": {"other/Variable:0": values(8), "other/sub/Variable:0": values(9)},
        "fc": {"fc/kernel": values(4, 2)},
    }
    expected = {
        "conv1_conv.kernel": values(3, 3, 3, 4),
        "conv_dw_1.depthwise_kernel": values(3, 3, 4, 1),
        "bn.gamma": values(4),
        "bn.moving_variance": values(4),
        "stem_conv.kernel": values(4, 4, 3, 8),
        "stem_norm.gamma": values(8),
        "block_layer_scale.gamma": values(8),
        "other.Variable": values(8),
        "sub.Variable": values(9),
        "fc.kernel": values(4, 2),
    }
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write_legacy(file.create_group("model_weights"), layers)
        file.attrs["model_config"] = "{not JSON"
    assert_same(read_tensors(tmp_path / "w.h5"), expected)


def test_long_lists_of_names_are_cut_into_pieces(tmp_path):
    """Attributes are limited to 64 kB in HDF5, so Keras numbers the pieces of longer ones."""
    layers = {f"layer_{number}": {"kernel:0": values(number + 1)} for number in range(5)}
    path = legacy_file(tmp_path / "w.h5", layers)
    with h5py.File(path, "r+") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:3], names[3:]
    expected = {f"{layer}.kernel": weights["kernel:0"] for layer, weights in layers.items()}
    assert_same(read_tensors(path), expected)


def test_weights_of_the_model_itself_are_read(tmp_path):
    path = legacy_file(tmp_path / "w.h5", DENSE)
    with h5py.File(path, "r+") as file:
        group = file.create_group("top_level_model_weights")
        group.attrs["weight_names"] = [b"token:0"]
        group["token:0"] = values(7)
    assert read_tensors(path)["top_level_model_weights.token"].tolist() == values(7).tolist()


def test_all_types_and_shapes(tmp_path):
    types = ["float16", "float32", "float64", "int8", "int16", "int32", "int64"]
    types += ["uint8", "uint16", "uint32", "uint64"]
    arrays = {name: values(2, 3, dtype=name) for name in types}
    arrays |= {"scalar": np.array(3, np.float32), "empty": np.zeros((0, 4), np.float32)}
    path = legacy_file(tmp_path / "w.h5", {"layer": arrays})
    assert_same(read_tensors(path), {f"layer.{name}": array for name, array in arrays.items()})


def test_positions_of_other_classes_and_counts_are_kept(tmp_path):
    layers = {
        "my_layer/mine": {str(position): values(position + 1) for position in range(11)},
        "layer_normalization/ambiguous": {"0": values(4)},
        "dense_3/quantized": {str(position): values(2) for position in range(3)},
        "my_layer_1/by_key": {"table": values(5)},
        "batch_normalization_12/statistics": {"0": values(4), "1": values(4)},
    }
    tensors = read_tensors(new_file(tmp_path / "w.h5", layers))
    assert [tensors[f"mine.{position}"].size for position in range(11)] == list(range(1, 12))
    assert {"ambiguous.0", "quantized.2", "by_key.table"} < set(tensors)
    assert {"statistics.moving_mean", "statistics.moving_variance"} < set(tensors)


def test_state_of_optimizers_and_random_generators_is_left_out(tmp_path):
    path = new_file(tmp_path / "w.h5", NEW_DENSE)
    with h5py.File(path, "r+") as file:
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
        for group in ("optimizer", "optimizer_weights"):
            file[f"{group}/vars/0"] = h5py.SoftLink("/nowhere")
    assert sorted(read_tensors(path)) == ["fc.bias", "fc.kernel"]


# What cannot be named


def test_files_without_layer_names_say_how_to_save_them_again(tmp_path):
    path = new_file(tmp_path / "w.h5", NEW_DENSE)
    with h5py.File(path, "r+") as file:
        del file["layers/dense/vars"].attrs["name"]
    with pytest.raises(
        WeightsError,
        match=r"w\.h5: layer '/layers/dense' has no name.*model\.save_weights\(\"x\.weights\.h5\"\)",
    ):
        read_tensors(path)


def test_two_weights_of_one_name_are_refused(tmp_path):
    layers = {f"functional_{number}/layers/dense/fc": {"0": values(3)} for number in range(2)}
    with pytest.raises(WeightsError, match=r"two tensors are named 'fc\.kernel'.*rename one of the layers"):
        read_tensors(new_file(tmp_path / "w.h5", layers))
    layers = {"a/b": {"kernel:0": values(3)}, "a_b": {"kernel:0": values(3)}}
    with pytest.raises(
        WeightsError, match=r"two tensors are named 'a_b\.kernel', the second is '/a_b/kernel:0'"
    ):
        read_tensors(legacy_file(tmp_path / "w.h5", layers))


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (
            lambda file: file.create_dataset("features", data=values(3)),
            "an HDF5 file that holds no Keras weights",
        ),
        (lambda file: write_new(file, {}), r"it holds no weights.*save_weights"),
        (lambda file: write_legacy(file, {}), "it holds no weights"),
        (lambda file: file.create_dataset("layers/x", data=1.0), r"dataset '/layers/x' is in no layer"),
        (lambda file: file.create_group("model_weights"), "it holds no weights"),
    ],
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
