"""E9: Food-101 with VGG19, end to end: crops with a margin, polynomial decay, checkpoints, TensorBoard, inference.

Command::

    python pipelines/e9_food101_vgg19.py train --data food-101/ [--weights vgg19_weights.h5] [--small]
    python pipelines/e9_food101_vgg19.py predict runs/e9/e9_food101_vgg19-tuned PHOTO.jpg

``--data`` is the archive as it is unpacked: ``images/CLASS/NUMBER.jpg`` and the official ``meta/train.txt`` and
``meta/test.txt``. Published: end-to-end fine-tuning, a random square crop with margin 10 (the centre for validation),
SGD with momentum 0.9, polynomial decay from 1e-3 to 1e-7, batch 64, 20 epochs, a checkpoint every 600 s with resume;
curves only. Killed at any moment, the same command goes on.

Own result: none. Neither the published weights nor Food-101 can be had where this was written, so that the record is of
``--small``, on other photos laid out in the same way: it proves that everything runs.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer
from common import few, open_material
from fine_tuned import SMALL_IMAGES, Data, Output, Small, Weights, run

import featcache

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def train(
    data: Data = "food-101", weights: Weights = None, output: Output = Path("runs/e9"), small: Small = False
) -> None:
    """Train the new logits on frozen features, then the whole network."""
    material = open_material(f"lists:{data}", "vgg19", weights, small, images=SMALL_IMAGES)
    if small:
        laid_out = featcache.open_dataset(f"lists:{as_food(material.data, output / 'food-101')}")
        material = type(material)(few(laid_out, SMALL_IMAGES), material.network, small)
    sgd = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 1e-3, "batch_size": 64}
    run(
        "e9_food101_vgg19",
        title="E9: Food-101, VGG19 fine-tuned end to end",
        material=material,
        output=output,
        layer="pool" if small else "fc2",  # the dense layers take 224 pixels only
        head={**sgd, "epochs": 1, "patience": 1, "scaling": "none"},
        tuning={
            **sgd,
            "train_from": "block5_conv1" if small else "all",
            "schedule": "polynomial",
            "end": 1e-4,  # of 1e-3: 1e-7
            "epochs": 20,
            "patience": 20,
            "augment": "random-square-crop=10",
            "checkpoint_minutes": 10,
            "tensorboard": not small,
        },
        transforms={"crop_mode": "center", "crop_pct": 1.0},
        published=[],
        differs="published are curves only; the new logits get one epoch on frozen features first",
    )


def as_food(data: featcache.Dataset, folder: Path) -> Path:
    """Write photos as Food-101 is laid out, with its two lists; return the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for number, record in enumerate(data.records):
        name = f"{data.classes[record.label]}/{number}"
        path = folder / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(record.read())
        lists[record.split].append(name)
    (folder / "meta").mkdir()
    for split, names in lists.items():
        (folder / "meta" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return folder


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
