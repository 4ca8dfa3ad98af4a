"""E8: cats vs dogs on frozen VGG16 features of 150 pixels, flattened, dense 256, one sigmoid.

Command::

    python pipelines/e8_cats_vs_dogs_vgg16_150.py --data PHOTOS/ [--weights vgg16_weights.h5 | random]

Published, with 17,500 / 3,750 / 3,750 photos: test accuracy 97.31 %; flatten, dense 256 ReLU, dropout 0.5,
sigmoid; Adam 1e-5, batch 64, 10 epochs; about 450 s per epoch on a GTX 1050 Ti, 75 minutes in all, because the
frozen network ran in every epoch. That network takes x / 255; ours gets what its weights were trained with.

Own result: the published weights cannot be had where this was written, so the record in
``pipelines/results/e8_cats_vs_dogs_vgg16_150.json`` is of random weights and says so: it proves the plumbing.
"""

from pathlib import Path

import typer
from frozen_head import Data, Output, Weights, run


def main(
    data: Data = "../shared/data/cats_vs_dogs", weights: Weights = None, output: Output = Path("runs/e8")
) -> None:
    run(
        "e8_cats_vs_dogs_vgg16_150",
        data=data,
        backbone="vgg16",
        weights=weights,
        output=output,
        image_size=150,
        layer="block5_pool:flatten",
        protocol={
            "head": "mlp",
            "hidden": [256],
            "dropout": 0.5,
            "loss": "sigmoid",
            "optimizer": "adam",
            "learning_rate": 1e-5,
            "batch_size": 64,
            "epochs": 10,
            "patience": 10,
            "val_fraction": 0.2,
            "scaling": "none",  # as the original: the network's own features
        },
        published={"test_accuracy": 0.9731, "seconds_per_epoch": 450, "minutes": 75},
    )


if __name__ == "__main__":
    typer.run(main)
