"""E3: tf_flowers on frozen InceptionV3 features of 299 pixels, linear softmax, Adam, 6 epochs, 70/30.

Command::

    python pipelines/e3_flowers_inception.py --data FLOWERS/ [--weights inception_v3_weights.h5] [--small]

Published: validation accuracy 88.6 % on 2,590 / 1,080 of the 3,670 photos; 35 s per epoch.

Own result: none. The published weights cannot be had where this was written, so that the record is of ``--small``: it
proves that everything runs.
"""

from pathlib import Path

from common import FLOWERS
from frozen_head import LINEAR, Data, Output, Small, Weights, run
from script import run_script


def main(
    data: Data = FLOWERS, weights: Weights = None, output: Output = Path("runs/e3"), small: Small = False
) -> None:
    run(
        "e3_flowers_inception",
        title="E3: tf_flowers, InceptionV3 features of 299 pixels, linear softmax, 6 epochs",
        data=data,
        backbone="inception_v3",
        weights=weights,
        output=output,
        small=small,
        protocol=LINEAR,
        parts=(70, 30),
        published={"accuracy": 0.886, "seconds": 6 * 35},
        differs="the network runs once instead of in every epoch",
    )


if __name__ == "__main__":
    run_script(main)
