"""E3: tf_flowers on frozen InceptionV3 features of 299 pixels, linear softmax, Adam, 6 epochs, 70/30.

Command::

    python pipelines/e3_flowers_inception.py --data FLOWERS/ [--weights inception_v3_weights.h5 | random]

Published: validation accuracy 88.6 % on 2590/1080 of the 3,670 photos; 35 s per epoch.

Own result: the published weights cannot be had where this was written, so the record in
``pipelines/results/e3_flowers_inception.json`` is of random weights and says so: it proves the plumbing.
"""

from pathlib import Path

import typer
from frozen_head import Data, Output, Weights, run


def main(
    data: Data = "../shared/data/tf_flowers224", weights: Weights = None, output: Output = Path("runs/e3")
) -> None:
    run(
        "e3_flowers_inception",
        data=data,
        backbone="inception_v3",
        weights=weights,
        output=output,
        protocol={
            "head": "linear",
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "batch_size": 32,
            "epochs": 6,
            "patience": 6,
            "val_fraction": 0.3,  # only where the dataset has no validation split of its own
        },
        published={"val_accuracy": 0.886, "seconds_per_epoch": 35, "epochs": 6},
    )


if __name__ == "__main__":
    typer.run(main)
