"""E4: eight animals of COCO with VGG16: the last layer for ten epochs, then all layers for ten.

Command::

    python pipelines/e4_animals_vgg16.py --data ANIMALS/ [--weights vgg16_weights.h5] [--small]

Published, with 800 / 200 photos: 224 pixels, the mean subtracted, crop or pad; SGD 1e-3, batch 32. The five most
probable classes of each picture before and after: zebra, horse, bird and bear are right with ImageNet's classes
already, the giraffe (which ImageNet does not have) only afterwards.

Own result: neither the published weights nor COCO can be had where this was written, so the record in
``pipelines/results/e4_animals_vgg16.json`` is of ``--small`` and says so: it proves the plumbing.
"""

from pathlib import Path

import typer
from fine_tuned import Small, run
from frozen_head import Data, Output, Weights

import featcache


def main(
    data: Data = "../shared/data/tf_flowers224",
    weights: Weights = None,
    output: Output = Path("runs/e4"),
    small: Small = False,
) -> None:
    sgd = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 1e-3,
        "batch_size": 32,
        "schedule": "constant",
    }
    run(
        "e4_animals_vgg16",
        data=featcache.open_dataset(data),
        backbone="vgg16",
        weights=weights,
        output=output,
        layer="pool" if small else "fc2",  # the dense layers take 224 pixels only
        head={**sgd, "epochs": 10, "patience": 10, "scaling": "none"},
        tuning={**sgd, "train_from": "all", "epochs": 10, "patience": 10, "augment": "none"},
        published={
            "right_before": ["zebra", "horse", "bird", "bear"],
            "right_only_after": ["giraffe"],
            "photos": [800, 200],
        },
        transforms={"crop_mode": "crop_or_pad", "crop_pct": 1.0},
        small=small,
    )


if __name__ == "__main__":
    typer.run(main)
