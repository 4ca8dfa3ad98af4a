r"""What an epoch of fine-tuning costs: from photos, from a cached cut, and the trained part alone; beside Keras.

Command::

    env -u OPENBLAS_CORETYPE python benchmarks/finetune.py --data ../shared/data/cats_vs_dogs \\
        [--backbone mobilenet_v2] [--weights random] [--train-from block_12] [--rounds 3] [--keras]

The contenders take turns, `rounds` times; medians and ratios are printed. ``the trained part alone`` is forward and
backward of the stages that train, on maps that lie in memory: what nothing can be faster than. Keras (on JAX, jitted)
trains the same stages of its own MobileNetV2 on the decoded photos in memory, the frozen stages running each time.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import featcache
from featcache.finetuning.inputs import Batch, batches
from featcache.finetuning.loop import Loop
from featcache.finetuning.settings import tune_settings
from featcache.finetuning.setup import FineTuningSetup, prepare_setup
from featcache.heads.settings import loss_of


def task_of(classifier: featcache.Classifier, *, cached: bool, source: Any, **given: Any) -> FineTuningSetup:
    settings = tune_settings(
        classifier,
        cached=cached,
        **given,
    )
    return prepare_setup(
        classifier,
        None if cached else source,
        settings,
        cache=source if cached else None,
        layer=None,
        report=lambda progress: None,
        workers=None,
    )


def epoch_of(task: FineTuningSetup) -> Callable[[int], None]:
    """Return what runs epoch n, as training does but without judging."""
    loop: Loop = task.loop()
    program = loop.programs[-1]
    fixed = loop.devices.replicate(program.fixed(loop.values))
    size = program.phase.settings.batch_size
    state = loop.devices.replicate(program.start(loop.values))

    def run(epoch: int) -> None:
        nonlocal state
        measured = None
        for batch in batches(loop.inputs[-1], loop.train, size, epoch=epoch):
            state, latest = program.step(
                state, fixed, *loop.arguments(batch, loss_of(program.phase.settings))
            )
            if measured is not None:
                float(measured.loss)
            measured = latest
        assert measured is not None
        float(measured.loss)

    return run


def part_alone(task: FineTuningSetup) -> Callable[[int], None]:
    """Return what runs the steps of an epoch on maps in memory."""
    loop: Loop = task.loop()
    program = loop.programs[-1]
    fixed = loop.devices.replicate(program.fixed(loop.values))
    size = program.phase.settings.batch_size
    state = loop.devices.replicate(program.start(loop.values))
    ready = [
        loop.arguments(Batch(*batch), loss_of(program.phase.settings))
        for batch in batches(loop.inputs[-1], loop.train, size, epoch=1)
    ]

    def run(epoch: int) -> None:
        nonlocal state
        measured = None
        for arguments in ready:
            state, measured = program.step(state, fixed, *arguments)
        assert measured is not None
        float(measured.loss)

    return run


def keras_epoch(images: np.ndarray, labels: np.ndarray, trained: int, size: int) -> Callable[[int], None]:
    """Return what trains the last layers of Keras' MobileNetV2 for an epoch; `trained` counts inverted residuals."""
    import os

    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    base = keras.applications.MobileNetV2(
        weights=None,  # pyright: ignore[reportArgumentType]  # the stub says str
        include_top=False,
        pooling="avg",
        input_shape=images.shape[1:],
    )
    first = f"block_{17 - trained}_expand"
    names = [layer.name for layer in base.layers]
    for layer in base.layers[: names.index(first)]:
        layer.trainable = False
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False  # frozen statistics, as ours
    model = keras.Sequential(
        [keras.layers.Rescaling(1 / 127.5, -1), base, keras.layers.Dense(int(labels.max()) + 1)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-4), loss)
    model.fit(images[:size], labels[:size], batch_size=size, verbose="0")  # compiles
    return lambda epoch: model.fit(images, labels, batch_size=size, verbose="0")


def main(
    data: Annotated[str, typer.Option(help="Dataset spec.")],
    backbone: Annotated[str, typer.Option(help="Network.")] = "efficientnet_lite0",
    weights: Annotated[str | None, typer.Option(help="Weights file, or random.")] = None,
    train_from: Annotated[str | None, typer.Option(help="First stage that trains.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each contender runs.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 32,
    keras: Annotated[bool, typer.Option("--keras", help="Also Keras' MobileNetV2.")] = False,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = featcache.load_backbone(backbone, weights=weights)
        features = featcache.extract(data, backbone=network, output=folder / "features.h5")
        classifier = featcache.train_head(features, output=None)
        given = {"train_from": train_from, "batch_size": batch_size}
        photos = task_of(classifier, cached=False, source=data, **given)
        layer = f"{photos.division.frozen[-1]}:map"
        began = time.perf_counter()
        cut = featcache.extract(
            data, backbone=network, layers=(layer,), dtype="float16", output=folder / "cut.h5"
        )
        extracting = time.perf_counter() - began
        cached = task_of(classifier, cached=True, source=cut.path, **given)
        contenders = {
            "from photos": epoch_of(photos),
            "from the cached cut": epoch_of(cached),
            "the trained part alone": part_alone(cached),
        }
        if keras:
            contenders["keras, decoded photos in memory"] = _keras(photos, batch_size)
        times = measured(contenders, rounds)
        show(photos, times, layer, extracting, cut.path.stat().st_size)


def _keras(photos: FineTuningSetup, size: int) -> Callable[[int], None]:
    from featcache.images.resizing import prepare

    records = photos.data.data
    assert records is not None
    rows = photos.data.rows.train
    images = np.stack([prepare(records.records[row].read(), photos.model.transforms) for row in rows])
    trained = sum(stage.startswith("block_") for stage in photos.division.trained)
    return keras_epoch(images, photos.data.labels[rows], trained, size)


def measured(contenders: dict[str, Callable[[int], None]], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run(number + 1)
            if number:  # the first compiles
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def show(task: FineTuningSetup, times: dict[str, float], layer: str, extracting: float, size: int) -> None:
    images, alone = len(task.data.rows.train), times["the trained part alone"]
    print(f"{task.model.network.name}, training {', '.join(task.division.trained)}; {images} images")
    print(f"the cut, {layer}: {extracting:.1f} s once, {size / 1e6:.0f} MB")
    for name, seconds in times.items():
        print(
            f"{name:<32} {seconds:7.2f} s an epoch  {images / seconds:6.0f} images/s  {seconds / alone:5.2f}×"
        )
    print(f"photos / cut: {times['from photos'] / times['from the cached cut']:.2f}")


if __name__ == "__main__":
    typer.run(main)
