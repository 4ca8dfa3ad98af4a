"""E4: eight animals of COCO with VGG16: the last layer for ten epochs, then all layers for ten.

Command::

    python pipelines/e4_animals_vgg16.py --data ANIMALS/ [--weights vgg16_weights.h5] [--small]

Published, with 800 / 200 photos: 224 pixels, the mean subtracted, crop or pad; SGD 1e-3, batch 32. The five most
probable classes of each picture before and after: zebra, horse, bird and bear are right with ImageNet's classes
already, the giraffe (which ImageNet does not have) only afterwards.

Own result: none. Neither the published weights nor COCO can be had where this was written, so that the record is of
``--small``: it proves that everything runs.
"""

from pathlib import Path

from common import FLOWERS, open_material
from fine_tuned import SMALL_IMAGES, Data, Output, Small, Weights, run
from script import run_script


def main(
    data: Data = FLOWERS, weights: Weights = None, output: Output = Path("runs/e4"), small: Small = False
) -> None:
    sgd = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 1e-3,
        "batch_size": 32,
        "schedule": "constant",
    }
    run(
        "e4_animals_vgg16",
        title="E4: eight animals, VGG16, the last layer and then all layers",
        material=open_material(data, "vgg16", weights, small, images=SMALL_IMAGES),
        output=output,
        layer="pool" if small else "fc2",  # the dense layers take 224 pixels only
        head={**sgd, "epochs": 10, "patience": 10, "scaling": "none"},
        tuning={**sgd, "train_from": "all", "epochs": 10, "patience": 10, "augment": "none"},
        transforms={"crop_mode": "crop_or_pad", "crop_pct": 1.0},
        published=[],
        differs="published are pictures: zebra, horse, bird and bear right before, the giraffe only after; ours are "
        "under result.pictures",
    )


if __name__ == "__main__":
    run_script(main)
