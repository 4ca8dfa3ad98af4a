"""E11: looking inside. All pictures of the articles, of flowers and of cats: what a network sees, and why it says so.

Command::

    python pipelines/e11_look_inside.py [--flowers FLOWERS/] [--cats PHOTOS/] [--backbone NAME] [--small]

For each dataset, in ``OUTPUT/flowers`` and ``OUTPUT/cats``: ``filters.png``, the first convolution;
``activations-STAGE.png``, what some channels of the first, a middle and the last stage make of a photo; ``heat.png``,
photos of each class that the head has never seen, with the heat of what each is taken for, and the training photos that
it resembles;
``predictions.png``, blue right and red wrong, and ``mistakes.png``; ``confusion.png``, ``reliability.png``,
``map.png``; and ``report.html`` with the learning curves, which are in ``figures/`` as SVG and PNG, too.

The articles trained their networks for minutes to hours before the first picture; here the features are extracted once,
and everything after that takes seconds. With ``--small`` the pictures are of made-up shapes and drawn weights, which
proves that everything runs and means nothing.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from fine_tuned import Small
from frozen_head import Output, Weights
from PIL import Image, ImageDraw

import featcache
from featcache.explanations.channels import ChannelGrids, activations, filters

SHOWN = 10
"""Photos whose heat is shown, at most."""


def made_up(folder: Path, classes: tuple[str, ...], each: int = 8) -> Path:
    """Write pictures of discs, squares and bars in many colours, at many places; return their folder."""
    random = np.random.default_rng(len(classes))
    for split in ("train", "test"):
        for kind, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(each):
                ground, ink = (tuple(random.integers(low, low + 100, 3).tolist()) for low in (0, 150))
                image = Image.new("RGB", (96, 96), ground)
                x, y = random.integers(8, 40, 2).tolist()
                corners = (x, y, x + 44, y + (12 if kind == 2 else 44))
                draw = ImageDraw.Draw(image)
                (draw.ellipse if kind == 0 else draw.rectangle)(corners, fill=ink)
                image.save(folder / split / name / f"{number}.png")
    return folder


def look_inside(
    data: featcache.Dataset, output: Path, *, backbone: str, weights: str | None, size: int | None
) -> None:
    """Extract, train a head, and write every picture."""
    network = featcache.load_backbone(backbone, weights=weights, image_size=size)
    done = featcache.extract(data, backbone=network, output=output / "features.h5")
    split = "test" if "test" in done.cache.splits else "val"
    # Pictures are of photos that chose nothing: where there is no test split, validation rows are taken of the others.
    parts: dict[str, Any] = {}
    if split != "test":
        parts = {"train": "train[:80%]", "val": "train[80%:]", "test": split, "shuffle_slices": True}
    # `head="linear"` descends in epochs, so that there are curves; the head that validation judged is the result.
    classifier = featcache.train_head(done, output=output / "classifier", head="linear", refit=False, **parts)
    for name, figure in {
        "predictions": classifier.plot_predictions(data, split, count=16),
        "mistakes": classifier.plot_predictions(data, split, which="mistakes", count=8),
        "confusion": classifier.plot_confusion(done.cache, split),
        "reliability": classifier.plot_reliability(done.cache, split),
        "map": done.cache.plot_map(split),
    }.items():
        figure.savefig(output / f"{name}.png")
    shapes = network.shapes(network.network.order)
    maps = [stage for stage, shape in shapes.items() if len(shape) == 3 and min(shape) > 1]
    explained(output, maps, held_out(data, split, output / "photos"))
    page = featcache.report(output / "classifier", output / "report.html", overwrite=True)
    page.figures(output / "figures")


def held_out(data: featcache.Dataset, split: str, folder: Path) -> list[Path]:
    """Write photos of a split into a folder, as many of each class, at most `SHOWN` in all; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    each = max(1, SHOWN // len(data.classes))
    found: dict[int, list[Path]] = {}
    for record in data.records:
        own = found.setdefault(record.label, [])
        if record.split == split and len(own) < each:
            name = f"{data.classes[record.label]}-{len(own) + 1}{Path(record.id).suffix}".replace("/", "_")
            own.append(folder / name)
            own[-1].write_bytes(record.read())
    return [path for own in found.values() for path in own][:SHOWN]


def explained(output: Path, maps: list[str], photos: list[Path]) -> None:
    """Write the heat over photos, what stages make of the first one, and the filters of the first convolution."""
    folder = output / "classifier"
    drawn: dict[str, featcache.Explanation | ChannelGrids] = {
        "heat": featcache.explain(folder, photos),
        "filters": filters(folder),
    }
    for stage in dict.fromkeys((maps[0], maps[len(maps) // 2], maps[-1])):
        drawn[f"activations-{stage}"] = activations(folder, photos[:1], stage)
    for name, picture in drawn.items():
        (output / f"{name}.png").write_bytes(picture.to_png())


def main(
    flowers: Annotated[
        str, typer.Option(help="Flowers: a folder of class folders.")
    ] = "../shared/data/tf_flowers224",
    cats: Annotated[str, typer.Option(help="Cats and dogs.")] = "../shared/data/cats_vs_dogs",
    backbone: Annotated[str, typer.Option(help="Network.")] = "efficientnet_lite0",
    weights: Weights = None,
    output: Output = Path("runs/e11"),
    small: Small = False,
) -> None:
    if small:
        flowers = str(made_up(output / "made-up/flowers", ("daisy", "rose", "tulip")))
        cats = str(made_up(output / "made-up/cats", ("cat", "dog")))
        weights = weights or "random"
    for name, spec in (("flowers", flowers), ("cats", cats)):
        data = featcache.open_dataset(spec)
        look_inside(data, output / name, backbone=backbone, weights=weights, size=64 if small else None)
        print(f"{name}: {output / name}")


if __name__ == "__main__":
    typer.run(main)
