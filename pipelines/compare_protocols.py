"""Frozen network in every epoch, as articles do it, against extract-once: the same accuracy, and what each takes.

Command::

    python pipelines/compare_protocols.py [--data PHOTOS/] [--width 0.25] [--weights mobilenet_v1_0.25_224.h5]

Question: a head on a frozen network is fitted in two ways on the same photos, the same split and by the same protocol
(Adam, batches of 32). Is the accuracy the same, and how many times faster is it to keep the features?

- ``keras``: MobileNetV1 of keras.applications on the JAX backend, inside the model that is fitted (`keras_training`).
- ``network in every epoch``: featcache's own fast network over all photos in every epoch. That is the fairest classic
  way there can be: what is left of the ratio is due to keeping the features alone.
- ``featcache``: `featcache.extract` once and `featcache.train_head`, both from nothing for every number of epochs.

All take turns in one process, an epoch or a whole run each, so that what else the machine does falls on all of them.
The classic ways' epochs all take the same time, so that totals beyond the measured epochs are extrapolated from the
median epoch; heads on cached features are fitted for up to 100 epochs, and measured.

Result (cats vs dogs: 640 training, 160 validation and 300 test photos; MobileNetV1 of width 0.25 with Keras' weights,
whose features are the same in both to 2e-5 of the largest; 2 cores on which much else was running, so that seconds of
processors say more than those of the wall): the accuracy is the same, 95.3 % against Keras' 95.0 %, +0.3 points (95 %
interval −1.4 to +2.0). Six epochs, all measured: Keras 134 s of processors (469 s of the wall), featcache 7.6 s (19 s):
**17.5 times** (24.7). Against featcache's own network in every epoch 3.1 times (5.2): that much is due to keeping the
features alone, the rest to a network that is faster than Keras on a CPU. Keras' 134 s include 24 s to import it, decode
the photos, build and score; without them it is 14 times. One epoch: 4.4 times Keras, and featcache's network in one
epoch is as cheap as keeping its features (0.94). 100 epochs: 221 times, and 37; the classic ways are extrapolated from
their median epoch, the head's 100 epochs are measured. The whole run took 10 minutes, 215 s of processors. Record and
figure: ``pipelines/results/compare_protocols.json`` and ``.svg``.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from cached_training import BATCH_SIZE, HEAD, LEARNING_RATE, Cached, EveryEpoch
from common import CATS_AND_DOGS, SMALL_SIZE, Data, Output, Small
from keras_training import KerasTraining, mobilenet
from records import Comparison, fingerprints_of, write_record
from script import run_script
from study import (
    MARKERS,
    PALETTE,
    Clock,
    Most,
    difference,
    new_figure,
    of_split,
    open_photos,
    right,
    save_figure,
    share,
    with_validation,
)

import featcache

SIDE = 224
LONGER = (10, 20, 50, 100)
"""Numbers of epochs for which only heads are fitted."""

ARMS = ("keras", "network in every epoch", "featcache")


def total(start: float, epochs: list[float], end: float, count: int) -> float:
    """Return what a classic way takes for `count` epochs: measured ones as they were, the others as the median one.

    Parameters
    ----------
    start, end
        Seconds before the first epoch, and for scoring the test photos.
    epochs
        Seconds of the measured epochs. The first one compiles, so that it is left out of the median.
    count
        Number of epochs.
    """
    usual = statistics.median(epochs[1:] or epochs)
    return start + sum(epochs[:count]) + usual * max(0, count - len(epochs)) + end


def curves(
    cached: Cached, keras: dict[str, Clock], every: EveryEpoch, end: Clock, measured: int
) -> list[dict[str, Any]]:
    """Return a row for each number of epochs: totals of all arms in seconds, wall and processor, and the ratios."""
    rows = []
    for epochs in sorted(cached.fitting):
        row: dict[str, Any] = {"epochs": epochs, "measured": epochs <= measured}
        for part, unit in enumerate(("wall", "processor")):
            classic = total(
                keras["start"].laps[0][part],
                [lap[part] for lap in keras["epochs"].laps],
                keras["end"].laps[0][part],
                epochs,
            )
            fast = total(0.0, [lap[part] for lap in every.running.laps], end.laps[0][part], epochs)
            fast += cached.fitting[epochs].laps[0][part]
            own = cached.total(epochs, part)
            row[unit] = dict(zip(ARMS, (classic, fast, own), strict=True))
            row[f"{unit} ratio"] = {ARMS[0]: classic / own, ARMS[1]: fast / own}
        rows.append(row)
    return rows


def drawn(rows: list[dict[str, Any]], output: Path, name: str) -> str:
    """Draw totals and ratios over the epochs, in seconds of processors; extrapolated points are hollow."""
    figure, (times, ratios) = new_figure(2)
    epochs = [row["epochs"] for row in rows]
    measured = sum(row["measured"] for row in rows)
    for arm, colour, marker in zip(ARMS, PALETTE, MARKERS, strict=False):
        values = [row["processor"][arm] for row in rows]
        known = len(rows) if arm == ARMS[2] else measured
        times.plot(epochs, values, color=colour, marker=marker, markerfacecolor="white", label=arm)
        times.plot(epochs[:known], values[:known], color=colour, marker=marker, linestyle="none")
        if arm != ARMS[2]:
            values = [row["processor ratio"][arm] for row in rows]
            ratios.plot(epochs, values, color=colour, marker=marker, markerfacecolor="white", label=arm)
            ratios.plot(epochs[:measured], values[:measured], color=colour, marker=marker, linestyle="none")
    for axes in (times, ratios):
        axes.set(xscale="log", yscale="log", xlabel="epochs")
        axes.legend(frameon=False)
    times.set(ylabel="seconds of processors", title="Total time (hollow: extrapolated)")
    ratios.set(ylabel="times as much as featcache", title="Ratio to features kept once")
    ratios.axhline(1, color="#999999", linewidth=1)
    return save_figure(figure, output, name)


@dataclass
class Run:
    """All arms after they took turns.

    Parameters
    ----------
    cached, every
        featcache's way, and its network in every epoch.
    clocks
        Keras' ``start`` (photos decoded, network built), ``epochs`` and ``end`` (test photos scored).
    end
        What it takes `every` to score the test photos.
    validation
        Keras' validation accuracy after each epoch.
    classic
        Which test photos Keras has right, bool ``[N]``.
    features
        The frozen network's features of the test photos in Keras, float32 ``[N, D]``.
    """

    cached: Cached
    every: EveryEpoch
    clocks: dict[str, Clock]
    end: Clock
    validation: list[float]
    classic: np.ndarray
    features: np.ndarray


def by_turns(
    photos: featcache.Dataset, width: str, file: Path | None, size: int | None, epochs: int, output: Path
) -> Run:
    """Run an epoch of each classic way and a whole run of featcache's, by turns; then fit the longer heads.

    Parameters
    ----------
    photos
        With the splits ``train``, ``val`` and ``test``.
    width, file
        Of MobileNetV1, and its weights; drawn ones where there is none.
    size
        Pixels of the input where it is not 224.
    epochs, output
        How many are measured, and where.
    """
    clocks = {name: Clock() for name in ("start", "epochs", "end")}
    pixels = (size or SIDE, size or SIDE)
    with clocks["start"].running():
        base = mobilenet(float(width), pixels, file)
        keras = KerasTraining(base, photos, pixels, learning_rate=LEARNING_RATE, batch_size=BATCH_SIZE)
    if file is None:
        file = output / "drawn.weights.h5"
        base.save_weights(file, overwrite=True)
    cached = Cached(photos, backbone_of(width), file, size, output)
    every, validation = None, []
    for number in range(1, epochs + 1):
        with clocks["epochs"].running():
            validation.append(keras.epoch())
        cached.run(number)
        every = every or EveryEpoch(photos, cached.classifiers[1])
        every.epoch()
        typer.echo(f"epoch {number}: validation {validation[-1]:.3f}", err=True)
    assert every is not None
    with clocks["end"].running():
        classic, features = keras.scored()
    end = every.end()
    for number in LONGER if size is None else ():
        cached.fit(number)
    return Run(cached, every, clocks, end, validation, classic, features)


def backbone_of(width: str) -> str:
    """Return featcache's name of MobileNetV1 of a width."""
    return f"mobilenet_v1_{round(100 * float(width)):03}.keras_in1k_{SIDE}"


