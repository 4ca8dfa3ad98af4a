"""Extraction speed beside its peers, in one run, as ratios.

Network only (uint8 images to features): featcache with each engine, and bare onnxruntime (a session with one thread
for each core, one image per call) on the same graph, and on a peer's where there is one. End to end (a folder of JPEGs
to a file): `featcache.extract` against what decoding and the network allow when they share the cores,
1 / (1 / decode + 1 / network), scripts by hand (Pillow in threads, onnxruntime, ``np.save``), and keras' ``predict``.
All take turns, so that what else the machine does hits all of them; the medians are printed, with the processor's
time beside the wall's, since another program on the machine changes that less.

Command: ``python benchmarks/extract.py --onnx ../shared/anchors --data ../shared/data/cats_vs_dogs \
--mobilenet ../shared/weights/mobilenet_v2-b0353104.pth [--engine onnxruntime jax] [--only NAME ...]`` (needs the
extra onnx, and keras)
"""

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone

os.environ.setdefault("KERAS_BACKEND", "jax")

NETWORKS = ("mobilenet_v2", "efficientnet_lite0", "resnet50", "vit_small_patch16_224")
SLOW = ("resnet50", "vit_small_patch16_224")
"""Run with a quarter of the images."""

DECODED, KERAS_IMAGES = 400, 64


class Speed(NamedTuple):
    """Wall and processor milliseconds for each image."""

    wall: float
    cpu: float


Runner = Callable[[int], Speed]
"""Number of images to their speed."""


def timed(work: Callable[[int], int]) -> Runner:
    """Return a runner of a function that does a number of images and returns how many it did."""

    def run(count: int) -> Speed:
        cpu, began = time.process_time(), time.perf_counter()
        done = work(count)
        return Speed(1e3 * (time.perf_counter() - began) / done, 1e3 * (time.process_time() - cpu) / done)

    return run


# Network only -------------------------------------------------------------------------------------------------


def featcache_runner(network: "LoadedBackbone", engine: str, image: np.ndarray) -> Runner:
    """Our schedule with an engine, without decoding."""
    from featcache.extraction.resolved import resolve
    from featcache.extraction.runner import FeatureRunner
    from featcache.extraction.spec import ExtractionSpec

    spec = ExtractionSpec(backbone=network, layers=("pool",), image_statistics=False)
    runner = FeatureRunner(extraction=resolve(spec), engine=engine)
    work = timed(lambda count: sum(len(each.rows) for each in runner.chunks(range(count), lambda row: image)))
    work(8)
    return work


