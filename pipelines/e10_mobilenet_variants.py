"""E10: the sixteen pretrained MobileNets, width × resolution: what accuracy costs.

Command::

    python pipelines/e10_mobilenet_variants.py --data PHOTOS/ [--weights FOLDER | random]

Published: ImageNet top-1 from 70.7 % (width 1.0, 224 pixels) down to 41.3 % (width 0.25, 128 pixels).

For each variant the features of a dataset are cached and one linear head is trained, all with the same settings; the
record has accuracy, interval, multiply-accumulates and parameters side by side, and which variants no other one
beats at their price. With ``--weights FOLDER`` the files are looked for there under their published names.

Own result: the published weights cannot be had where this was written, so the record in
``pipelines/results/e10_mobilenet_variants.json`` is of random weights and says so: it proves the plumbing.
"""

import os
import platform
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from frozen_head import Data, Output, weights_note, write

import featcache
from featcache.backbones.family import Pretrained
from featcache.backbones.registry import pretrained_weights

PUBLISHED_TOP1 = {"mobilenet_v1_100.keras_in1k_224": 70.7, "mobilenet_v1_025.keras_in1k_128": 41.3}

SETTINGS: dict[str, Any] = {"head": "linear", "optimizer": "adam", "learning_rate": 1e-3, "epochs": 30}


def variants() -> list[Pretrained]:
    """Return the sixteen, cheapest first."""
    found = [
        weights
        for weights in pretrained_weights().values()
        if weights.arch.startswith("mobilenet_v1") and weights.tag.startswith("keras")
    ]
    return sorted(found, key=lambda weights: weights.macs)


def measure(variant: Pretrained, data: str, weights: str | None, output: Path) -> dict[str, Any]:
    """Extract with one variant, train one head, and return a row of the record."""
    began = time.perf_counter()
    network = featcache.load_backbone(variant.name, weights=weights)
    extraction = featcache.extract(data, backbone=network, output=output / f"{variant.name}.h5")
    extracted = time.perf_counter()
    classifier = featcache.train_head(extraction, output=None, refit=False, scaling="standard", **SETTINGS)
    scores = classifier.metrics.get("test") or classifier.metrics["val"]
    return {
        "variant": variant.name,
        "input_size": list(variant.transforms.input_size),
        "macs": variant.macs,
        "params": variant.params,
        "features": variant.features,
        "imagenet_top1": variant.top1,
        "weights": weights_note(network.tag),
        "accuracy": scores["accuracy"],
        "interval": scores["interval"],
        "images": extraction.images,
        "extract_seconds": round(extracted - began, 1),
    }


def front(rows: list[dict[str, Any]]) -> list[str]:
    """Return the variants that are better than every cheaper one; `rows` are sorted by cost."""
    best, names = -1.0, []
    for row in rows:
        if row["accuracy"] > best:
            best = row["accuracy"]
            names.append(row["variant"])
    return names


def main(
    data: Data = "../shared/data/cats_vs_dogs",
    weights: Annotated[str | None, typer.Option(help="Folder with the published files, or 'random'.")] = None,
    output: Output = Path("runs/e10"),
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for variant in variants():
        own = weights if weights in (None, "random") else str(Path(weights) / variant.file.filename)
        rows.append(measure(variant, data, own, output))
        typer.echo(f"{rows[-1]['variant']}: {rows[-1]['accuracy']:.3f}", err=True)
    write(
        {
            "experiment": "e10_mobilenet_variants",
            "data": data,
            "settings": SETTINGS,
            "published_imagenet_top1": PUBLISHED_TOP1,
            "variants": rows,
            "front": front(rows),
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
            "featcache": featcache.__version__,
        },
        output,
    )


if __name__ == "__main__":
    typer.run(main)
