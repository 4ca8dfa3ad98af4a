"""E10: the sixteen pretrained MobileNets, width × resolution: what accuracy costs, and whether its order is kept.

Command::

    python pipelines/e10_mobilenet_variants.py [--weights FOLDER] [--flowers FLOWERS/] [--cats PHOTOS/] [--small]

Published: ImageNet top-1 from 70.7 % (width 1.0, 224 pixels) down to 41.3 % (width 0.25, 128 pixels).

ImageNet's photos are not here, so that each variant whose weights are in ``--weights`` is judged twice: by a linear
head on flowers, and by its own 1,000 classes on cats and dogs (is the first answer a breed of the right animal?).
Neighbours in the published order are compared photo by photo, with an interval.

Own result (five variants; 3,117 flowers, the mean of five splits of 70 / 30; 1,100 cats and dogs): the published order,
both ways. Width 0.25 at 128, 160, 192 and 224 pixels, then 0.75 at 224: flowers 81.2 < 83.4 < 84.8 < 84.9 < 88.1 %,
right animal 62.5 < 67.0 < 68.5 < 69.1 < 80.4 % (ImageNet 41.3 < 46.0 < 49.0 < 50.6 < 68.4 %). Told apart photo by photo
are 160 from 128 and 0.75 from 0.25, both ways, and 192 from 160 on flowers. 224 is not told apart from 192 (flowers
−0.3 points by photo, −1.5 to +1.0; animals +0.6, −1.6 to +2.9); ImageNet's figures differ by 1.6 points there. The head
keeps the best of 30 epochs by validation. The weights are the published numbers in files of another layout, so that the
record calls them files of one's own. 127 s of processors in all, on two shared cores of an x86-64 machine. Record:
``pipelines/results/e10_mobilenet_variants.json``.
"""

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import CATS_AND_DOGS, FLOWERS, TEXTURES, Output, Small, few
from frozen_head import judged, paired, slices, wilson
from records import Comparison, fingerprints_of, weights_note, write_record
from script import run_script

import featcache

WIDTHS = {"025": 0.25, "050": 0.5, "075": 0.75, "100": 1.0}
SIZES = (128, 160, 192, 224)
SETTINGS: dict[str, Any] = {
    "head": "linear",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "batch_size": 32,
    "epochs": 30,
    "patience": 30,
    "scaling": "standard",
}
DOGS, CATS = range(151, 269), range(281, 286)
"""ImageNet's classes of them, in its usual order: 118 breeds of dogs, 5 of cats."""

Found = dict[str, Any]


def variants(weights: str, small: bool) -> dict[str, str]:
    """Return the variants whose weights are there, and their files."""
    if small:
        return {f"mobilenet_v1_025.keras_in1k_{size}": "random" for size in SIZES[:2]}
    named = {
        f"mobilenet_v1_{width}.keras_in1k_{size}": Path(weights) / f"mobilenet_v1_{number}_{size}.h5"
        for width, number in WIDTHS.items()
        for size in SIZES
    }
    return {name: str(file) for name, file in named.items() if file.is_file()}


def measure(
    name: str,
    file: str,
    flowers: featcache.Dataset,
    cats: featcache.Dataset,
    output: Path,
    seeds: Sequence[int],
) -> Found:
    """Extract with one variant, train heads, and return what it has right."""
    began = time.perf_counter()
    network = featcache.load_backbone(name, weights=file)
    features = featcache.extract(flowers, backbone=network, output=output / f"{name}-flowers.h5").cache
    answers = featcache.extract(
        cats, backbone=network, layers=("logits",), output=output / f"{name}-cats.h5"
    ).cache
    extracted = time.perf_counter()
    cuts = slices((70, 30))
    heads = [
        judged(
            featcache.train_head(features, output=None, refit=False, seed=seed, **cuts, **SETTINGS),
            features,
            cuts["val"],
        )
        for seed in seeds
    ]
    accuracy = float(np.mean([head["accuracy"] for head in heads]))
    species = right_animal(answers)
    return {
        "variant": name,
        "imagenet_top1": network.pretrained.top1,
        "input_size": list(network.transforms.input_size),
        "macs": network.pretrained.macs,
        "params": network.pretrained.params,
        "flowers": {
            "accuracy": accuracy,
            "interval": np.mean([head["interval"] for head in heads], axis=0).tolist(),
            "splits": [head["accuracy"] for head in heads],
        },
        "animals": {"accuracy": species.mean(), "interval": wilson(float(species.mean()), len(species))},
        "seconds": {"extract": extracted - began, "heads": time.perf_counter() - extracted},
        "weights": f"{weights_note(network.tag)} ({Path(file).name})",
        "fingerprints": fingerprints_of(features, answers),
        "heads": heads,
        "species": species,
    }


