"""E5: eight animals of COCO with VGG16 without its top: the first 15 layers frozen, dense 256.

Command::

    python pipelines/e5_animals_vgg16_frozen15.py --data ANIMALS/ [--weights vgg16_weights.h5] [--small]

Published: flatten, dense 256 ReLU, dropout 0.5, softmax; Keras' first 15 layers (to ``block4_pool``) frozen; SGD
1e-4 with momentum 0.9, 20 epochs; all pictures right but one noisy crop. There the frozen layers ran in every epoch;
here their output is cached once, and training begins from that cut.

Own result: none. Neither the published weights nor COCO can be had where this was written, so that the record is of
``--small``: it proves that everything runs.
"""

from pathlib import Path

from common import FLOWERS, open_material
from fine_tuned import SMALL_IMAGES, Data, Output, Small, Weights, run
from script import run_script


def main(
    data: Data = FLOWERS, weights: Weights = None, output: Output = Path("runs/e5"), small: Small = False
) -> None:
    sgd = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 1e-4, "batch_size": 32, "dropout": 0.5}
    run(
        "e5_animals_vgg16_frozen15",
        title="E5: eight animals, VGG16 with its first 15 layers frozen, dense 256",
        material=open_material(data, "vgg16", weights, small, images=SMALL_IMAGES),
        output=output,
        layer="block5_pool:flatten",
        head={**sgd, "head": "mlp", "hidden": [256], "epochs": 20, "patience": 20, "scaling": "none"},
        tuning={**sgd, "schedule": "constant", "train_from": "block5_conv1", "epochs": 20, "patience": 20},
        cached_cut="block4_pool",
        transforms={"crop_mode": "squash", "crop_pct": 1.0},
        published=[],
        differs="published are pictures: all right but one noisy crop; the frozen layers run once, into float16",
    )


if __name__ == "__main__":
    run_script(main)
