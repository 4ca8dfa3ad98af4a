"""What E4, E5, E6 and E9 share: a frozen head first, then fine-tuning, and pictures before and after."""

import os
import platform
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from frozen_head import weights_note, write

import featcache
from featcache.classifier.prediction import Predictor, backbone_predictor

Small = Annotated[
    bool, typer.Option("--small", help="A few small photos, drawn weights, one epoch: proves the plumbing.")
]

SMALL_SIZE = 96
SMALL_IMAGES = 12


def few(data: featcache.Dataset, images: int = SMALL_IMAGES) -> featcache.Dataset:
    """Return the first images of each class in each split."""
    seen: Counter[tuple[str, int]] = Counter()
    records = []
    for record in data.records:
        key = (record.split, record.label)
        seen[key] += 1
        if seen[key] <= images:
            records.append(record)
    return replace(data, records=records)


def pictures(data: featcache.Dataset, folder: Path) -> list[Path]:
    """Write one picture of each class outside the training split into a folder, to look at before and after."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, Path] = {}
    for record in data.records:
        if record.label not in found and (record.split != "train" or len(data.splits) == 1):
            name = f"{data.classes[record.label]}{Path(record.id).suffix}"
            path = folder / name.replace("/", "_")
            path.write_bytes(record.read())
            found[record.label] = path
    return list(found.values())


def looked_at(
    predictor: "Predictor | featcache.Classifier", photos: list[Path]
) -> dict[str, dict[str, float]]:
    """Return the five most probable classes of each picture."""
    return {
        Path(found.id).name: {
            name: round(p, 4) for name, p in zip(found.classes, found.probabilities, strict=True)
        }
        for found in predictor.predict(photos, top=5)
    }


def run(
    experiment: str,
    *,
    data: featcache.Dataset,
    backbone: str,
    weights: str | None,
    output: Path,
    layer: str,
    head: dict[str, Any],
    tuning: dict[str, Any],
    published: dict[str, Any],
    transforms: dict[str, Any],
    small: bool,
    cached_cut: str | None = None,
) -> dict[str, Any]:
    """Run one experiment and write ``EXPERIMENT.json``.

    Parameters
    ----------
    experiment
        Name of the record.
    data, backbone, weights
        What to learn from, and with what.
    output
        Folder for everything that is made.
    layer
        What the head takes.
    head, tuning
        Arguments of `featcache.train_head` and `featcache.finetune`.
    published
        What the original reports, kept beside our result.
    transforms
        What the original's preprocessing has otherwise than the weights' own.
    small
        Prove the plumbing: few and small photos, drawn weights, one epoch.
    cached_cut
        A stage whose output is cached once, to fine-tune from.
    """
    output.mkdir(parents=True, exist_ok=True)
    if small:
        data, weights = few(data), weights or "random"
        head, tuning = head | {"epochs": 2}, tuning | {"epochs": 1, "batch_size": 8}
    network = featcache.load_backbone(backbone, weights=weights, image_size=SMALL_SIZE if small else None)
    chosen = featcache.Transforms.from_json(network.transforms.to_json() | transforms)
    common = {"backbone": network, "transforms": chosen}
    photos = pictures(data, output / "pictures")
    before = looked_at(backbone_predictor(network), photos) if not small else {}
    features = featcache.extract(data, layers=(layer,), output=output / f"{experiment}.h5", **common)
    own = {"refit": False, "scaling": "standard"} | head  # as the originals
    frozen = featcache.train_head(features, output=output / f"{experiment}-head", **own)
    source: dict[str, Any] = {"dataset": data}
    if cached_cut is not None:
        cut = featcache.extract(
            data,
            layers=(f"{cached_cut}:map",),
            dtype="float16",
            output=output / f"{experiment}-cut.h5",
            **common,
        )
        source = {"cache": cut.path}
    place = output / f"{experiment}-tuned"
    tuned = featcache.finetune(
        frozen, output=place, **source, **tuning, resume=(output / f"{experiment}-tuned.run").is_dir()
    )
    reloaded = featcache.Classifier.load(place)
    return write(
        {
            "experiment": experiment,
            "data": data.spec,
            "images": len(data.records),
            "small": small,
            "backbone": network.name,
            "weights": weights_note(network.tag),
            "input_size": list(chosen.input_size),
            "layer": layer,
            "head": head,
            "tuning": tuning,
            "published": published,
            "frozen": tuned.frozen.to_json(),
            "tuned": tuned.tuned.to_json(),
            "verdict": tuned.verdict,
            "history": [dict(record) for record in tuned.history],
            "pictures": {
                "imagenet_before": before,
                "frozen_head": looked_at(frozen, photos),
                "tuned": looked_at(reloaded, photos),
            },
            "seconds": {"finetune": round(tuned.seconds, 1), "head": frozen.training["seconds"]},
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
            "featcache": featcache.__version__,
        },
        output,
    )
