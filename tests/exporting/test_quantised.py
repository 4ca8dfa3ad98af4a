"""Half precision and eight bits: what is rounded, what stays, and how far the result may be off."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from featcache.errors import ExportError, MissingExtraError
from featcache.exporting import float16, quantised
from featcache.exporting.float16 import fits_halves, to_float16
from featcache.exporting.network_part import network_part
from featcache.exporting.quantised import to_int8
from featcache.graphs.convert import onnx_model
from featcache.graphs.sessions import open_session

SIZE, CHANNELS, CLASSES = 12, 8, 3
LAYOUT = ("NHWC", "HWIO", "NHWC")
METADATA = {"classes": '["a", "b", "c"]', "task": "multiclass"}


def photos(count: int, seed: int = 0) -> np.ndarray:
    """Pictures uint8 ``[N, SIZE, SIZE, 3]`` of one colour each, with some noise."""
    draw = np.random.default_rng(seed)
    colours = draw.integers(0, 256, (count, 1, 1, 3))
    noise = draw.integers(-40, 40, (count, SIZE, SIZE, 3))
    return np.clip(colours + noise, 0, 255).astype(np.uint8)


def convolved(x, kernel, groups: int = 1):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT, feature_group_count=groups
    )


def weights(seed: int = 1) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return (draw.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    return {
        "stem": drawn(3, 3, 3, CHANNELS),
        "depthwise": 3 * drawn(3, 3, 1, CHANNELS),
        "point": drawn(1, 1, CHANNELS, 64),
        "head": drawn(64, CLASSES) * 30,
        "sample": drawn(40, 64),
    }


def classifier(given: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """A small network with a residual sum, a head and distances, as they are exported."""
    w = weights() if given is None else given

    def function(images):
        x = images.astype(jnp.float32) / 127.5 - 1
        x = jnp.clip(convolved(x, w["stem"]), 0, 6)
        x = x + jnp.clip(convolved(x, w["depthwise"], CHANNELS), 0, 6)
        x = jnp.maximum(convolved(x, w["point"]), 0)
        features = x.mean(axis=(1, 2))
        logits = features @ w["head"]
        distance = 1 - jnp.max(features @ w["sample"].T, axis=-1)
        return {
            "probabilities": jax.nn.softmax(logits),
            "logits": logits,
            "features": features,
            "distance": distance,
        }

    return made(function)


def made(function) -> onnx.ModelProto:
    images = {"images": ((SIZE, SIZE, 3), np.uint8)}
    return onnx_model(function, images, metadata=METADATA, doc="a small network")


def outputs(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(model)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def in_halves(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs by onnx's own evaluator in numpy: halves are halves there; onnxruntime computes them as float32."""
    names = [each.name for each in model.graph.output]
    with np.errstate(over="ignore", invalid="ignore"):
        return dict(zip(names, ReferenceEvaluator(model).run(names, {"images": images}), strict=True))


def kernels(model: onnx.ModelProto) -> dict[tuple[int, ...], onnx.TensorProto]:
    """The constants of a model with more than one axis, by their shape."""
    return {tuple(each.dims): each for each in model.graph.initializer if len(each.dims) > 1}


