"""E2: tf_flowers on frozen MobileNetV2 features, linear softmax, Adam, 6 epochs, 70/30.

Command::

    python pipelines/e2_flowers.py --data FLOWERS/ [--weights mobilenet_v2-b0353104.pth] [--small]

Published: validation accuracy 90.0 % on 2,590 / 1,080 of the 3,670 photos; 12 s per epoch.

RESULT_E2
"""

from pathlib import Path

import typer
from common import FLOWERS
from frozen_head import LINEAR, Data, Output, Small, Weights, run


def main(
    data: Data = FLOWERS, weights: Weights = None, output: Output = Path("runs/e2"), small: Small = False
) -> None:
    run(
        "e2_flowers",
        title="E2: tf_flowers, MobileNetV2 features, linear softmax, 6 epochs",
        data=data,
        backbone="mobilenet_v2",
        weights=weights,
        output=output,
        small=small,
        protocol=LINEAR,
        parts=(70, 30),
        published={"accuracy": 0.900, "seconds": 6 * 12},
        differs="3,117 of the 3,670 photos, squashed to 224 pixels by their collector; normalised as the weights were "
        "trained",
    )


if __name__ == "__main__":
    typer.run(main)
