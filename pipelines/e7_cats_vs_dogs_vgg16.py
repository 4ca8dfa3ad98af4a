"""E7: cats vs dogs on frozen VGG16 features of 224 pixels, flattened, dense 1024, early stopping.

Command::

    python pipelines/e7_cats_vs_dogs_vgg16.py --data PHOTOS/ [--weights vgg16_weights.h5] [--small]

Published, with 18,000 / 4,500 / 2,500 photos: test accuracy 97.36 % and a confusion matrix; flatten, dense 1024
ReLU, dropout 0.5, softmax; Adam 1e-5, up to 100 epochs, stopped at 14 after 2 without a better validation. The
frozen network ran in every epoch; here it runs once.

Own result: none. The published weights cannot be had where this was written, so that the record is of ``--small``: it
proves that everything runs.
"""

from pathlib import Path

from common import CATS_AND_DOGS
from frozen_head import Data, Output, Small, Weights, run
from script import run_script


def main(
    data: Data = CATS_AND_DOGS,
    weights: Weights = None,
    output: Output = Path("runs/e7"),
    small: Small = False,
) -> None:
    run(
        "e7_cats_vs_dogs_vgg16",
        title="E7: cats vs dogs, VGG16 features of 224 pixels, dense 1024, early stopping",
        data=data,
        backbone="vgg16",
        weights=weights,
        output=output,
        small=small,
        layer="block5_pool:flatten",
        protocol={
            "head": "mlp",
            "hidden": [64 if small else 1024],
            "dropout": 0.5,
            "optimizer": "adam",
            "learning_rate": 1e-5,
            "schedule": "constant",
            "weight_decay": 0.0,
            "batch_size": 32,
            "epochs": 5 if small else 100,
            "patience": 2,
            "scaling": "none",  # as the original: the network's own features
        },
        parts=(72, 18, 10),
        published={"accuracy": 0.9736},
        differs="the frozen network runs once instead of in every epoch",
        seeds=(0,),
    )


if __name__ == "__main__":
    run_script(main)
