"""A file's tensors become ours only if every name and shape is matched both ways."""

import re

import numpy as np
import pytest
from flax import nnx
from helpers.torch_writer import checkpoint, legacy

from featcache.backbones import load
from featcache.backbones.families.mobilenet_v2 import FAMILY, Config
from featcache.backbones.registry import resolve
from featcache.backbones.weights.download import locate
from featcache.backbones.weights.key_mapping import KeyTable, convert, torch_leaf
from featcache.errors import WeightsError

TABLE = KeyTable(
    modules=(
        (r"conv(\d)", "block_{0}.conv"),
        (r"norm(\d)", lambda n: f"block_{int(n)}.norm"),
        ("fc", "logits"),
    ),
    leaf=torch_leaf,
    ignore=(r".*\.num_batches_tracked", "optimizer"),
)
SHAPES = {
    "block_1.conv.kernel": (3, 1, 2, 4),
    "block_1.norm.scale": (4,),
    "block_1.norm.bias": (4,),
    "block_1.norm.mean": (4,),
    "block_1.norm.var": (4,),
    "logits.kernel": (4, 5),
    "logits.bias": (5,),
}


def theirs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {
        "conv1.weight": (4, 2, 3, 1),
        "norm1.weight": (4,),
        "norm1.bias": (4,),
        "norm1.running_mean": (4,),
        "norm1.running_var": (4,),
        "fc.weight": (5, 4),
        "fc.bias": (5,),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def converted(tensors):
    return convert(tensors, TABLE, SHAPES, origin="file.pth")


def test_layouts_of_torch():
    given = theirs()
    ours = converted(given)
    assert list(ours) == list(SHAPES)
    # Element by element, by PyTorch's documentation: weight[out, in, row, column] and weight[out, in].
    for out, fan_in, row in np.ndindex(4, 2, 3):
        assert ours["block_1.conv.kernel"][row, 0, fan_in, out] == given["conv1.weight"][out, fan_in, row, 0]
    for out, fan_in in np.ndindex(5, 4):
        assert ours["logits.kernel"][fan_in, out] == given["fc.weight"][out, fan_in]
    for leaf, name in (
        ("scale", "weight"),
        ("bias", "bias"),
        ("mean", "running_mean"),
        ("var", "running_var"),
    ):
        np.testing.assert_array_equal(ours[f"block_1.norm.{leaf}"], given[f"norm1.{name}"])


def test_other_dtypes_become_contiguous_float32():
    given = {name: tensor.astype(np.float16) for name, tensor in theirs().items()}
    for name, tensor in converted(given).items():
        assert tensor.dtype == np.float32, name
        assert tensor.flags.c_contiguous, name
    np.testing.assert_array_equal(converted(given)["logits.bias"], given["fc.bias"].astype(np.float32))


def test_counters_are_ignored():
    given = theirs()
    expected = converted(given)
    actual = converted({**given, "norm1.num_batches_tracked": np.array(7), "optimizer": np.ones(3)})
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name])


def test_everything_wrong_is_listed_at_once():
    given = theirs()
    del given["norm1.bias"], given["fc.bias"]
    given |= {"extra.weight": np.ones(1), "conv7.weight": np.ones((1, 1, 1, 1)), "fc.weight": np.ones((6, 4))}
    with pytest.raises(WeightsError) as caught:
        converted(given)
    text = str(caught.value)
    assert text.startswith("file.pth does not fit this network: ")
    assert "2 missing (block_1.norm.bias, logits.bias)" in text
    assert "2 unknown (extra.weight, conv7.weight)" in text
    assert "1 wrong shape (logits.kernel is (4, 6), expected (4, 5))" in text
    assert text.endswith("name the backbone they belong to.")


def test_two_tensors_for_one_of_ours_are_refused():
    with pytest.raises(WeightsError, match=r"1 given twice \(norm1\.mean\)"):
        converted({**theirs(), "norm1.mean": np.ones(4, np.float32)})


def test_transposed_kernel_is_a_wrong_shape():
    given = theirs()
    given["conv1.weight"] = given["conv1.weight"].transpose(2, 3, 1, 0)
    with pytest.raises(
        WeightsError, match=r"1 wrong shape \(block_1\.conv\.kernel is .*expected \(3, 1, 2, 4\)"
    ):
        converted(given)


def test_long_lists_are_cut():
    given = {**theirs(), **{f"extra{n}.weight": np.ones(1) for n in range(7)}}
    with pytest.raises(WeightsError, match=r"7 unknown \(extra0\.weight, .*extra4\.weight, …\)\. Give"):
        converted(given)


