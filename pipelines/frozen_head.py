"""What E1, E2, E3, E7 and E8 share: extract once, train one head, write down what came out."""

import json
import os
import platform
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import featcache

Data = Annotated[str, typer.Option(help="Dataset spec: a folder with class folders, or with splits above.")]
Weights = Annotated[str | None, typer.Option(help="Weights file, where the published one is not at hand.")]
Output = Annotated[Path, typer.Option(help="Folder for the cache, the classifier and the record.")]


def run(
    experiment: str,
    *,
    data: str,
    backbone: str,
    weights: str | None,
    output: Path,
    protocol: dict[str, Any],
    published: dict[str, Any],
    layer: str = "pool",
    squash: bool = True,
    image_size: int | tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Run one frozen-head experiment and write ``EXPERIMENT.json``.

    Parameters
    ----------
    experiment
        Name of the record.
    data, backbone, weights
        What to extract.
    output
        Folder for everything that is made.
    protocol
        Arguments of `featcache.train_head`.
    published
        What the original reports, kept beside our result.
    layer
        What is cached of the network.
    squash
        Resize whatever the aspect ratio, as Keras pipelines do, instead of the weights' own crop.
    image_size
        Input size of the original, where it is not the weights' own; see `featcache.extract`.
    """
    network = featcache.load_backbone(backbone, weights=weights, image_size=image_size)
    size = network.transforms.input_size
    transforms = network.transforms
    if squash:
        transforms = featcache.Transforms.from_json(
            transforms.to_json() | {"crop_mode": "squash", "crop_pct": 1.0}
        )
    began = time.perf_counter()
    extraction = featcache.extract(
        data,
        backbone=network,
        transforms=transforms,
        layers=(layer,),
        output=output / f"{experiment}-{backbone}.h5",
    )
    extracted = time.perf_counter()
    # As the originals: the head that validation judged is the result, on features that are standardised at most.
    own = {"refit": False, "scaling": "standard"} | protocol
    classifier = featcache.train_head(extraction, output=output / f"{experiment}-classifier", **own)
    trained = time.perf_counter()
    record = {
        "experiment": experiment,
        "data": data,
        "images": extraction.images,
        "backbone": network.name,
        "weights": weights_note(network.tag),
        "input_size": list(size),
        "layer": layer,
        "protocol": protocol,
        "published": published,
        "result": {
            split: {key: scores[key] for key in ("accuracy", "interval", "count", "loss")}
            for split, scores in classifier.metrics.items()
        },
        "seconds": {"extract": round(extracted - began, 1), "train": round(trained - extracted, 1)},
        "computed": extraction.computed,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "featcache": featcache.__version__,
    }
    if "test" in classifier.metrics:
        confusion = classifier.evaluate(extraction.path, split="test").confusion
        record["confusion"] = {"classes": list(classifier.classes), "rows_are_truth": confusion.tolist()}
    return write(record, output)


def weights_note(tag: str) -> str:
    """Say which weights a result is of: random ones prove the plumbing and nothing else."""
    if tag == "random":
        return "random: this record proves that everything runs, its accuracies mean nothing"
    return "a file of one's own" if tag == "custom" else f"published ({tag})"


def write(record: dict[str, Any], output: Path) -> dict[str, Any]:
    """Write a record as ``EXPERIMENT.json`` in the output folder, and print it."""
    text = json.dumps(record, indent=1)
    (output / f"{record['experiment']}.json").write_text(text + "\n")
    print(text)
    return record
