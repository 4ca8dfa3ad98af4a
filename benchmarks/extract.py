"""Extraction speed beside its peers, in one run, as ratios.

Network only: featcache, onnxruntime and keras on JAX (jitted) with the same architecture, taking turns.
End to end: `featcache.extract` on a folder of JPEGs, against what decoding and the network allow when they
share the cores, 1 / (1 / decode + 1 / network).

Command: ``python benchmarks/extract.py --onnx ../shared/anchors --data ../shared/data/cats_vs_dogs \
--mobilenet ../shared/weights/mobilenet_v2-b0353104.pth`` (needs onnxruntime and keras)
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "jax")


def featcache_runner(name: str, weights: str | None) -> Callable[[int], float]:
    """Images per second of the CPU schedule without decoding."""
    from featcache.backbones import load
    from featcache.core.parallel import default_workers
    from featcache.extraction.batching import CPU_MICRO_BATCH, micro_batches

    network = load(name, weights=weights)
    function = network.function(network.layers(["pool"]))
    image = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)

    def run(count: int) -> float:
        began = time.perf_counter()
        chunks = micro_batches(
            range(count),
            lambda row: image,
            lambda x: function(network.state, x),
            batch_size=CPU_MICRO_BATCH,
            workers=default_workers(),
        )
        done = sum(len(chunk.rows) for chunk in chunks)
        return done / (time.perf_counter() - began)

    run(8)
    return run


def onnx_runner(path: Path, batch: int) -> Callable[[int], float]:
    """Images per second of onnxruntime with one thread per core."""
    import onnxruntime

    from featcache.core.parallel import default_workers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = default_workers()
    session = onnxruntime.InferenceSession(str(path), options)
    x = np.random.default_rng(0).random((batch, 3, 224, 224), np.float32)

    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count // batch):
            session.run(["pool"], {"x": x})
        return count // batch * batch / (time.perf_counter() - began)

    run(batch)
    return run


def keras_runner(batch: int) -> Callable[[int], float]:
    """Images per second of keras.applications' MobileNetV2 on JAX, jitted."""
    import jax
    import keras

    model = keras.applications.MobileNetV2(
        weights=None,  # pyright: ignore[reportArgumentType]  # the annotation says str
        pooling="avg",
        include_top=False,
    )
    variables = [v.value for v in model.variables]

    @jax.jit
    def forward(values, x):
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))):
            return model(x, training=False)

    x = np.random.default_rng(0).random((batch, 224, 224, 3), np.float32)
    forward(variables, x).block_until_ready()

    def run(count: int) -> float:
        count = max(batch, count // 8 // batch * batch)
        began = time.perf_counter()
        for _ in range(count // batch):
            forward(variables, x).block_until_ready()
        return count / (time.perf_counter() - began)

    return run


def compare(
    runners: dict[str, Callable[[int], float]], *, images: int, rounds: int
) -> dict[str, list[float]]:
    """Let the runners take turns; returns images/s of every round."""
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            speeds[name].append(run(images))
    return speeds


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median over the rounds of ours / theirs in the same round: drift of the machine cancels."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def end_to_end(
    data: Path, name: str, weights: str | None, network: Callable[[int], float], rounds: int
) -> None:
    """Print how close extraction comes to what decoding and the network allow."""
    from featcache.backbones import load
    from featcache.core.parallel import default_workers, ordered_map
    from featcache.datasets import open_dataset
    from featcache.extraction.extract import extract
    from featcache.images.resizing import prepare

    loaded = load(name, weights=weights)
    records = open_dataset(str(data)).records
    shares, speeds, decodes = [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in ordered_map(
            lambda record: prepare(record.read(), loaded.transforms),
            records[:400],
            workers=default_workers(),
            ahead=32,
        ):
            pass
        decode = min(400, len(records)) / (time.perf_counter() - began)
        alone = network(192)
        stamps: list[tuple[float, int]] = []
        with tempfile.TemporaryDirectory() as folder:
            extract(
                data,
                backbone=loaded,
                output=Path(folder) / "cache.h5",
                on_progress=lambda p, stamps=stamps: (
                    stamps.append((time.perf_counter(), p.done)) if p.stage == "compute" else None
                ),
            )
        (first, some), (last, all_) = stamps[8], stamps[-1]
        speed = (all_ - some) / (last - first)
        allowed = 1 / (1 / decode + 1 / alone)
        speeds.append(speed)
        decodes.append(decode)
        shares.append(speed / allowed)
    print(
        f"{name:<20} end to end {statistics.median(speeds):.0f} images/s (decode alone "
        f"{statistics.median(decodes):.0f}): {statistics.median(shares):.2f} of what both allow"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnx", type=Path, help="folder with mobilenet_v2.onnx and efficientnet_lite0.onnx")
    parser.add_argument("--mobilenet", help="torchvision's mobilenet_v2-b0353104.pth")
    parser.add_argument("--data", type=Path, help="folder of JPEGs for the end-to-end figure")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for name, weights in (("mobilenet_v2", options.mobilenet or "random"), ("efficientnet_lite0", None)):
        runners = {"featcache": featcache_runner(name, weights)}
        if options.onnx:
            for batch in (1, 8):
                runners[f"onnxruntime, batch {batch}"] = onnx_runner(options.onnx / f"{name}.onnx", batch)
        if name == "mobilenet_v2":
            runners["keras on JAX, batch 8"] = keras_runner(8)
        speeds = compare(runners, images=options.images, rounds=options.rounds)
        for peer, values in speeds.items():
            print(
                f"{name:<20} {peer:<24} {statistics.median(values):7.1f} images/s   "
                f"featcache is {ratio(speeds['featcache'], values):.2f}×"
            )
        if options.data:
            end_to_end(options.data, name, weights, runners["featcache"], max(3, options.rounds // 2))


if __name__ == "__main__":
    main()
