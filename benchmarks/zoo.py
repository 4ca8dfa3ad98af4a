"""Every family's speed beside keras on JAX and onnxruntime, in one run, as ratios (network only, random weights).

Each network takes turns with its peers, so that what else the machine does hits all of them. Ours runs as
`featcache.extract` runs it on a CPU (micro-batches on one thread per core); keras is jitted and gets its better
batch size of 1 and 8; onnxruntime gets one thread per core and its better of 1 and 8.

Command: ``python benchmarks/zoo.py [--onnx FOLDER] [--only NAME ...] [--rounds 5] [--json FILE]``; the folder holds
``NAME.onnx`` as ``benchmarks/make_onnx.py`` writes them (needs keras; onnxruntime for ``--onnx``).
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from extract import compare, ratio

os.environ.setdefault("KERAS_BACKEND", "jax")

# Ours to the class of keras.applications, where it has the architecture; the depthwise ones are marked.
ZOO: dict[str, tuple[str | None, bool]] = {
    "alexnet": (None, False),
    "vgg16": ("VGG16", False),
    "vgg19": ("VGG19", False),
    "inception_v3": ("InceptionV3", False),
    "inception_resnet_v2": ("InceptionResNetV2", False),
    "xception": ("Xception", True),
    "mobilenet_v1_100": ("MobileNet", True),
    "mobilenet_v2": ("MobileNetV2", True),
    "mobilenet_v3_large": ("MobileNetV3Large", True),
    "resnet50": ("ResNet50", False),
    "resnet50_v2": ("ResNet50V2", False),
    "densenet121": ("DenseNet121", False),
    "efficientnet_b0": ("EfficientNetB0", True),
    "efficientnet_v2_b0": ("EfficientNetV2B0", True),
    "efficientnet_lite0": (None, True),
    "convnext_tiny": ("ConvNeXtTiny", True),
    "vit_small_patch16_224": (None, False),
    "vit_base_patch16_224": (None, False),
}

Runner = Callable[[int], float]
"""Number of images to images per second."""


def featcache_runner(name: str) -> tuple[Runner, tuple[int, int]]:
    """Our network in the CPU schedule without decoding, and its input size."""
    from featcache.backbones import load
    from featcache.core.parallel import default_workers
    from featcache.extraction.batching import CPU_MICRO_BATCH, micro_batches

    network = load(name, weights="random")
    function = network.function(network.layers(["pool"]))
    height, width = network.transforms.input_size
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)

    def run(count: int) -> float:
        began = time.perf_counter()
        chunks = micro_batches(
            range(count),
            lambda row: image,
            lambda x: function(network.state, x),
            batch_size=CPU_MICRO_BATCH,
            most=CPU_MICRO_BATCH,
            workers=default_workers(),
        )
        done = sum(len(chunk.rows) for chunk in chunks)
        return done / (time.perf_counter() - began)

    run(8)
    return run, (height, width)


def keras_runner(name: str, size: tuple[int, int]) -> Runner:
    """keras.applications on JAX, jitted, with the better of two batch sizes."""
    import jax
    import keras

    def zeros(self: Any, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        return np.zeros(shape, np.float32)

    for initializer in ("GlorotUniform", "VarianceScaling", "TruncatedNormal", "RandomNormal"):
        getattr(keras.initializers, initializer).__call__ = zeros  # drawing takes half a minute
    model = getattr(keras.applications, name)(
        include_top=False, weights=None, pooling="avg", input_shape=(*size, 3)
    )
    draw = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(
            draw.uniform(0.5, 1.5, variable.shape) / np.sqrt(max(1, np.prod(variable.shape[:-1])))
        )
    variables = (
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
    )
    forward = jax.jit(lambda values, x: model.stateless_call(*values, x, training=False)[0])
    return _better(
        lambda batch: _batched(lambda x: forward(variables, x).block_until_ready(), draw, (batch, *size, 3))
    )


def onnx_runner(path: Path, size: tuple[int, int]) -> Runner:
    """A session of onnxruntime with one thread per core, with the better of two batch sizes."""
    import onnxruntime

    from featcache.core.parallel import default_workers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = default_workers()
    session = onnxruntime.InferenceSession(str(path), options)
    draw = np.random.default_rng(0)
    output = session.get_outputs()[0].name
    return _better(lambda batch: _batched(lambda x: session.run([output], {"x": x}), draw, (batch, 3, *size)))


def _batched(call: Callable[[np.ndarray], Any], draw: np.random.Generator, shape: tuple[int, ...]) -> Runner:
    x = draw.random(shape, np.float32)
    call(x)

    def run(count: int) -> float:
        calls = max(1, count // shape[0])
        began = time.perf_counter()
        for _ in range(calls):
            call(x)
        return calls * shape[0] / (time.perf_counter() - began)

    return run


def _better(make: Callable[[int], Runner]) -> Runner:
    """Return the runner with the batch size that is faster in a short trial."""
    runners = [make(batch) for batch in (1, 8)]
    return max(runners, key=lambda run: run(8))


def measure(name: str, onnx: Path | None, rounds: int, seconds: float) -> dict[str, Any]:
    """Return one row of the table."""
    ours, size = featcache_runner(name)
    runners: dict[str, Runner] = {"featcache": ours}
    if keras_name := ZOO[name][0]:
        runners["keras"] = keras_runner(keras_name, size)
    if onnx and (onnx / f"{name}.onnx").is_file():
        runners["onnxruntime"] = onnx_runner(onnx / f"{name}.onnx", size)
    images = max(8, int(seconds * ours(8)) // 8 * 8)
    slow = runners.get("keras")
    if slow is not None:  # keras runs an eighth of them where it is that much slower
        runners["keras"] = lambda count: slow(max(8, count // 8))
    speeds = compare(runners, images=images, rounds=rounds)
    peers = {
        peer: ratio(speeds["featcache"], values) for peer, values in speeds.items() if peer != "featcache"
    }
    return {
        "name": name,
        "depthwise": ZOO[name][1],
        "images_per_second": {peer: round(statistics.median(v), 1) for peer, v in speeds.items()},
        "featcache_is": {peer: round(value, 2) for peer, value in peers.items()},
    }


def line(row: dict[str, Any]) -> str:
    """One row as text."""
    speeds, ratios = row["images_per_second"], row["featcache_is"]
    peers = "".join(
        f"   {peer} {speeds[peer]:7.1f} ({ratios[peer]:.2f}×)"
        if peer in ratios
        else f"   {peer}       –        "
        for peer in ("keras", "onnxruntime")
    )
    return f"{row['name']:<24} featcache {speeds['featcache']:7.1f} images/s{peers}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnx", type=Path, help="folder with NAME.onnx")
    parser.add_argument("--only", nargs="*", default=list(ZOO), choices=list(ZOO))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of our network in each round")
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()
    rows = []
    for name in options.only:
        rows.append(measure(name, options.onnx, options.rounds, options.seconds))
        print(line(rows[-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
