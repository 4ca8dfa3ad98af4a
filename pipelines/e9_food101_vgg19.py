"""E9: Food-101 with VGG19, end to end: crops with a margin, polynomial decay, checkpoints, TensorBoard, inference.

Command::

    python pipelines/e9_food101_vgg19.py train --data food-101/ [--weights vgg19_weights.h5] [--small]
    python pipelines/e9_food101_vgg19.py predict runs/e9/e9_food101_vgg19-tuned PHOTO.jpg

``--data`` is the archive as it is unpacked: ``images/CLASS/NUMBER.jpg`` and the official ``meta/train.txt`` and
``meta/test.txt``. Published: end-to-end fine-tuning, a random square crop with margin 10 (the centre for validation),
SGD with momentum 0.9, polynomial decay from 1e-3 to 1e-7, batch 64, 20 epochs, a checkpoint every 600 s with resume;
curves only. Killed at any moment, the same command goes on.

Own result: neither the published weights nor Food-101 can be had where this was written, so the record in
``pipelines/results/e9_food101_vgg19.json`` is of ``--small`` on other photos laid out in the same way.
"""

from pathlib import Path
from typing import Annotated

import typer
from fine_tuned import Small, run
from frozen_head import Data, Output, Weights

import featcache

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def train(
    data: Data = "food-101", weights: Weights = None, output: Output = Path("runs/e9"), small: Small = False
) -> None:
    """Train the new logits on frozen features, then the whole network."""
    sgd = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 1e-3, "batch_size": 64}
    run(
        "e9_food101_vgg19",
        data=featcache.open_dataset(f"lists:{data}"),
        backbone="vgg19",
        weights=weights,
        output=output,
        layer="pool" if small else "fc2",  # the dense layers take 224 pixels only
        head={**sgd, "epochs": 1, "patience": 1, "scaling": "none"},
        tuning={
            **sgd,
            "train_from": "all",
            "schedule": "polynomial",
            "end": 1e-4,  # of 1e-3: 1e-7
            "epochs": 20,
            "patience": 20,
            "augment": "random-square-crop=10",
            "checkpoint_minutes": 10,
            "tensorboard": True,
        },
        published={"result": "curves only", "epochs": 20},
        transforms={"crop_mode": "center", "crop_pct": 1.0},
        small=small,
    )


@app.command()
def predict(
    classifier: Annotated[Path, typer.Argument(help="Folder of the fine-tuned classifier.")],
    photo: Annotated[Path, typer.Argument(help="One image.")],
) -> None:
    """Name what is on one photo."""
    (found,) = featcache.Classifier.load(classifier).predict(photo)
    for name, probability in zip(found.classes, found.probabilities, strict=True):
        print(f"{probability:.4f}  {name}")


if __name__ == "__main__":
    app()
