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
and everything after that takes seconds. With ``--small`` the pictures are of few photos and drawn weights, which proves
that everything runs and means nothing.

Own result (EfficientNet-Lite0 with its published weights): all pictures of 3,117 flowers and of 1,100 cats and dogs,
with a head that is right on 92.5 % of 548 flowers (95 % interval 90.0–94.4) and 99.3 % of 300 cats and dogs
(97.6–99.8), none of which it has learnt from. 116 s of processors in all, on two shared cores of an x86-64 machine.
The record, ``pipelines/results/e11_look_inside.json``, comes with the pictures that show no photo.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from common import CATS_AND_DOGS, FLOWERS, SMALL_IMAGES, TEXTURES, Output, Small, Weights, few, load_network
from records import Comparison, fingerprints_of, weights_note, write_record
from script import run_script

import featcache

SHOWN = 10
"""Photos whose heat is shown, at most."""

NO_PHOTOS = ("confusion", "reliability", "map", "filters")
"""The pictures that show no photo of the dataset, which may be passed on whatever its licence is."""


class Picture(Protocol):
    """Whatever can be written as a picture."""

    def to_png(self, output: Any = None) -> bytes:
        """Return it as PNG."""
        ...


def look_inside(data: featcache.Dataset, network: Any, output: Path) -> tuple[Any, dict[str, Any]]:
    """Extract, train a head, and write every picture; return the cache, and the scores."""
    began = time.perf_counter()
    done = featcache.extract(data, backbone=network, output=output / "features.h5")
    extracted = time.perf_counter()
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
    scores = classifier.metrics["test"]
    pictures = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.png"))
    return done.cache, {
        **{key: scores[key] for key in ("accuracy", "interval", "count")},
        "seconds": {"extract": extracted - began, "pictures": time.perf_counter() - extracted},
        "pictures": [name for name in pictures if not name.startswith("photos/")],
    }


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


def explained(output: Path, maps: Sequence[str], photos: Sequence[Path]) -> None:
    """Write the heat over photos, what stages make of the first one, and the filters of the first convolution."""
    folder = output / "classifier"
    drawn: dict[str, Picture] = {
        "heat": featcache.explain(folder, photos),
        "filters": featcache.filters(folder),
    }
    for stage in dict.fromkeys((maps[0], maps[len(maps) // 2], maps[-1])):
        drawn[f"activations-{stage}"] = featcache.activations(folder, photos[:1], stage)
    for name, picture in drawn.items():
        (output / f"{name}.png").write_bytes(picture.to_png())


def main(
    flowers: Annotated[str, typer.Option(help="Flowers: a folder of class folders.")] = FLOWERS,
    cats: Annotated[str, typer.Option(help="Cats and dogs.")] = CATS_AND_DOGS,
    backbone: Annotated[str, typer.Option(help="Network.")] = "efficientnet_lite0",
    weights: Weights = None,
    output: Output = Path("runs/e11"),
    small: Small = False,
) -> None:
    specs = {"textures": TEXTURES} if small else {"flowers": flowers, "cats": cats}
    network = load_network(backbone, weights, small)
    found, caches, images = {}, [], 0
    for name, spec in specs.items():
        data = featcache.open_dataset(spec)
        data = few(data, SMALL_IMAGES) if small else data
        (output / name).mkdir(parents=True, exist_ok=True)
        cache, found[name] = look_inside(data, network, output / name)
        caches.append(cache)
        images += len(data.records)
    write_record(
        output,
        "e11_look_inside",
        title="E11: looking inside: filters, activations, heat, curves, predictions",
        data=" and ".join(specs.values()),
        images=images,
        small=small,
        weights={network.name: weights_note(network.tag)},
        fingerprints=fingerprints_of(*caches),
        seeds=[0],
        settings={"head": "linear", "backbone": backbone, "image_size": list(network.transforms.input_size)},
        comparisons=[
            Comparison(
                f"test accuracy of the head that is looked into, {name}",
                None,
                scores["accuracy"],
                tuple(scores["interval"]),
            )
            for name, scores in found.items()
        ],
        result=found,
        seconds={
            f"{name}, {stage}": value
            for name, own in found.items()
            for stage, value in own["seconds"].items()
        },
        differs="published are pictures; ours are named under result",
        figures=[f"{name}/{each}.png" for name in found for each in NO_PHOTOS],
    )


if __name__ == "__main__":
    run_script(main)
