"""E1: cats vs dogs on frozen MobileNetV2 features, linear softmax, Adam, batch 32, 6 epochs, 80/20.

Command::

    python pipelines/e1_cats_vs_dogs.py --data PHOTOS/ [--weights mobilenet_v2-b0353104.pth] [--small]

Published: validation accuracy 96.7 % of 25,000 photos; 69–77 s per epoch for 6 epochs, because the frozen network runs
in every one of them.

RESULT_E1
"""

from pathlib import Path

import typer
from common import CATS_AND_DOGS
from frozen_head import LINEAR, Data, Output, Small, Weights, run


def main(
    data: Data = CATS_AND_DOGS,
    weights: Weights = None,
    output: Output = Path("runs/e1"),
    small: Small = False,
) -> None:
    run(
        "e1_cats_vs_dogs",
        title="E1: cats vs dogs, MobileNetV2 features, linear softmax, 6 epochs",
        data=data,
        backbone="mobilenet_v2",
        weights=weights,
        output=output,
        small=small,
        protocol=LINEAR,
        parts=(80, 20),
        published={"accuracy": 0.967, "seconds": 6 * 73},
        differs="1,100 of the 25,000 photos; normalised as the weights were trained instead of x / 255",
    )


if __name__ == "__main__":
    typer.run(main)
