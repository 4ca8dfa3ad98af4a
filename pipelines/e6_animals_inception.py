"""E6: eight animals of COCO with InceptionV3, whose 1,001 classes (with "empty") give way to new logits.

Command::

    python pipelines/e6_animals_inception.py --data ANIMALS/ [--weights inception_v3.safetensors] [--small]

Published: 299 pixels, inputs in -1..1, new logits, SGD 1e-3, 10 epochs; the training loss falls from 2.79 to 0.49.

Own result: neither the published weights nor COCO can be had where this was written, so the record in
``pipelines/results/e6_animals_inception.json`` is of ``--small`` and says so: it proves the plumbing.
"""

from pathlib import Path

import typer
from fine_tuned import Small, run
from frozen_head import Data, Output, Weights

import featcache


def main(
    data: Data = "../shared/data/tf_flowers224",
    weights: Weights = None,
    output: Output = Path("runs/e6"),
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
        "e6_animals_inception",
        data=featcache.open_dataset(data),
        backbone="inception_v3.tf_in1k",  # of TF-slim: inputs in -1..1
        weights=weights,
        output=output,
        layer="mixed10:avg",
        # New logits: one epoch gives them a direction, as the original's first steps do.
        head={**sgd, "epochs": 1, "patience": 1, "scaling": "none"},
        tuning={
            **sgd,
            "train_from": "mixed8" if small else "all",
            "epochs": 10,
            "patience": 10,
            "augment": "none",
        },
        published={"train_loss": [2.79, 0.49], "epochs": 10},
        transforms={"crop_mode": "squash", "crop_pct": 1.0},
        small=small,
    )


if __name__ == "__main__":
    typer.run(main)
