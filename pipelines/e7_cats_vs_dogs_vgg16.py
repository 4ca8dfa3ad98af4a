"""E7: cats vs dogs on frozen VGG16 features of 224 pixels, flattened, dense 1024, early stopping.

Command::

    python pipelines/e7_cats_vs_dogs_vgg16.py --data PHOTOS/ [--weights vgg16_weights.h5 | random]

Published, with 18,000 / 4,500 / 2,500 photos: test accuracy 97.36 % and a confusion matrix; flatten, dense 1024
ReLU, dropout 0.5, softmax; Adam 1e-5, up to 100 epochs, stopped at 14 after 2 without a better validation. The
frozen network ran in every epoch; here it runs once.

Own result: the published weights cannot be had where this was written, so the record in
``pipelines/results/e7_cats_vs_dogs_vgg16.json`` is of random weights and says so: it proves the plumbing.
"""

from pathlib import Path

import typer
from frozen_head import Data, Output, Weights, run


def main(
    data: Data = "../shared/data/cats_vs_dogs", weights: Weights = None, output: Output = Path("runs/e7")
) -> None:
    run(
        "e7_cats_vs_dogs_vgg16",
        data=data,
        backbone="vgg16",
        weights=weights,
        output=output,
        layer="block5_pool:flatten",
        protocol={
            "head": "mlp",
            "hidden": [1024],
            "dropout": 0.5,
            "optimizer": "adam",
            "learning_rate": 1e-5,
            "batch_size": 32,
            "epochs": 100,
            "patience": 2,
            "val_fraction": 0.2,
            "scaling": "none",  # as the original: the network's own features
        },
        published={"test_accuracy": 0.9736, "stopped_at_epoch": 14},
    )


if __name__ == "__main__":
    typer.run(main)