def right_animal(cache: featcache.FeatureCache) -> np.ndarray:
    """Return of which photos the network's own first answer is a breed of the right animal, bool ``[N]``."""
    first = cache.to_numpy("logits").argmax(axis=1)
    said = np.where(np.isin(first, list(DOGS)), "dog", np.where(np.isin(first, list(CATS)), "cat", "neither"))
    return said == np.array([cache.classes[label] for label in cache.labels])


def neighbours(rows: Sequence[Found]) -> list[Found]:
    """Return the differences between neighbours in the published order, photo by photo, with 95 % intervals."""
    found = []
    for low, high in pairwise(rows):
        pairs = zip(high["heads"], low["heads"], strict=True)
        photos = np.arange(len(low["species"]))
        measured = {
            "flowers": paired([(own["rows"], own["right"], other["right"]) for own, other in pairs]),
            "animals": paired([(photos, high["species"], low["species"])]),
        }
        found.append(
            {
                "better": high["variant"],
                "than": low["variant"],
                "published_difference": (high["imagenet_top1"] - low["imagenet_top1"]) / 100,
                **{
                    where: {"difference": difference, "interval": ends, "verdict": verdict(*ends)}
                    for where, (difference, ends) in measured.items()
                },
            }
        )
    return found


def verdict(low: float, high: float) -> str:
    """Return what an interval of a difference says of the published order."""
    if low > 0:
        return "as published"
    return "the other way round" if high < 0 else "not told apart"


def main(
    weights: Annotated[
        str, typer.Option(help="Folder with the weights, WIDTH_SIZE.h5.")
    ] = "../shared/weights",
    flowers: Annotated[str, typer.Option(help="Flowers: a folder of class folders.")] = FLOWERS,
    cats: Annotated[str, typer.Option(help="Photos of the classes cat and dog.")] = CATS_AND_DOGS,
    output: Output = Path("runs/e10"),
    small: Small = False,
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    specs = [TEXTURES, TEXTURES] if small else [flowers, cats]
    data = [few(found) if small else found for found in map(featcache.open_dataset, specs)]
    seeds = range(2 if small else 5)
    rows = [
        measure(name, file, data[0], data[1], output, seeds)
        for name, file in variants(weights, small).items()
    ]
    if not rows:
        raise SystemExit(
            f"{weights}: none of the sixteen files, such as mobilenet_v1_0.25_128.h5; name another"
        )
    rows.sort(key=lambda row: row["imagenet_top1"])
    write_record(
        output,
        "e10_mobilenet_variants",
        title="E10: MobileNetV1, width × resolution: accuracy against cost",
        data=" and ".join(each.spec for each in data),
        images=sum(len(each.records) for each in data),
        small=small,
        weights={row["variant"]: row["weights"] for row in rows},
        fingerprints=[text for row in rows for text in row["fingerprints"]],
        seeds=list(seeds),
        settings={**SETTINGS, **slices((70, 30))},
        comparisons=[
            Comparison(
                f"{row['variant'].removeprefix('mobilenet_v1_').replace('.keras_in1k_', ' at ')}, {what}",
                row["imagenet_top1"] / 100,
                row[where]["accuracy"],
                tuple(row[where]["interval"]),
                note="published is ImageNet's top-1",
            )
            for where, what in (
                ("flowers", "linear head on flowers"),
                ("animals", "its own classes, cat or dog"),
            )
            for row in rows
        ],
        result={
            "variants": [
                {key: value for key, value in row.items() if key not in ("heads", "species", "fingerprints")}
                for row in rows
            ],
            "order": neighbours(rows),
        },
        seconds={stage: sum(row["seconds"][stage] for row in rows) for stage in ("extract", "heads")},
        differs=f"{len(rows)} of the 16 variants, whose weights are here; flowers, cats and dogs instead of ImageNet",
    )


if __name__ == "__main__":
    run_script(main)