def test_module_that_the_table_cannot_name_is_unknown():
    table = KeyTable(modules=((r"blocks\.(\d+)", lambda n: ["a", "b"][int(n)]),), leaf=torch_leaf)
    tensors = {"blocks.1.bias": np.ones(1), "blocks.2.bias": np.ones(1)}
    with pytest.raises(WeightsError, match=r"1 unknown \(blocks\.2\.bias\)"):
        convert(tensors, table, {"b.bias": (1,)}, origin="file.pth")


@pytest.mark.one_by_default
@pytest.mark.parametrize(("name", "other"), [("lite0", "lite2"), ("lite2", "lite1"), ("lite1", "lite0")])
def test_weights_of_a_sister_network_are_refused(name, other):
    path = locate(resolve(f"efficientnet_{other}"))
    right = rf"efficientnet_{other}\.tf_in1k"
    text = (
        rf"has the shapes of {right}, not of efficientnet_{name}\.tf_in1k; name it as the backbone: {right}"
    )
    with pytest.raises(WeightsError, match=text) as raised:
        load(f"efficientnet_{name}", weights=path)
    expected = r"does not fit this network: \d+ (missing|unknown|wrong shape) \("
    assert re.search(expected, str(raised.value.__cause__))


def torchvision_names() -> dict[str, tuple[int, ...]]:
    """Every tensor of torchvision's mobilenet_v2 by its own loops, written after models/mobilenetv2.py."""
    names: dict[str, tuple[int, ...]] = {}

    def conv_norm(conv: str, norm: str, out: int, fan_in: int, kernel: int) -> None:
        names[f"{conv}.weight"] = (out, fan_in, kernel, kernel)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            names[f"{norm}.{leaf}"] = (out,)
        names[f"{norm}.num_batches_tracked"] = ()

    conv_norm("features.0.0", "features.0.1", 32, 3, 3)
    settings = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    width, index = 32, 1
    for t, c, n in settings:
        for _ in range(n):
            path, layer, hidden = f"features.{index}.conv", 0, width * t
            if t != 1:
                conv_norm(f"{path}.0.0", f"{path}.0.1", hidden, width, 1)
                layer = 1
            conv_norm(f"{path}.{layer}.0", f"{path}.{layer}.1", hidden, 1, 3)
            conv_norm(f"{path}.{layer + 1}", f"{path}.{layer + 2}", c, hidden, 1)
            width, index = c, index + 1
    conv_norm(f"features.{index}.0", f"features.{index}.1", 1280, width, 1)
    names |= {"classifier.1.weight": (1000, 1280), "classifier.1.bias": (1000,)}
    return names


def numbered(names: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """No two tensors alike, none as a new network has it."""
    return {name: np.full(shape, 2 + n, np.float32) for n, (name, shape) in enumerate(names.items())}


def test_torchvision_layout_of_mobilenet_leaves_nothing_random(tmp_path):
    given = numbered(torchvision_names())
    path = tmp_path / "mine.pth"
    path.write_bytes(legacy(checkpoint(given)))
    loaded = load("mobilenet_v2", weights=path)
    assert loaded.name == "mobilenet_v2.custom"
    state = {
        ".".join(map(str, path[1:])): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(loaded.state)
    }
    assert state.keys() == loaded.tensors.keys()
    # Every tensor of ours holds the number of one of theirs, each once: none is left as it was created.
    found = sorted(float(tensor.flat[0]) for tensor in state.values())
    expected = [float(t.flat[0]) for name, t in given.items() if not name.endswith("num_batches_tracked")]
    assert found == sorted(expected)
    for name, tensor in state.items():
        assert (tensor == tensor.flat[0]).all(), name
        np.testing.assert_array_equal(tensor, loaded.tensors[name])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("features.0.0.weight", "Conv1_relu.conv.kernel"),
        ("features.1.conv.0.1.running_var", "expanded_conv.depthwise.norm.var"),
        ("features.1.conv.1.weight", "expanded_conv.project.conv.kernel"),
        ("features.1.conv.2.bias", "expanded_conv.project.norm.bias"),
        ("features.2.conv.0.0.weight", "block_1.expand.conv.kernel"),
        ("features.11.conv.1.1.running_mean", "block_10.depthwise.norm.mean"),
        ("features.17.conv.3.weight", "block_16.project.norm.scale"),
        ("features.18.1.weight", "out_relu.norm.scale"),
        ("classifier.1.bias", "logits.bias"),
    ],
)
def test_torchvision_names(theirs, ours):
    table = FAMILY.key_tables["torchvision"](Config())
    tensor = np.zeros(torchvision_names()[theirs])
    translated = table.translate(theirs, tensor)
    assert translated is not None
    assert translated[0] == ours


def test_torchvision_table_ignores_counters_only():
    table = FAMILY.key_tables["torchvision"](Config())
    ignored = {name for name in torchvision_names() if table.ignores(name)}
    assert ignored == {name for name in torchvision_names() if re.search("num_batches_tracked$", name)}
    assert len(ignored) == 52
