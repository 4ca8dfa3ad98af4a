"""What every experiment has: its options, its stand-in for ``--small``, and where weights are looked for."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

import featcache

Data = Annotated[str, typer.Option(help="Dataset spec: a folder with class folders, or with splits above.")]
Weights = Annotated[str | None, typer.Option(help="Weights file, where the published one is not at hand.")]
Output = Annotated[Path, typer.Option(help="Folder for the cache, the classifier and the record.")]
Small = Annotated[
    bool,
    typer.Option("--small", help="A few small photos of the checkout, drawn weights: proves that it runs."),
]

FLOWERS = "../shared/data/tf_flowers224"
CATS_AND_DOGS = "../shared/data/cats_vs_dogs"
TEXTURES = str(Path(__file__).parents[1] / "data" / "textures")
"""The photos that a checkout holds: nine classes, 30 for training and 10 for testing of each."""

SMALL_SIZE = 96
SMALL_IMAGES = 8


@dataclass(frozen=True)
class Material:
    """What an experiment runs on.

    Parameters
    ----------
    data
        The photos.
    network
        The backbone, with its weights.
    small
        Whether they are the stand-in of ``--small``.
    """

    data: featcache.Dataset
    network: Any
    small: bool


def open_material(
    data: str,
    backbone: str,
    weights: str | None,
    small: bool,
    image_size: int | tuple[int, int] | None = None,
    images: int = SMALL_IMAGES,
) -> Material:
    """Open the photos and load the backbone; if `small`, `images` of each class of the checkout, and drawn weights."""
    network = load_network(backbone, weights, small, image_size)
    if small:
        return Material(few(featcache.open_dataset(TEXTURES), images), network, True)
    return Material(featcache.open_dataset(data), network, False)


def load_network(
    backbone: str, weights: str | None, small: bool, image_size: int | tuple[int, int] | None = None
) -> Any:
    """Load the backbone; if `small`, for small photos and, where no file is given, with drawn weights."""
    if small:
        return featcache.load_backbone(backbone, weights=weights or "random", image_size=SMALL_SIZE)
    return featcache.load_backbone(backbone, weights=weights, image_size=image_size)


def few(data: featcache.Dataset, images: int = SMALL_IMAGES) -> featcache.Dataset:
    """Return the first images of each class in each split."""
    seen: Counter[tuple[str, int]] = Counter()
    records = []
    for record in data.records:
        key = (record.split, record.label)
        seen[key] += 1
        if seen[key] <= images:
            records.append(record)
    return replace(data, records=records)


def with_transforms(network: Any, **changes: Any) -> featcache.Transforms:
    """Return a backbone's transforms, but for what an original does otherwise."""
    return featcache.Transforms.from_json(network.transforms.to_json() | changes)