def onnx_runner(model: bytes | str, image: np.ndarray) -> Runner:
    """Bare onnxruntime: a thread and a session with one thread for each core, one image per call."""
    from featcache.core.parallel import default_workers
    from featcache.graphs.sessions import open_session

    sessions = [open_session(model) for _ in range(default_workers())]
    given = sessions[0].get_inputs()[0]
    fed = {given.name: image if given.type == "tensor(uint8)" else np.float32(image.transpose(0, 3, 1, 2))}

    def work(count: int) -> int:
        each = count // len(sessions)

        def loop(session: Any) -> None:
            for _ in range(each):
                session.run(None, fed)

        threads = [threading.Thread(target=loop, args=(session,)) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return each * len(sessions)

    timed(work)(8)
    return timed(work)


def our_graph(network: "LoadedBackbone") -> bytes:
    """Return the graph that the engine runs, as bytes."""
    from featcache.graphs.convert import onnx_model

    function = network.uncompiled(network.layers(["pool"]))
    size = network.transforms.input_size
    model = onnx_model(
        lambda images: function(network.state, images), {"images": ((*size, 3), np.dtype(np.uint8))}
    )
    return model.SerializeToString()


def take_turns(runners: dict[str, Runner], *, images: int, rounds: int) -> dict[str, list[Speed]]:
    """Let the runners take turns; returns the speeds of every round."""
    speeds: dict[str, list[Speed]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            speeds[name].append(run(images))
    return speeds


def compare(
    runners: dict[str, Callable[[int], float]], *, images: int, rounds: int
) -> dict[str, list[float]]:
    """Let the runners take turns; returns images/s of every round."""
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            speeds[name].append(run(images))
    return speeds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds of ours / theirs in the same round: drift of the machine cancels."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def shown(name: str, speeds: dict[str, list[Speed]], first: str) -> None:
    """Print a table; the ratio is how many times as fast as each the first one is, by wall and by processor time."""
    for peer, values in speeds.items():
        walls, cpus = ([getattr(each, kind) for each in values] for kind in ("wall", "cpu"))
        own = speeds[first]
        print(
            f"{name:<22} {peer:<38} {1e3 / statistics.median(walls):7.1f} images/s {statistics.median(cpus):7.2f} ms "
            f"of a core   {first} is {ratio(walls, [each.wall for each in own]):5.2f}× "
            f"(by processor time {ratio(cpus, [each.cpu for each in own]):5.2f}×)"
        )


# End to end -----------------------------------------------------------------------------------------------------


def decoding(data: Path, network: "LoadedBackbone") -> Runner:
    """Read and decode alone, in a thread for each core."""
    from featcache.core.parallel import default_workers, ordered_map
    from featcache.datasets import open_dataset
    from featcache.images.resizing import prepare

    records = open_dataset(str(data)).records[:DECODED]

    def one(record: Any) -> np.ndarray:
        return prepare(record.read(), network.transforms)

    def work(count: int) -> int:
        return sum(1 for _ in ordered_map(one, records[:count], workers=default_workers(), ahead=32))

    return timed(work)


def extraction(data: Path, network: "LoadedBackbone", engine: str) -> Runner:
    """`featcache.extract`, from the ninth chunk to the last: without loading, hashing and compiling."""
    from featcache.extraction.extract import extract

    def run(count: int) -> Speed:
        stamps: list[tuple[float, float, int]] = []

        def note(progress: Any) -> None:
            if progress.stage == "compute":
                stamps.append((time.perf_counter(), time.process_time(), progress.done))

        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "cache.h5"
            extract(
                data, backbone=network, output=output, split=f"[:{count}]", engine=engine, on_progress=note
            )
        (wall, cpu, some), (ended, used, done) = stamps[8], stamps[-1]
        return Speed(1e3 * (ended - wall) / (done - some), 1e3 * (used - cpu) / (done - some))

    return run


def scripts(data: Path, network: "LoadedBackbone", model: bytes) -> dict[str, Runner]:
    """What one would write by hand: threads that open, resize and crop with Pillow, onnxruntime, and ``np.save``.

    The plain one leaves onnxruntime as it is, with batches of 32; the tuned one does what our engine does.
    """
    from concurrent.futures import ThreadPoolExecutor

    import onnxruntime
    from PIL import Image

    from featcache.core.parallel import default_workers
    from featcache.graphs.sessions import open_session

    tuned: Any = open_session(model)
    plain: Any = onnxruntime.InferenceSession(model)
    files = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    (height, width), share = network.transforms.input_size, network.transforms.crop_pct

    def decoded(file: Path) -> np.ndarray:
        picture = Image.open(file).convert("RGB")
        short = round(height / share)
        scale = short / min(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        return np.asarray(picture.crop((left, top, left + width, top + height)))

    def in_batches(pool: ThreadPoolExecutor, some: Sequence[Path]) -> list[np.ndarray]:
        images = pool.map(decoded, some)
        found = []
        while batch := list(itertools.islice(images, 32)):
            found += [*plain.run(None, {"images": np.stack(batch)})[0]]
        return found

    def in_threads(pool: ThreadPoolExecutor, some: Sequence[Path]) -> list[np.ndarray]:
        return list(pool.map(lambda file: tuned.run(None, {"images": decoded(file)[None]})[0][0], some))

    def script(features: Callable[[ThreadPoolExecutor, Sequence[Path]], list[np.ndarray]]) -> Runner:
        def work(count: int) -> int:
            with ThreadPoolExecutor(default_workers()) as pool, tempfile.TemporaryDirectory() as folder:
                found = features(pool, files[:count])
                np.save(Path(folder) / "features.npy", np.stack(found))
            return len(found)

        return timed(work)

    return {"plain script, onnxruntime": script(in_batches), "tuned script, onnxruntime": script(in_threads)}


def keras_runner(data: Path) -> tuple[str, Runner]:
    """Keras' ``predict`` with MobileNetV2 over a folder, and what it reads the folder with.

    ``image_dataset_from_directory`` needs TensorFlow or grain; without them a ``PyDataset`` of batches of 32 takes its
    place, which opens and resizes photos with Pillow, as keras' ``load_img`` does.
    """
    import keras

    model = keras.applications.MobileNetV2(
        weights=None,  # pyright: ignore[reportArgumentType]  # the annotation says str
        pooling="avg",
        include_top=False,
    )
    files = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))

    class Folder(keras.utils.PyDataset):
        def __init__(self, count: int) -> None:
            super().__init__(workers=os.cpu_count() or 1)
            self.files = files[:count]

        def __len__(self) -> int:
            return -(-len(self.files) // 32)

        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
            some = self.files[32 * number : 32 * (number + 1)]
            images = [keras.utils.load_img(file, target_size=(224, 224)) for file in some]
            return np.stack([keras.utils.img_to_array(each) for each in images]) / 127.5 - 1, np.zeros(
                len(some)
            )

    def by_hand(count: int) -> int:
        return len(model.predict(Folder(count), verbose=0))  # pyright: ignore[reportArgumentType]

    try:
        every: Any = keras.utils.image_dataset_from_directory(
            str(data),
            labels=None,  # pyright: ignore[reportArgumentType]  # the annotation says str
            image_size=(224, 224),
            batch_size=32,
            shuffle=False,
            verbose=False,
        )
    except ImportError:
        by_hand(32)
        return "keras predict, PyDataset", timed(by_hand)

    def of_directory(count: int) -> int:
        return len(model.predict(every.take(-(-count // 32)), verbose=0))

    of_directory(32)
    return "keras predict, directory", timed(of_directory)


def end_to_end(
    data: Path, name: str, network: "LoadedBackbone", engines: Sequence[str], images: int, rounds: int
) -> None:
    """Print how close extraction comes to what decoding and the network allow, and how its peers do."""
    image = np.random.default_rng(0).integers(0, 255, (*network.transforms.input_size, 3), np.uint8)
    runners: dict[str, Runner] = {"decode": decoding(data, network)}
    for engine in engines:
        runners[f"network {engine}"] = featcache_runner(network, engine, image)
        runners[f"featcache {engine}"] = extraction(data, network, engine)
    if "onnxruntime" in engines:
        runners |= scripts(data, network, our_graph(network))
    speeds = take_turns(runners, images=images, rounds=rounds)
    first = f"featcache {engines[0]}"
    shown(f"{name}, JPEG", speeds, first)
    for engine in engines:
        rows = zip(speeds["decode"], speeds[f"network {engine}"], speeds[f"featcache {engine}"], strict=True)
        shares = [((d.wall + n.wall) / own.wall, (d.cpu + n.cpu) / own.cpu) for d, n, own in rows]
        wall, cpu = (statistics.median(each) for each in zip(*shares, strict=True))
        print(
            f"{name}, JPEG: featcache {engine} has {wall:.3f} of 1 / (1/decode + 1/network) "
            f"(by processor time {cpu:.3f})"
        )
    if name == "mobilenet_v2":
        peer, run = keras_runner(data)
        own = extraction(data, network, engines[0])
        pairs = [(run(KERAS_IMAGES).wall, own(images).wall) for _ in range(max(2, rounds // 3))]
        print(
            f"{name}, JPEG: {peer} {1e3 / statistics.median(theirs for theirs, _ in pairs):.1f} images/s, "
            f"{first} is {statistics.median(theirs / ours for theirs, ours in pairs):.1f}×"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--engine", nargs="*", default=["onnxruntime", "jax"], help="engines; the first is the ratios' own"
    )
    parser.add_argument("--only", nargs="*", default=NETWORKS, help=f"networks, of {', '.join(NETWORKS)}")
    parser.add_argument("--onnx", type=Path, help="folder with mobilenet_v2.onnx and efficientnet_lite0.onnx")
    parser.add_argument("--mobilenet", help="torchvision's mobilenet_v2-b0353104.pth")
    parser.add_argument("--data", type=Path, help="folder of JPEGs for the end-to-end figure")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    from featcache.backbones import load

    engines = options.engine or ["onnxruntime", "jax"]
    published = {"mobilenet_v2": options.mobilenet or "random", "efficientnet_lite0": None}
    for name in options.only:
        network = load(name, weights=published.get(name, "random"))
        images = options.images // (4 if name in SLOW else 1)
        image = np.random.default_rng(0).integers(0, 255, (*network.transforms.input_size, 3), np.uint8)
        runners = {f"featcache {engine}": featcache_runner(network, engine, image) for engine in engines}
        runners["onnxruntime, our graph"] = onnx_runner(our_graph(network), image[None])
        if options.onnx and (peer := options.onnx / f"{name}.onnx").is_file():
            runners["onnxruntime, a peer's graph"] = onnx_runner(str(peer), image[None])
        shown(name, take_turns(runners, images=images, rounds=options.rounds), f"featcache {engines[0]}")
        if options.data:
            rounds = max(3, options.rounds // 2)
            end_to_end(options.data, name, network, engines, 2 * images, rounds)


if __name__ == "__main__":
    main()