def compared(rows: list[dict[str, Any]], epochs: int, apart: dict[str, Any]) -> list[Comparison]:
    """Return what the record compares."""
    at, last = rows[epochs - 1], rows[-1]

    def ratio(row: dict[str, Any], arm: str, note: str, unit: str = "wall") -> Comparison:
        what = f"{arm} / featcache, {unit} time of {row['epochs']} epochs"
        return Comparison(what, None, row[f"{unit} ratio"][arm], unit="x", note=note)

    return [
        ratio(at, ARMS[0], "both measured, by turns in one run"),
        ratio(at, ARMS[0], "other load on the machine changes it less", "processor"),
        ratio(at, ARMS[1], "what keeping the features gains by itself"),
        ratio(last, ARMS[0], "Keras' time extrapolated from the median epoch"),
        Comparison(
            "test accuracy, featcache minus Keras",
            None,
            apart["difference"],
            tuple(apart["interval"]),
            "points",
            note="photo by photo",
        ),
    ]


def features_apart(run: Run) -> dict[str, float]:
    """Return how far the test photos' features are apart: both ways must have the same network."""
    cache = run.cached.extraction.cache
    ours = cache.features(cache.rows_of("test"))
    return {
        "largest_difference": float(np.abs(run.features - ours).max()),
        "largest_feature": float(np.abs(ours).max()),
    }


