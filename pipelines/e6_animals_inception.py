"""E6: eight animals of COCO with InceptionV3, whose 1,001 classes (with "empty") give way to new logits.

Command::

    python pipelines/e6_animals_inception.py --data ANIMALS/ [--weights inception_v3.safetensors] [--small]

Published: 299 pixels, inputs in -1..1, new logits, SGD 1e-3, 10 epochs; the training loss falls from 2.79 to 0.49.

Own result: none. Neither the published weights nor COCO can be had where this was written, so that the record is of
``--small``: it proves that everything runs.
"""

from pathlib import Path

from common import FLOWERS, open_material
from fine_tuned import SMALL_IMAGES, Data, Output, Small, Weights, run
from script import run_script


def main(
    data: Data = FLOWERS, weights: Weights = None, output: Output = Path("runs/e6"), small: Small = False
) -> None:
    sgd = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 1e-3,
        "batch_size": 32,
        "schedule": "constant",
    }
    tuned = "mixed10" if small else "all"
    run(
        "e6_animals_inception",
        title="E6: eight animals, InceptionV3 with new logits",
        # Of TF-slim: inputs in -1..1.
        material=open_material(data, "inception_v3.tf_in1k", weights, small, images=SMALL_IMAGES),
        output=output,
        layer="mixed10:avg",
        # New logits: one epoch gives them a direction, as the original's first steps do.
        head={**sgd, "epochs": 1, "patience": 1, "scaling": "none"},
        tuning={**sgd, "train_from": tuned, "epochs": 10, "patience": 10, "augment": "none"},
        transforms={"crop_mode": "squash", "crop_pct": 1.0},
        published=[("training loss", 0.49, "")],
        differs="the new logits get one epoch on frozen features first",
    )


if __name__ == "__main__":
    run_script(main)
