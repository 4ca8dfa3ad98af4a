"""Accuracy against cost: every backbone whose published weights are here, on one dataset, and the Pareto front.

Command::

    python pipelines/zoo_leaderboard.py [--data PHOTOS/] [--weights FOLDER] [--most 100]

Question: which backbone is worth its price? Price is the multiply-accumulates of one photo, and what it took here:
milliseconds of processor time for each photo (decoding, network and writing; other load on the machine changes it less
than photos per second). The head is the same for all: logistic regression, whose strength folds choose.

Result (flowers, ``--most 100``: 500 photos of the training split, 493 test photos; 2 cores on which much else was
running, 130 s of processors): on the front are MobileNetV1 0.25 at 128, 160 and 192 pixels (79.9, 81.9 and 82.8 %, 3
ms of processors a photo), MobileNetV2 (88.0 %, 11.5 ms) and EfficientNet-Lite0 (89.5 %, 14.6 ms). Of MobileNetV2,
MobileNetV1 0.75 and Lite0 to 2 none is told apart from the one that validation chooses, Lite2 (89.0 %, 33 ms), and
all of width 0.25 are 6 to 9 points behind it. So more than Lite0 pays nothing on these photos, and the order within
either group is not shown. Milliseconds include compilation. Record: ``pipelines/results/zoo_leaderboard.json`` and
``.svg``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from common import FLOWERS, SMALL_SIZE, Data, Output, Small
from records import Comparison, fingerprints_of, write_record
from script import run_script
from study import (
    PALETTE,
    Clock,
    Most,
    difference,
    new_figure,
    open_photos,
    right,
    save_figure,
    share,
)

import featcache

ZOO: Mapping[str, str | None] = {
    "mobilenet_v1_025.keras_in1k_128": "mobilenet_v1_0.25_128.h5",
    "mobilenet_v1_025.keras_in1k_160": "mobilenet_v1_0.25_160.h5",
    "mobilenet_v1_025.keras_in1k_192": "mobilenet_v1_0.25_192.h5",
    "mobilenet_v1_025.keras_in1k_224": "mobilenet_v1_0.25_224.h5",
    "mobilenet_v1_075.keras_in1k_224": "mobilenet_v1_0.75_224.h5",
    "mobilenet_v2.tv_in1k": "mobilenet_v2-b0353104.pth",
    "efficientnet_lite0.tf_in1k": None,
    "efficientnet_lite1.tf_in1k": None,
    "efficientnet_lite2.tf_in1k": None,
}
"""Backbone to its file in the folder of weights; ``None``: the extra ``weights`` brings it."""

LEFT_OUT = (
    "All other backbones of `featcache backbones` are left out: their published weights could not be had here, and "
    "random ones have no accuracy"
)


def on_front(rows: Sequence[Mapping[str, Any]], cost: str, score: str = "accuracy") -> list[str]:
    """Return the backbones that are better than every cheaper one, cheapest first."""
    best, names = -1.0, []
    for row in sorted(rows, key=lambda own: (own[cost], -own[score])):
        if row[score] > best:
            best = row[score]
            names.append(row["backbone"])
    return names


def measured(
    name: str, weights: str | None, photos: featcache.Dataset, output: Path, size: int | None
) -> tuple[dict[str, Any], Any, featcache.FeatureCache]:
    """Return a backbone's row, which test photos its head has right, and its cache."""
    network = featcache.load_backbone(name, weights=weights, image_size=size)
    clock = Clock()
    with clock.running():
        extraction = featcache.extract(photos, backbone=network, output=output / f"{name}.h5")
    classifier = featcache.train_head(extraction, output=None, head="logistic", calibrate=False)
    correct, cost = right(classifier, extraction), extraction.cache.extraction_cost
    each = clock.processor / extraction.computed if extraction.computed else None
    row = {
        "backbone": name,
        "macs": network.pretrained.macs,
        "params": network.pretrained.params,
        "imagenet_top1": network.pretrained.top1,
        "input_size": list(network.transforms.input_size),
        "images_per_second": cost and cost.images_per_second,
        "processor_ms_per_image": None if each is None else round(1000 * each, 2),
        "engine": extraction.engine,
        "val_accuracy": classifier.metrics["val"]["accuracy"],
        **share(correct),
    }
    return row, correct, extraction.cache


