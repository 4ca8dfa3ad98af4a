"""E5: eight animals of COCO with VGG16 without its top: the first 15 layers frozen, dense 256.

Command::

    python pipelines/e5_animals_vgg16_frozen15.py --data ANIMALS/ [--weights vgg16_weights.h5] [--small]

Published: flatten, dense 256 ReLU, dropout 0.5, softmax; Keras' first 15 layers (to ``block4_pool``) frozen; SGD
1e-4 with momentum 0.9, 20 epochs; all pictures right but one noisy crop. There the frozen layers ran in every epoch;
here their output is cached once, and training begins from that cut.

Own result: neither the published weights nor COCO can be had where this was written, so the record in
``pipelines/results/e5_animals_vgg16_frozen15.json`` is of ``--small`` and says so: it proves the plumbing.
"""

from pathlib import Path

import typer
from fine_tuned import Small, run
from frozen_head import Data, Output, Weights

import featcache


def main(
    data: Data = "../shared/data/tf_flowers224",
    weights: Weights = None,
    output: Output = Path("runs/e5"),
    small: Small = False,
) -> None:
    sgd = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 1e-4, "batch_size": 32, "dropout": 0.5}
    run(
        "e5_animals_vgg16_frozen15",
        data=featcache.open_dataset(data),
        backbone="vgg16",
        weights=weights,
        output=output,
        layer="block5_pool:flatten",
        head={**sgd, "head": "mlp", "hidden": [256], "epochs": 20, "patience": 20, "scaling": "none"},
        tuning={**sgd, "schedule": "constant", "train_from": "block5_conv1", "epochs": 20, "patience": 20},
        cached_cut="block4_pool",
        published={"wrong": "one noisy crop", "epochs": 20},
        transforms={"crop_mode": "squash", "crop_pct": 1.0},
        small=small,
    )


if __name__ == "__main__":
    typer.run(main)
