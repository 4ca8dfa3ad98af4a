"""E1: cats vs dogs on frozen MobileNetV2 features, linear softmax, Adam, batch 32, 6 epochs, 80/20.

Command::

    python pipelines/e1_cats_vs_dogs.py --data PHOTOS/ [--weights mobilenet_v2-b0353104.pth]

Published: validation accuracy 96.7 %; 69–77 s per epoch for 6 epochs, because the frozen network runs in
every one of them. That network takes x / 255; ours gets the mean and deviation its weights were trained with.

Own result (800 train, 300 test photos; 2 shared cores): validation 98.8 % (160 photos, 95 % interval
96.9–100), test 97.7 % (300 photos, 95.7–99.3); 19.5 s to extract 1,100 photos once, 4.3 s for the 6 epochs,
imports and compilation included. Record: ``pipelines/results/e1_cats_vs_dogs.json``.
"""

from pathlib import Path

import typer
from frozen_head import Data, Output, Weights, run


def main(
    data: Data = "../shared/data/cats_vs_dogs", weights: Weights = None, output: Output = Path("runs/e1")
) -> None:
    run(
        "e1_cats_vs_dogs",
        data=data,
        backbone="mobilenet_v2",
        weights=weights,
        output=output,
        protocol={
            "head": "linear",
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "batch_size": 32,
            "epochs": 6,
            "patience": 6,
            "val_fraction": 0.2,
        },
        published={"val_accuracy": 0.967, "seconds_per_epoch": [69, 77], "epochs": 6},
    )


if __name__ == "__main__":
    typer.run(main)
