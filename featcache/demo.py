"""The main job from end to end, on photos and weights that come with the install."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from featcache.backbones import DEFAULT
from featcache.classifier import Classifier
from featcache.errors import MissingFileError
from featcache.extraction import Extraction, OnProgress, extract
from featcache.metrics import Evaluation
from featcache.prediction import Prediction
from featcache.sources.folder import image_files
from featcache.trainer import train_head


@dataclass(frozen=True)
class Demo:
    """What the demo did and where it is.

    Parameters
    ----------
    dataset
        The photos.
    extraction, classifier, evaluation, predictions
        The results of the four steps.
    folder
        The classifier's folder.
    seconds
        Wall time in all.
    """

    dataset: Path
    extraction: Extraction
    classifier: Classifier
    evaluation: Evaluation
    predictions: list[Prediction]
    folder: Path
    seconds: float


def demo_dataset() -> Path:
    """Return the folder of the textures: in the package as a wheel installs it, beside the package in a checkout.

    Raises
    ------
    MissingFileError
        If neither is there.
    """
    package = Path(__file__).resolve().parent
    installed, checkout = (parent / "data" / "textures" for parent in (package, package.parent))
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise MissingFileError(
        f"the demo's photos are neither at {installed} nor at {checkout}, so this installation is not whole; "
        "install featcache again, or run featcache extract on photos of your own"
    )


def run_demo(
    output: str | os.PathLike[str] = "featcache-demo",
    *,
    backbone: str = DEFAULT,
    on_progress: OnProgress | None = None,
) -> Demo:
    """Extract, train a head, evaluate it, and classify one test photo of each class.

    Parameters
    ----------
    output
        Folder for the cache and the classifier.
    backbone
        Which network.
    on_progress
        Called as the extraction proceeds.
    """
    started = time.monotonic()
    dataset = demo_dataset()
    target = Path(output)
    extraction = extract(
        dataset, backbone=backbone, output=target / f"textures-{backbone}.h5", on_progress=on_progress
    )
    folder = target / "classifier"
    classifier = train_head(extraction, output=folder)
    evaluation = classifier.evaluate(split="test")
    files, _ = image_files(dataset / "test")
    first_of_class = {file.parent: file for file in reversed(files)}
    predictions = classifier.predict(sorted(first_of_class.values()), top=2)
    seconds = time.monotonic() - started
    return Demo(dataset, extraction, classifier, evaluation, predictions, folder, seconds)
