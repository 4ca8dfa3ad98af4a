"""featcache's way, features that are kept once, and the fairest classic way: its own network in every epoch."""

import statistics
from pathlib import Path
from typing import Any

from study import Clock

import featcache

LEARNING_RATE, BATCH_SIZE = 1e-3, 32
HEAD: dict[str, Any] = {
    "head": "linear",
    "optimizer": "adam",
    "learning_rate": LEARNING_RATE,
    "batch_size": BATCH_SIZE,
    "weight_decay": 0.0,
    "scaling": "none",
}
"""The head that all ways fit: a softmax on the raw features."""


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
                epochs=epochs,
                patience=epochs,
                refit=False,
                calibrate=False,
                **HEAD,
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
