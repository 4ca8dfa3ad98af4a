"""What E4, E5, E6 and E9 share: a frozen head first, then fine-tuning, and pictures before and after."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from common import Data, Material, Output, Small, Weights, few, with_transforms
from records import Comparison, fingerprints_of, weights_note, write_record

import featcache

__all__ = ["SMALL_IMAGES", "Data", "Output", "Small", "Weights", "few", "run"]

SMALL_IMAGES = 3
"""Of each class and split: all layers of VGG16 learn from them."""


class Predicts(Protocol):
    """A classifier, or a backbone with its own classes."""

    def predict(self, images: Any, *, top: int = 5) -> Any: ...


def run(
    name: str,
    *,
    title: str,
    material: Material,
    output: Path,
    layer: str,
    head: Mapping[str, Any],
    tuning: Mapping[str, Any],
    transforms: Mapping[str, Any],
    published: Sequence[tuple[str, float | None, str]],
    differs: str,
    cached_cut: str | None = None,
) -> Path:
    """Run one experiment and write its record.

    Parameters
    ----------
    name, title
        Of the record.
    material
        Photos and backbone.
    output
        Folder for everything that is made.
    layer
        What the head takes.
    head, tuning
        Arguments of `featcache.train_head` and `featcache.finetune`.
    transforms
        What the original's preprocessing has otherwise than the weights' own.
    published
        Name, number and unit of what the original reports. ``"training loss"`` is compared with the last epoch's.
    differs
        What differs from the original.
    cached_cut
        A stage whose output is cached once, to fine-tune from.
    """
    output.mkdir(parents=True, exist_ok=True)
    data, network, small = material.data, material.network, material.small
    if small:
        head, tuning = {**head, "epochs": 2}, {**tuning, "epochs": 1, "batch_size": 8}
    common = {"backbone": network, "transforms": with_transforms(network, **transforms)}
    photos = pictures(data, output / "pictures")
    before = {} if small else looked_at(featcache.backbone_predictor(network), photos)
    features = featcache.extract(data, layers=(layer,), output=output / f"{name}.h5", **common)
    frozen = featcache.train_head(features, output=output / f"{name}-head", refit=False, **head)
    caches, source = [features.cache], {"dataset": data}
    if cached_cut is not None:
        cut = featcache.extract(
            data, layers=(f"{cached_cut}:map",), dtype="float16", output=output / f"{name}-cut.h5", **common
        )
        caches, source = [*caches, cut.cache], {"cache": cut.path}
    place = output / f"{name}-tuned"
    interrupted = (output / f"{name}-tuned.run").is_dir()
    tuned = featcache.finetune(frozen, output=place, **source, **tuning, resume=interrupted)
    reloaded = featcache.Classifier.load(place)
    return write_record(
        output,
        name,
        title=title,
        data=data.spec,
        images=len(data.records),
        small=small,
        weights={network.name: weights_note(network.tag)},
        fingerprints=fingerprints_of(*caches),
        seeds=[frozen.settings.seed],
        settings={
            "layer": layer,
            "head": head,
            "tuning": tuning,
            "transforms": common["transforms"].to_json(),
            "cached_cut": cached_cut,
        },
        comparisons=[
            *compared(published, tuned),
            Comparison("accuracy, frozen head", None, tuned.frozen.accuracy, tuned.frozen.interval),
            Comparison("accuracy, fine-tuned", None, tuned.tuned.accuracy, tuned.tuned.interval),
        ],
        result={
            "frozen": tuned.frozen.to_json(),
            "tuned": tuned.tuned.to_json(),
            "verdict": tuned.verdict,
            "history": [dict(record) for record in tuned.history],
            "pictures": {
                "imagenet_before": before,
                "frozen_head": looked_at(frozen, photos),
                "tuned": looked_at(reloaded, photos),
            },
        },
        seconds={"head": frozen.training["seconds"], "finetune": tuned.seconds},
        differs=differs,
    )


def compared(
    published: Sequence[tuple[str, float | None, str]], tuned: featcache.FineTuning
) -> list[Comparison]:
    """Return what the original reports beside ours, where we have the like."""
    losses = [record["loss"] for record in tuned.history if record.get("loss") is not None]
    ours = {"training loss": losses[-1] if losses else None}
    return [Comparison(what, number, ours.get(what), unit=unit) for what, number, unit in published]


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


def looked_at(predictor: Predicts, photos: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Return the five most probable classes of each picture."""
    return {
        Path(found.id).name: {
            name: round(p, 4) for name, p in zip(found.classes, found.probabilities, strict=True)
        }
        for found in predictor.predict(photos, top=5)
    }