def unchanged(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """What quantisation must not touch: what goes in and out, and what the model says of itself."""
    onnx.checker.check_model(after, full_check=True)
    assert [each.name for each in after.graph.output] == [each.name for each in before.graph.output]
    for there, here in zip(
        [*before.graph.input, *before.graph.output], [*after.graph.input, *after.graph.output], strict=True
    ):
        assert here.type == there.type
    assert {each.key: each.value for each in after.metadata_props} == METADATA
    assert (after.doc_string, after.ir_version) == ("a small network", before.ir_version)
    assert [(each.domain, each.version) for each in after.opset_import] == [("", 17)]


# Half precision -------------------------------------------------------------------------------------------------


def test_weights_are_halves_and_outputs_as_before():
    model = classifier()
    whole = model.SerializeToString()
    half = to_float16(model)
    assert model.SerializeToString() == whole
    unchanged(model, half)
    kept = kernels(half)
    assert kept[CHANNELS, 3, 3, 3].data_type == TensorProto.FLOAT16
    assert kept[64, CHANNELS, 1, 1].data_type == TensorProto.FLOAT16
    images = photos(4)
    ours, theirs = outputs(model, images), in_halves(half, images)
    for name, values in ours.items():
        # A half has 11 bits: each of the numbers along a path of four layers is rounded by 2^-11 of itself at most.
        assert np.abs(theirs[name] - values).max() < 8 * 2**-11 * np.abs(values).max(), name


def test_only_the_network_computes_in_halves():
    half = to_float16(classifier())
    casts = {each.output[0]: each for each in half.graph.node if each.op_type == "Cast"}
    kinds = {
        each.name: each.type.tensor_type.elem_type
        for each in onnx.shape_inference.infer_shapes(half).graph.value_info
    }
    by_kind: dict[str, set[int]] = {}
    for node in half.graph.node:
        if node.op_type != "Cast":
            by_kind.setdefault(node.op_type, set()).update(
                kinds[name] for name in node.input if name in kinds and kinds[name] != TensorProto.INT64
            )
    assert by_kind["Conv"] == {TensorProto.FLOAT16}
    for op in ("Softmax", "MatMul", "GlobalAveragePool", "Sub"):
        assert by_kind[op] == {TensorProto.FLOAT}, op
    # One way into halves before the first layer, and one out of them before the mean.
    to_half = [each for each in casts.values() if each.attribute[0].i == TensorProto.FLOAT16]
    assert len(to_half) == 1
    # Probabilities have more digits than halves: rounded to them, their sum would be off by 1e-4.
    found = outputs(half, photos(50))["probabilities"]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert (found != found.astype(np.float16)).any()


def normalised_by_hand(images):
    """A normalisation over channels that are hundreds, as some networks' are: squares are beyond 65,504."""
    x = images.astype(jnp.float32) * 10 - 1000
    x = convolved(x, weights()["stem"])
    x = x - x.mean(axis=(1, 2), keepdims=True)
    spread = jnp.sqrt((x * x).sum(axis=(1, 2), keepdims=True) + 1e-6)
    x = convolved(x / spread, 10 * weights()["point"])
    return {"features": x.reshape(x.shape[0], -1)}


def test_sums_and_squares_beyond_a_half_are_computed_in_single(monkeypatch):
    model, images = made(normalised_by_hand), photos(3)
    expected = outputs(model, images)["features"]
    found = in_halves(to_float16(model, images), images)["features"]
    assert np.abs(found - expected).max() < 8 * 2**-11 * np.abs(expected).max()
    # With these left in halves, too, there is nothing of it left.
    everything = {node.name for node in network_part(model) if node.op_type != "Identity"}
    monkeypatch.setattr(float16, "_halves", lambda model: everything)
    broken = in_halves(to_float16(model), images)["features"]
    assert not np.abs(broken - expected).max() < 0.5 * np.abs(expected).max()


def test_values_beyond_a_half_are_refused():
    def function(images):
        x = convolved(images.astype(jnp.float32), weights()["stem"])
        x = convolved(jnp.maximum(x, 0) * 100, weights()["point"])
        return {"features": x.mean(axis=(1, 2))}

    model, dark, bright = made(function), np.zeros((2, SIZE, SIZE, 3), np.uint8), photos(4)
    to_float16(model, list(dark))
    with pytest.raises(
        ExportError, match=r"would overflow: .* reach [2-9]\.\d+e\+04, .*65,504; export it without --float16$"
    ):
        to_float16(model, [*dark, *bright])


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_weights_that_halves_do_not_hold_stay_single(factor):
    # The network is the same, since ReLU passes factors through: what one kernel is multiplied by, the next is divided.
    def function(images):
        w = weights()
        x = images.astype(jnp.float32) / 127.5 - 1
        x = jnp.maximum(convolved(x, w["stem"] * factor), 0)
        x = convolved(x, w["point"] / factor)
        return {"features": x.mean(axis=(1, 2))}

    model, images = made(function), photos(8)
    half = to_float16(model)
    assert {each.data_type for each in kernels(half).values()} == {TensorProto.FLOAT}
    expected = outputs(model, images)["features"]
    np.testing.assert_allclose(outputs(half, images)["features"], expected, rtol=1e-5, atol=1e-6)


def test_what_halves_hold():
    assert fits_halves(np.array([0.0, 1.0, -65504.0], np.float32))
    assert fits_halves(np.array([-np.inf, 0.0], np.float32))  # a half has infinities, too
    assert fits_halves(np.array([3, 10**6], np.int64))  # not a number of arithmetic
    assert not fits_halves(np.array([65505.0], np.float32))
    assert not fits_halves(np.full(9, 1e-5, np.float32))


def test_large_constants_of_single_nodes_are_stored_as_halves():
    model = classifier()
    half = to_float16(model)
    kept = kernels(half)
    sample, head = kept[64, 40], kept[64, CLASSES]
    assert (sample.data_type, head.data_type) == (TensorProto.FLOAT16, TensorProto.FLOAT)
    exact = numpy_helper.to_array(kernels(model)[64, 40])
    np.testing.assert_array_equal(numpy_helper.to_array(sample), exact.astype(np.float16))


def test_own_classes_keep_their_last_layer_single():
    def function(images):
        w = weights()
        x = jnp.maximum(convolved(images.astype(jnp.float32) / 255, w["stem"]), 0)
        x = jnp.maximum(convolved(x, w["point"]), 0)
        logits = x.mean(axis=(1, 2)) @ w["head"]
        return {"probabilities": jax.nn.softmax(logits), "logits": logits}

    model = made(function)
    assert [node.op_type for node in network_part(model)][:1] == ["Conv"]
    assert "MatMul" not in [node.op_type for node in network_part(model)]
    kept = kernels(to_float16(model))
    assert kept[64, CHANNELS, 1, 1].data_type == TensorProto.FLOAT16
    assert kept[64, CLASSES].data_type == TensorProto.FLOAT


# Eight bits -----------------------------------------------------------------------------------------------------


def test_network_in_eight_bits_says_the_same(capsys, caplog):
    model = classifier()
    whole = model.SerializeToString()
    small = to_int8(model, list(photos(40, seed=3)))
    assert model.SerializeToString() == whole
    unchanged(model, small)
    captured = capsys.readouterr()
    assert (captured.out, captured.err, caplog.text) == ("", "", "")
    images = photos(100, seed=4)
    ours, theirs = outputs(model, images), outputs(small, images)
    spread = np.abs(ours["features"] - ours["features"].mean(axis=0)).max()
    # 256 steps over each value's range: three layers, each with errors of a step or two, on what varies.
    assert np.abs(theirs["features"] - ours["features"]).max() < 0.1 * spread
    same = ours["probabilities"].argmax(axis=1) == theirs["probabilities"].argmax(axis=1)
    assert same.mean() >= 0.95
    assert np.abs(theirs["features"] - ours["features"]).max() > 0


def test_weights_have_a_scale_a_channel_and_the_head_none():
    small = to_int8(classifier(), photos(20))
    kept = kernels(small)
    for shape in ((CHANNELS, 3, 3, 3), (CHANNELS, 1, 3, 3), (64, CHANNELS, 1, 1)):
        assert kept[shape].data_type == TensorProto.INT8, shape
    assert kept[64, CLASSES].data_type == TensorProto.FLOAT
    assert kept[64, 40].data_type == TensorProto.FLOAT
    known = {each.name: each for each in small.graph.initializer}
    zeros = set()
    for node in small.graph.node:
        if node.op_type == "QuantizeLinear":
            zeros.add(known[node.input[2]].data_type)
        if node.op_type == "DequantizeLinear" and node.input[0] == kept[64, CHANNELS, 1, 1].name:
            # Symmetric, from the largest weight of the channel, which is 127.
            largest = np.abs(weights()["point"][0, 0]).max(axis=0)
            np.testing.assert_allclose(numpy_helper.to_array(known[node.input[1]]), largest / 127, rtol=1e-5)
    assert zeros == {TensorProto.UINT8}


def test_error_is_what_rounding_explains(monkeypatch):
    monkeypatch.setattr(quantised, "PERCENTILE", 100.0)  # nothing is cut
    kernel = weights()["stem"]

    def function(images):
        x = convolved(images.astype(jnp.float32) - 128, kernel)
        return {"features": x.reshape(x.shape[0], -1)}

    images = photos(20)
    model = made(function)
    ours = outputs(model, images)["features"].reshape(20, -1, CHANNELS).astype(np.float64)
    theirs = outputs(to_int8(model, images), images)["features"].reshape(20, -1, CHANNELS)
    # y = Σ_k w_k x_k over the 27 numbers under the kernel. With steps s_w = max|w| / 127 and s_x = range / 255, each
    # rounded by half a step, |Δy| ≤ Σ|x| s_w/2 + Σ|w| s_x/2 + 27 s_w s_x/4, and half a step of y's own range more.
    x = images.astype(np.float64) - 128
    wide = np.pad(np.abs(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    under = sum(wide[:, i : i + SIZE, j : j + SIZE].sum(axis=-1) for i in range(3) for j in range(3))
    step_w = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    step_x = (max(x.max(), 0) - min(x.min(), 0)) / 255
    step_y = (max(ours.max(), 0) - min(ours.min(), 0)) / 255
    bound = (
        under.reshape(20, -1, 1) * step_w / 2
        + np.abs(kernel).sum(axis=(0, 1, 2)) * step_x / 2
        + 27 * step_w * step_x / 4
        + step_y / 2
    )
    # Ranges are read from histograms of 2,048 bins, so a step may be that much smaller than it should be, and the
    # outermost values are cut by as much: a bin's width of x and of y.
    slack = np.abs(kernel).sum(axis=(0, 1, 2)) * step_x * 255 / 1024 + step_y * 255 / 1024
    assert (np.abs(theirs - ours) <= bound + slack).all()


def test_photos_are_read_one_at_a_time_and_no_more_than_needed(monkeypatch):
    from onnxruntime.quantization.calibrate import HistogramCollector

    monkeypatch.setattr(quantised, "MOST_PHOTOS", 18)
    held = []
    collect = HistogramCollector.collect

    def recorded(self, values):
        held.append({len(each) for each in values.values()})
        return collect(self, values)

    monkeypatch.setattr(HistogramCollector, "collect", recorded)
    left = iter(photos(30))
    to_int8(classifier(), left)
    assert len(list(left)) == 12
    assert held == [{1}] * 18


def test_too_few_photos_are_refused():
    with pytest.raises(
        ExportError, match=r"^eight bits need at least 16 photos .* there are 5; give some hundred"
    ):
        to_int8(classifier(), photos(5))


def test_model_without_layers_is_refused():
    model = made(lambda images: {"features": images.astype(jnp.float32).mean(axis=(1, 2))})
    with pytest.raises(ExportError, match=r"has no layer with weights.*export it without --int8$"):
        to_int8(model, photos(20))


def test_what_onnxruntime_raises_is_said_in_a_sentence(monkeypatch):
    import onnxruntime.quantization as tool

    def broken(*given, **options):
        raise RuntimeError("out of luck\nat line 7")

    monkeypatch.setattr(tool, "quantize_static", broken)
    with pytest.raises(
        ExportError, match=r"^onnxruntime cannot make eight bits .*RuntimeError: out of luck\); export"
    ):
        to_int8(classifier(), photos(20))


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_missing_package_names_the_extra(monkeypatch, missing):
    model = classifier()
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'featcache\[onnx\]'"):
        to_int8(model, photos(20))