def drawn(rows: list[dict[str, Any]], front: list[str], output: Path) -> str:
    """Draw accuracy against multiply-accumulates, with intervals; the front is joined by a line."""
    figure, axes = new_figure()
    for row in rows:
        colour = PALETTE[0] if row["backbone"] in front else PALETTE[6]
        low, high = (abs(100 * (row["accuracy"] - end)) for end in row["interval"])
        axes.errorbar(
            row["macs"] / 1e6, 100 * row["accuracy"], [[low], [high]], color=colour, marker="o", capsize=2
        )
        place = (row["macs"] / 1e6, 100 * row["accuracy"])
        text = row["backbone"].replace(".keras_in1k_", "@").partition(".")[0]
        axes.annotate(text, place, xytext=(5, -9), textcoords="offset points", fontsize=7)
    ends = [row for name in front for row in rows if row["backbone"] == name]
    points = [(row["macs"] / 1e6, 100 * row["accuracy"]) for row in ends]
    axes.plot(*zip(*points, strict=True), color=PALETTE[0], linewidth=1)
    axes.set(xscale="log", xlabel="million multiply-accumulates for a photo", ylabel="test accuracy, %")
    axes.set_title("Accuracy against cost, 95 % intervals")
    return save_figure(figure, output, "zoo_leaderboard")


def main(
    data: Data = FLOWERS,
    weights: Annotated[str, typer.Option(help="Folder with the files of weights.")] = "../shared/weights",
    output: Output = Path("runs/zoo_leaderboard"),
    most: Most = None,
    small: Small = False,
) -> None:
    photos = open_photos(data, small, most)
    zoo = dict(list(ZOO.items())[:2]) if small else ZOO
    rows, correct, caches, missing = [], {}, [], []
    for name, file in zoo.items():
        path = None if file is None else str(Path(weights) / file)
        if path is not None and not small and not Path(path).is_file():
            missing.append(name)
            continue
        given = "random" if small else path
        row, correct[name], cache = measured(name, given, photos, output, SMALL_SIZE if small else None)
        rows.append(row)
        caches.append(cache)
        typer.echo(f"{name}: {row['accuracy']:.3f}", err=True)
    front = on_front(rows, "macs")
    best = max(rows, key=lambda row: row["val_accuracy"])["backbone"]
    behind = {name: difference(correct[best], own) for name, own in correct.items() if name != best}
    write_record(
        output,
        "zoo_leaderboard",
        title="Accuracy against cost over the backbones with published weights here",
        data=photos.spec,
        images=len(photos.records),
        small=small,
        weights={row["backbone"]: "random" if small else "published" for row in rows},
        fingerprints=fingerprints_of(*caches),
        seeds=[0],
        settings={"head": "logistic", "c": "chosen by folds", "layer": "pool"},
        comparisons=[
            Comparison(
                f"{row['backbone']}, {row['macs'] / 1e6:.0f} million multiply-accumulates: test accuracy",
                None,
                row["accuracy"],
                tuple(row["interval"]),
                note="on the front" if row["backbone"] in front else "",
            )
            for row in rows
        ],
        result={
            "backbones": rows,
            "front": front,
            "chosen_on_validation": best,
            "ahead_of": behind,
            "missing": missing,
        },
        seconds={
            row["backbone"]: (cost.seconds if (cost := cache.extraction_cost) else 0.0)
            for row, cache in zip(rows, caches, strict=True)
        },
        differs=LEFT_OUT,
        figures=[drawn(rows, front, output)],
    )


if __name__ == "__main__":
    run_script(main)
