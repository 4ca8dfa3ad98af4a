"""Few shots: all kinds of heads from 1 photo of each class to all of them, 20 draws each, on cached features.

Command::

    python pipelines/few_shot.py [--data PHOTOS/] [--backbone efficientnet_lite0]

Question: which head is best at which number of training photos? Each head's settings are chosen by validation photos
for each number of shots (mean over the draws), and the chosen ones read the test photos. Draws are the same for all
heads, so that heads are compared draw by draw. Without a cache this is thousands of passes over the photos.

Result (EfficientNet-Lite0, tf_flowers, 548 test photos; two busy cores, 279 s of processors), mean test accuracy in %
over the draws:

========= ==== ==== ==== ==== ==== ==== ====
shots        1    2    5   10   20   50  all
========= ==== ==== ==== ==== ==== ==== ====
logistic  47.1 60.2 72.4 79.0 82.9 86.8 92.0
ridge     47.8 60.5 72.5 79.1 83.0 86.7 92.2
linear    47.2 59.4 72.6 79.3 82.9 86.9 91.3
mlp       47.6 61.1 73.4 79.3 83.5 86.5 92.0
knn       45.7 58.0 68.7 75.0 80.0 84.5 91.2
prototype 45.7 59.0 70.6 76.1 79.4 81.1 82.1
========= ==== ==== ==== ==== ==== ==== ====

An interval of one number is about ± 3 points (draws and photos drawn again). Draw by draw, heads that learn weights are
within a point or two of each other at every number of shots; neighbours are 1 to 4 points behind until there are all
photos, and prototypes fall back from 10 shots on. Record and figure: ``pipelines/results/few_shot.json``, ``.svg``.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import FLOWERS, Data, Output, Small, Weights, load_network
from records import Comparison, fingerprints_of, weights_note, write_record
from script import run_script
from study import (
    MARKERS,
    PALETTE,
    Clock,
    Most,
    new_figure,
    open_photos,
    over_draws,
    over_draws_and_photos,
    save_figure,
)

import featcache

SHOTS = "1,2,5,10,20,50,all"
HEADS: dict[str, dict[str, Any]] = {
    "logistic": {"c": "1e-3:1e2:log6"},
    "ridge": {"l2": "1e-2:1e4:log7"},
    "prototype": {},
    "knn": {"neighbours": "1,5,20"},
    "linear": {"learning_rate": "1e-3,1e-2", "epochs": "100", "patience": "20"},
    "mlp": {"learning_rate": "1e-3", "hidden": "64", "epochs": "100", "patience": "20"},
}
"""Kinds of heads, and what is tried of each."""


def swept(cache: featcache.FeatureCache, head: str, shots: str, seeds: int, output: Path) -> dict[str, Any]:
    """Return what one kind of head reaches at each number of shots; the settings are chosen on validation photos."""
    result = featcache.sweep(
        cache,
        output=output / head,
        head=head,
        shots=shots,
        seeds=seeds,
        select="val",
        save_best=False,
        calibrate=False,
        refit=False,
        **HEADS[head],
    )
    found = {}
    for choice in result.choices:
        own = choice.entry.key.settings
        assert choice.test is not None  # the photos have a split for testing
        found["all" if choice.shots is None else str(choice.shots)] = {
            "chosen": {name: getattr(own, name) for name in HEADS[head]},
            "val_accuracy": choice.entry.accuracy,
            "test_accuracy": choice.test.mean,
            "interval": list(over_draws_and_photos(choice.test.values, choice.test.interval)),
            "draws": list(choice.test.values),
        }
    return found


def best_heads(found: dict[str, dict[str, Any]], shots: str) -> dict[str, Any]:
    """Return the head that validation chooses at a number of shots, and which others are not told apart from it.

    They are compared draw by draw: Student's t on the differences in test accuracy.
    """
    rows = {head: own[shots] for head, own in found.items()}
    best = max(rows, key=lambda head: rows[head]["val_accuracy"])
    behind = {
        head: over_draws(np.subtract(rows[best]["draws"], own["draws"]).tolist())
        for head, own in rows.items()
        if head != best
    }
    alike = [head for head, own in behind.items() if own["interval"][0] <= 0 <= own["interval"][1]]
    return {"head": best, "not_told_apart": alike, "ahead_of": behind}


def drawn(found: dict[str, dict[str, Any]], output: Path) -> str:
    """Draw test accuracy over the number of shots, with intervals."""
    figure, axes = new_figure()
    for (head, own), colour, marker in zip(found.items(), PALETTE, MARKERS, strict=False):
        places = np.arange(len(own))
        values = [100 * row["test_accuracy"] for row in own.values()]
        axes.plot(places, values, color=colour, marker=marker, markersize=4, label=head)
        low, high = ([100 * row["interval"][end] for row in own.values()] for end in (0, 1))
        axes.fill_between(places, low, high, color=colour, alpha=0.08, linewidth=0)
    names = list(next(iter(found.values())))
    axes.set_xticks(range(len(names)), names)
    axes.set(xlabel="training photos of each class", ylabel="test accuracy, %")
    axes.set_title("Heads by number of shots, 95 % over draws and photos")
    axes.legend(frameon=False, loc="lower right")
    return save_figure(figure, output, "few_shot")


def main(
    data: Data = FLOWERS,
    backbone: Annotated[str, typer.Option(help="Network.")] = "efficientnet_lite0",
    weights: Weights = None,
    output: Output = Path("runs/few_shot"),
    seeds: Annotated[int, typer.Option(help="Draws of the training photos.")] = 20,
    most: Most = None,
    small: Small = False,
) -> None:
    photos, shots, heads = open_photos(data, small, most), SHOTS, list(HEADS)
    if small:
        shots, seeds, heads = "1,all", 2, ["ridge", "prototype"]
    network = load_network(backbone, weights, small)
    extracting, fitting = Clock(), Clock()
    with extracting.running():
        extraction = featcache.extract(photos, backbone=network, output=output / "features.h5")
    found = {}
    for head in heads:
        with fitting.running():
            found[head] = swept(extraction.cache, head, shots, seeds, output)
        typer.echo(f"{head}: {fitting.laps[-1][0]:.0f} s", err=True)
    numbers = list(found[heads[0]])
    best = {number: best_heads(found, number) for number in numbers}
    write_record(
        output,
        "few_shot",
        title="Heads by number of training photos",
        data=photos.spec,
        images=extraction.images,
        small=small,
        weights={network.name: weights_note(network.tag)},
        fingerprints=fingerprints_of(extraction.cache),
        seeds=list(range(seeds)),
        settings={"shots": numbers, "heads": {head: HEADS[head] for head in heads}, "val_fraction": 0.2},
        comparisons=[
            Comparison(
                f"{number} shots: {best[number]['head']}, test accuracy",
                None,
                found[best[number]["head"]][number]["test_accuracy"],
                tuple(found[best[number]["head"]][number]["interval"]),
                note=f"not told apart: {', '.join(best[number]['not_told_apart']) or 'none'}",
            )
            for number in numbers
        ],
        result={"heads": found, "best": best},
        seconds={"extract": extracting.wall, "heads": fitting.wall},
        figures=[drawn(found, output)],
    )


if __name__ == "__main__":
    run_script(main)