def results(run: Run, rows: list[dict[str, Any]], epochs: int) -> dict[str, Any]:
    """Return what else the record holds."""
    head = run.cached.classifiers[epochs]
    ours = right(head, run.cached.extraction)
    laps = (run.clocks["epochs"].laps, run.every.running.laps, run.cached.extracting.laps)
    return {
        "accuracy": {
            ARMS[0]: share(run.classic),
            ARMS[2]: share(ours),
            "difference": difference(ours, run.classic),
        },
        "validation_by_epoch": {ARMS[0]: run.validation, ARMS[2]: head.history["val_score"]},
        "features": features_apart(run),
        "epoch_seconds": dict(zip((*ARMS[:2], "extraction"), laps, strict=True)),
        "totals": rows,
        "chosen_epoch": head.training["best_epoch"],
    }


def main(
    data: Data = CATS_AND_DOGS,
    weights: Annotated[
        Path | None, typer.Option(help="Keras' file of MobileNetV1 of that width; drawn weights without it.")
    ] = None,
    width: Annotated[str, typer.Option(help="Width of MobileNetV1: 0.25, 0.5, 0.75 or 1.0.")] = "0.25",
    output: Output = Path("runs/compare_protocols"),
    epochs: Annotated[int, typer.Option(help="Epochs that are measured in every way, two at least.")] = 6,
    most: Most = None,
    small: Small = False,
) -> None:
    weights = weights or Path(f"../shared/weights/mobilenet_v1_{width}_{SIDE}.h5")
    file = weights if not small and weights.is_file() else None
    photos = with_validation(open_photos(data, small, most), 0.2)
    epochs = 2 if small else epochs
    output.mkdir(parents=True, exist_ok=True)
    run = by_turns(photos, width, file, SMALL_SIZE if small else None, epochs, output)
    rows = curves(run.cached, run.clocks, run.every, run.end, epochs)
    result = results(run, rows, epochs)
    write_record(
        output,
        "compare_protocols",
        title="Frozen network in every epoch against features that are kept once",
        data=photos.spec,
        images=len(photos.records),
        small=small,
        weights={backbone_of(width): "random" if file is None else f"published ({file.name})"},
        fingerprints=fingerprints_of(run.cached.extraction.cache),
        seeds=[0],
        settings={
            **HEAD,
            "epochs": epochs,
            "photos": {name: len(of_split(photos, name)) for name in ("train", "val", "test")},
        },
        comparisons=compared(rows, epochs, result["accuracy"]["difference"]),
        result=result,
        seconds={
            "keras, photos decoded and network built": run.clocks["start"].wall,
            "keras, median epoch": usual(run.clocks["epochs"]),
            "featcache's network, median epoch": usual(run.every.running),
            "featcache, median extraction": usual(run.cached.extracting),
            f"featcache, head of {epochs} epochs": run.cached.fitting[epochs].wall,
        },
        differs="featcache keeps the epoch of the lowest validation loss, Keras the last one",
        figures=[drawn(rows, output, "compare_protocols")],
    )


def usual(clock: Clock) -> float:
    """Return the median wall time of a clock's laps, but for the first, which compiles."""
    return statistics.median(lap[0] for lap in clock.laps[1:])


if __name__ == "__main__":
    run_script(main)
