"""E8: cats vs dogs on frozen VGG16 features of 150 pixels, flattened, dense 256, one sigmoid.

Command::

    python pipelines/e8_cats_vs_dogs_vgg16_150.py --data PHOTOS/ [--weights vgg16_weights.h5] [--small]

Published, with 17,500 / 3,750 / 3,750 photos: test accuracy 97.31 %; flatten, dense 256 ReLU, dropout 0.5,
sigmoid; Adam 1e-5, batch 64, 10 epochs; about 450 s per epoch on a GTX 1050 Ti, 75 minutes in all, because the
frozen network ran in every epoch. That network takes x / 255; ours gets what its weights were trained with.

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
    output: Output = Path("runs/e8"),
    small: Small = False,
) -> None:
    run(
        "e8_cats_vs_dogs_vgg16_150",
        title="E8: cats vs dogs, VGG16 features of 150 pixels, dense 256, one sigmoid",
        data=data,
        backbone="vgg16",
        weights=weights,
        output=output,
        small=small,
        image_size=150,
        layer="block5_pool:flatten",
        protocol={
            "head": "mlp",
            "hidden": [256],
            "dropout": 0.5,
            "loss": "sigmoid",
            "optimizer": "adam",
            "learning_rate": 1e-5,
            "schedule": "constant",
            "weight_decay": 0.0,
            "batch_size": 64,
            "epochs": 10,
            "patience": 10,
            "scaling": "none",  # as the original: the network's own features
        },
        parts=(70, 15, 15),
        published={"accuracy": 0.9731, "seconds": 4500},
        differs="normalised as the weights were trained instead of x / 255; the network runs once",
        seeds=(0,),
    )


if __name__ == "__main__":
    run_script(main)
