"""The page of an exported model: a stand-in model and its description, the scripts under node, a static server."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.images.transforms import Transforms

SIDE, CELLS = 32, 4
CLASSES = ("cat", "dog", "bird", "<b>fish</b>", "horse", "frog")


def transforms(**changed: Any) -> Transforms:
    """Preprocessing of the stand-in's input."""
    half = (0.5, 0.5, 0.5)
    return Transforms(
        **{
            "input_size": (SIDE, SIDE),
            "crop_pct": 0.875,
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": half,
            "std": half,
            **changed,
        }
    )


def described(
    given: Transforms,
    *,
    task: str = "multiclass",
    classes: Sequence[str] = CLASSES,
    below: float | None = None,
    beyond: float | None = None,
) -> dict[str, Any]:
    """What stands beside an exported model in ``preprocessing.json``."""
    height, width = given.input_size
    first = "values" if task == "regression" else "probabilities"
    return {
        "format": "featcache preprocessing",
        "version": 1,
        "model": "model.onnx",
        "input": {
            "name": "images",
            "dtype": "uint8",
            "layout": "NHWC",
            "channels": "RGB",
            "height": height,
            "width": width,
        },
        "transforms": given.to_json(),
        "steps": ["Decode the photo.", "Resize its short side.", "Crop the centre."],
        "task": task,
        "classes": list(classes),
        "outputs": {first: "One number for each class.", "distance": "How far it lies from what was seen."},
        "unknown": {"below_probability": below, "beyond_distance": beyond},
    }


def stand_in(task: str = "multiclass", classes: int = len(CLASSES)) -> bytes:
    """A model of uint8 ``[N, 32, 32, 3]``: means of 8×8 cells, a product, softmax; and a distance, their spread."""
    onnx = pytest.importorskip("onnx", reason="onnx, the extra `onnx`, is not installed")
    make, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    kernel = np.random.default_rng(0).normal(0, 2, (CELLS * CELLS * 3, classes))
    # What a photo shows decides, not how bright it is.
    kernel = (kernel - kernel.mean(axis=0)).astype(np.float32)
    first = "values" if task == "regression" else "probabilities"
    last = {"multiclass": "Softmax", "multilabel": "Sigmoid", "regression": "Identity"}[task]
    step = SIDE // CELLS
    nodes = [
        make("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
        make("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        make("AveragePool", ["planes"], ["means"], kernel_shape=[step, step], strides=[step, step]),
        make("Flatten", ["means"], ["row"]),
        make("Div", ["row", "full"], ["features"]),
        make("MatMul", ["features", "kernel"], ["logits"]),
        make(last, ["logits"], [first]),
        make("ReduceMax", ["features"], ["highest"], axes=[1], keepdims=0),
        make("ReduceMin", ["features"], ["lowest"], axes=[1], keepdims=0),
        make("Sub", ["highest", "lowest"], ["distance"]),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "stand-in",
        [value("images", onnx.TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [
            value(first, onnx.TensorProto.FLOAT, ["N", classes]),
            value("distance", onnx.TensorProto.FLOAT, ["N"]),
        ],
        [array(kernel, "kernel"), array(np.float32(255), "full")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def fake_runtime(folder: Path) -> Path:
    """A folder like that of ``npm install onnxruntime-web``, whose files do nothing."""
    dist = folder / "node_modules" / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    (dist / "ort.wasm.bundle.min.mjs").write_bytes(
        b"/*!\n * ONNX Runtime Web v1.2.3\n */\nexport const env = {};\n"
    )
    (dist / "ort-wasm-simd-threaded.wasm").write_bytes(b"\0asm\1\0\0\0")
    return folder


def under_node(folder: Path, script: str, arguments: Any, data: bytes = b"") -> bytes:
    """Run an ECMAScript module that sees the page's scripts beside it; skips where there is no node.

    It finds ``given`` (JSON) and ``data`` (a Buffer), and hands bytes back by ``answer(bytes)``.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt-get install nodejs")
    templates = files("featcache.exporting").joinpath("templates")
    for name in ("pixels.js", "exif.js", "verdict.js"):
        (folder / name).write_text(templates.joinpath(name).read_text("utf-8"), "utf-8")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "given.json").write_text(json.dumps(arguments))
    (folder / "data").write_bytes(data)
    head = (
        'import fs from "node:fs";\n'
        'const given = JSON.parse(fs.readFileSync("given.json")), data = fs.readFileSync("data");\n'
        'const answer = (bytes) => fs.writeFileSync("answer", bytes);\n'
    )
    (folder / "run.js").write_text(head + script, "utf-8")
    subprocess.run([node, "run.js"], cwd=folder, check=True, capture_output=True, timeout=120)
    return (folder / "answer").read_bytes()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as ``python -m http.server`` does; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
