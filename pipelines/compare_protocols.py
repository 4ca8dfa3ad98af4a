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

RESULT
"""

import statistics
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import CATS_AND_DOGS, TEXTURES, Data, Output, Small, few
from keras_training import KerasTraining, mobilenet
from records import Comparison, fingerprints_of, weights_note, write_record
from study import (
    MARKERS,
    PALETTE,
    Clock,
    difference,
    new_figure,
    of_split,
    right,
    save_figure,
    share,
    with_test,
    with_validation,
)

import featcache

LEARNING_RATE, BATCH_SIZE = 1e-3, 32
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


class Cached:
    """featcache's way: every run starts from nothing, in a folder of its own.

    Parameters
    ----------
    data, backbone, weights, size
        What is extracted, and with what; a size only where it is not the weights' own.
    output
        Folder of the runs' folders.
    """

    def __init__(
        self, data: featcache.Dataset, backbone: str, weights: Path, size: int | None, output: Path
    ) -> None:
        self.data, self.backbone, self.weights, self.size, self.output = data, backbone, weights, size, output
        self.extracting, self.fitting = Clock(), {}
        self.classifiers: dict[int, featcache.Classifier] = {}
        self.extraction: Any = None

    def run(self, epochs: int) -> None:
        """Load the network, extract all photos, fit a head and score the test photos."""
        with self.extracting.running():
            network = featcache.load_backbone(self.backbone, weights=self.weights, image_size=self.size)
            self.extraction = featcache.extract(
                self.data, backbone=network, output=self.output / f"run-{epochs}" / "features.h5"
            )
        computed = self.extraction.computed + self.extraction.duplicates
        if computed != self.extraction.images:
            raise RuntimeError(
                f"{self.extraction.path}: {computed} of {self.extraction.images} images were computed, expected all: "
                f"the times would be wrong; remove {self.output} and run it again"
            )
        self.fit(epochs)

    def fit(self, epochs: int) -> None:
        """Fit a head on the features of the last run, and score the test photos."""
        with self.fitting.setdefault(epochs, Clock()).running():
            self.classifiers[epochs] = featcache.train_head(
                self.extraction,
                output=None,
                head="linear",
                optimizer="adam",
                learning_rate=LEARNING_RATE,
                batch_size=BATCH_SIZE,
                epochs=epochs,
                patience=epochs,
                weight_decay=0.0,
                scaling="none",
                refit=False,
                calibrate=False,
            )

    def total(self, epochs: int, part: int) -> float:
        """Return what a run of `epochs` takes: its own extraction, or the median one where it had none.

        `part` is 0 for the wall's seconds, 1 for the processors'.
        """
        laps = [lap[part] for lap in self.extracting.laps]
        extracted = laps[epochs - 1] if epochs <= len(laps) else statistics.median(laps)
        return extracted + self.fitting[epochs].laps[0][part]


class EveryEpoch:
    """The fairest classic way: featcache's network over the training and validation photos, anew in every epoch.

    Its heads are those of `Cached`, so that only time is measured.
    """

    def __init__(self, data: featcache.Dataset, classifier: featcache.Classifier) -> None:
        self.classifier = classifier
        self.seen, self.test = (
            [own.read() for own in data.records if (own.split == "test") == test] for test in (False, True)
        )
        self.running = Clock()

    def epoch(self) -> None:
        """Run the network over all photos once."""
        with self.running.running():
            self.classifier.predict_proba(self.seen)

    def end(self) -> Clock:
        """Score the test photos; returns what that took."""
        clock = Clock()
        with clock.running():
            self.classifier.predict_proba(self.test)
        return clock


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
    """Draw totals and ratios over the epochs; extrapolated points are hollow."""
    figure, (times, ratios) = new_figure(2)
    epochs = [row["epochs"] for row in rows]
    measured = sum(row["measured"] for row in rows)
    for arm, colour, marker in zip(ARMS, PALETTE, MARKERS, strict=False):
        values = [row["wall"][arm] for row in rows]
        known = len(rows) if arm == ARMS[2] else measured
        times.plot(epochs, values, color=colour, marker=marker, markerfacecolor="white", label=arm)
        times.plot(epochs[:known], values[:known], color=colour, marker=marker, linestyle="none")
        if arm != ARMS[2]:
            values = [row["wall ratio"][arm] for row in rows]
            ratios.plot(epochs, values, color=colour, marker=marker, markerfacecolor="white", label=arm)
            ratios.plot(epochs[:measured], values[:measured], color=colour, marker=marker, linestyle="none")
    for axes in (times, ratios):
        axes.set(xscale="log", yscale="log", xlabel="epochs")
        axes.legend(frameon=False)
    times.set(ylabel="seconds in all", title="Total time (hollow: extrapolated)")
    ratios.set(ylabel="times as long as featcache", title="Ratio to features kept once")
    ratios.axhline(1, color="#999999", linewidth=1)
    return save_figure(figure, output, name)


def main(
    data: Data = CATS_AND_DOGS,
    weights: Annotated[
        Path | None, typer.Option(help="Keras' file of MobileNetV1 of that width; drawn weights without it.")
    ] = None,
    width: Annotated[str, typer.Option(help="Width of MobileNetV1: 0.25, 0.5, 0.75 or 1.0.")] = "0.25",
    output: Output = Path("runs/compare_protocols"),
    epochs: Annotated[int, typer.Option(help="Epochs that are measured in every way.")] = 6,
    small: Small = False,
) -> None:
    weights = weights or Path(f"../shared/weights/mobilenet_v1_{width}_224.h5")
    backbone, side = f"mobilenet_v1_{round(100 * float(width)):03}.keras_in1k_224", 224
    photos = with_test(featcache.open_dataset(data if not small else TEXTURES))
    if small:
        side = 64
        photos, epochs = few(photos, 8), min(epochs, 2)
    photos = with_validation(photos, 0.2)
    real = not small and weights.is_file()
    keras, clocks = None, {name: Clock() for name in ("start", "epochs", "end")}
    with clocks["start"].running():
        base = mobilenet(float(width), (side, side), weights if real else None)
        keras = KerasTraining(base, photos, (side, side), learning_rate=LEARNING_RATE, batch_size=BATCH_SIZE)
    output.mkdir(parents=True, exist_ok=True)
    file = weights
    if not real:
        file = output / "drawn.weights.h5"
        base.save_weights(file, overwrite=True)
    cached = Cached(photos, backbone, file, side if small else None, output)
    every, validation = None, []
    for number in range(1, epochs + 1):
        with clocks["epochs"].running():
            validation.append(keras.epoch())
        cached.run(number)
        every = every or EveryEpoch(photos, cached.classifiers[1])
        every.epoch()
        typer.echo(f"epoch {number}: validation {validation[-1]:.3f}", err=True)
    with clocks["end"].running():
        classic = keras.right()
    for number in LONGER if not small else ():
        cached.fit(number)
    assert every is not None
    rows = curves(cached, clocks, every, every.end(), epochs)
    same = np.abs(keras.features(BATCH_SIZE) - test_features(cached.extraction.cache, BATCH_SIZE))
    ours, at = right(cached.classifiers[epochs], cached.extraction), rows[epochs - 1]
    apart = difference(ours, classic)
    write_record(
        output,
        "compare_protocols",
        title="Frozen network in every epoch against features that are kept once",
        data=photos.spec,
        images=len(photos.records),
        small=small,
        weights={backbone: weights_note("random") if not real else f"published ({weights.name})"},
        fingerprints=fingerprints_of(cached.extraction.cache),
        seeds=[0],
        settings={
            "head": "linear",
            "optimizer": "adam",
            "learning_rate": LEARNING_RATE,
            "batch_size": BATCH_SIZE,
            "epochs": epochs,
            "photos": {name: len(of_split(photos, name)) for name in ("train", "val", "test")},
        },
        comparisons=[
            Comparison(
                f"ratio of total time at {epochs} epochs, Keras on JAX / featcache",
                None,
                at["wall ratio"][ARMS[0]],
                unit="x",
                note="one run, arms by turns",
            ),
            Comparison(
                f"ratio at {epochs} epochs, featcache's network in every epoch / featcache",
                None,
                at["wall ratio"][ARMS[1]],
                unit="x",
                note="what keeping the features alone gains",
            ),
            Comparison(
                f"ratio at {rows[-1]['epochs']} epochs, Keras on JAX / featcache",
                None,
                rows[-1]["wall ratio"][ARMS[0]],
                unit="x",
                note="Keras' epochs extrapolated from the median one",
            ),
            Comparison(
                "test accuracy, featcache minus Keras",
                None,
                apart["difference"],
                tuple(apart["interval"]),
                note="same photos, paired",
            ),
        ],
        result={
            "accuracy": {ARMS[0]: share(classic), ARMS[2]: share(ours), "difference": apart},
            "validation_by_epoch": {
                ARMS[0]: validation,
                ARMS[2]: cached.classifiers[epochs].history["val_score"].tolist(),
            },
            "largest_difference_of_features": float(same.max()),
            "largest_feature": float(np.abs(test_features(cached.extraction.cache, BATCH_SIZE)).max()),
            "epoch_seconds": {
                ARMS[0]: clocks["epochs"].laps,
                ARMS[1]: every.running.laps,
                "extraction": cached.extracting.laps,
            },
            "totals": rows,
            "chosen_epoch": cached.classifiers[epochs].training.get("best_epoch"),
        },
        seconds={
            "keras, photos decoded and network built": clocks["start"].wall,
            "keras, an epoch": statistics.median(lap[0] for lap in clocks["epochs"].laps[1:]),
            "featcache's network, an epoch": statistics.median(lap[0] for lap in every.running.laps[1:]),
            "featcache, extraction": statistics.median(lap[0] for lap in cached.extracting.laps),
            f"featcache, head of {epochs} epochs": cached.fitting[epochs].wall,
        },
        differs="featcache keeps the epoch of the lowest validation loss, Keras the last one",
        figures=[drawn(rows, output, "compare_protocols")],
    )


def test_features(cache: featcache.FeatureCache, most: int) -> np.ndarray:
    """Return the kept features of the first test photos, float32 ``[most, D]``."""
    return cache.features(cache.rows_of("test")[:most])


if __name__ == "__main__":
    typer.run(main)
