"""What a model says of itself, and what its inputs, outputs and names may be."""

import os
import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from helpers.graphs import assert_alike, drawn_inputs, function_names, operators, run_graph

from featcache.graphs.convert import onnx_model
from featcache.graphs.sessions import open_session

ROW = {"x": ((5,), np.float32)}
OLDER = "FEATCACHE_OLDER_ONNXRUNTIME"
"""Names the Python of an environment with an earlier onnxruntime, such as ``/opt/ort120/bin/python``."""


def test_a_model_states_its_form_its_open_batch_and_what_it_was_told():
    model = onnx_model(
        lambda x: {"y": x * 2}, ROW, metadata={"classes": '["Wal", "Bär"]'}, doc="Two animals."
    )
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert (model.ir_version, model.producer_name, model.doc_string) == (9, "featcache", "Two animals.")
    assert {each.key: each.value for each in model.metadata_props} == {"classes": '["Wal", "Bär"]'}
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape.dim
        assert (shape[0].dim_param, shape[1].dim_value) == ("N", 5)


def test_several_inputs_of_several_types_keep_their_names():
    def function(weight: Any, images: Any, age: Any) -> dict[str, Any]:
        return {
            "sum": images.astype(jnp.float32).mean((1, 2)) * weight[:, None]
            + age.astype(jnp.float32)[:, None]
        }

    inputs = {"weight": ((), np.float32), "images": ((4, 4, 3), np.uint8), "age": ((), np.int32)}
    model = assert_alike(function, inputs)
    assert [value.name for value in model.graph.input] == list(inputs)


def test_outputs_keep_their_order_and_may_be_one_value_or_the_input_itself():
    def function(x: Any) -> dict[str, Any]:
        twice = x * 2
        return {
            "z": twice,
            "again": twice,
            "input itself": x,
            "a": twice.sum(1),
            "constant": jnp.ones_like(x),
        }

    model = assert_alike(function, ROW)
    assert function_names(model) == ["z", "again", "input itself", "a", "constant"]


def test_outputs_may_be_called_as_nodes_and_constants_are():
    names = ("mul_1", "add_1", "constant_1", "kernel_1", "matmul_1", "transpose_1")
    matrix = np.ones((5, 5), np.float32)

    def function(x: Any) -> dict[str, Any]:
        values = (x * x, x + 1.5, x - 2.5, x @ matrix, x @ matrix + x, x * 3)
        return dict(zip(names, values, strict=True))

    assert function_names(assert_alike(function, ROW)) == list(names)


def test_a_constant_that_a_simplification_removed_can_be_asked_for_again():
    # √2 and 1/2 of a GELU are removed, and made again by the form that runtimes know.
    def function(x: Any) -> dict[str, Any]:
        return {"y": jax.nn.gelu(x / np.float32(np.sqrt(2.0)), approximate=False) * 0.5}

    model = assert_alike(function, ROW)
    held = {each.name for each in model.graph.initializer}
    made = held | {"x"} | {name for node in model.graph.node for name in node.output}
    assert {name for node in model.graph.node for name in node.input} <= made


def test_calls_inside_a_function_are_followed():
    @jax.jit
    def inner(x: Any) -> Any:
        return jax.checkpoint(lambda y: jnp.tanh(y) * 2)(x)

    model = assert_alike(
        lambda x: {"y": inner(inner(x)), "z": jax.lax.cond(True, jnp.abs, jnp.negative, x)}, ROW
    )
    assert operators(model) == {"Tanh": 2, "Mul": 2, "Abs": 1}


def test_a_session_opens_a_model_its_bytes_and_its_file(tmp_path: Path):
    model = onnx_model(lambda x: {"y": x * 2}, ROW)
    file = tmp_path / "Modell für Bären.onnx"
    onnx.save(model, file)
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    for given in (model, model.SerializeToString(), file, str(file)):
        (found,) = open_session(given, threads=2).run(None, {"x": x})
        np.testing.assert_array_equal(found, x * 2)
    options = open_session(model, threads=2).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)


@pytest.mark.slow
@pytest.mark.skipif(OLDER not in os.environ, reason=f"{OLDER} names no Python with an earlier onnxruntime")
def test_an_earlier_onnxruntime_gives_the_same(tmp_path: Path):
    from helpers.graphs import network_function

    from featcache.backbones.registry import pretrained_weights

    script = (
        "import sys, numpy as np, onnxruntime as o; s = o.InferenceSession(sys.argv[1]);"
        "np.save(sys.argv[3], s.run(None, {'images': np.load(sys.argv[2])})[0])"
    )
    for name in ("mobilenet_v3_small_075.lamb_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"):
        weights = pretrained_weights()[name]
        inputs = {"images": ((*weights.transforms.input_size, 3), np.uint8)}
        model = onnx_model(network_function(weights, ("logits",)), inputs)
        given = drawn_inputs(inputs, 2)
        onnx.save(model, tmp_path / "model.onnx")
        np.save(tmp_path / "images.npy", given["images"])
        paths = [str(tmp_path / each) for each in ("model.onnx", "images.npy", "logits.npy")]
        subprocess.run([os.environ[OLDER], "-c", script, *paths], check=True)
        found, expected = np.load(tmp_path / "logits.npy"), run_graph(model, given)["logits"]
        # Its kernels differ from version to version: roundings, as between JAX and onnxruntime.
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
