"""What the reader of each page has before its first block: photos, and what commands made of them."""

import csv
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from helpers.photo_folders import photo_folder, save_photo

CLASSES = ("daisy", "rose", "tulip")
COUNT = 20
NAMES = [f"{name}/{number}.png" for name in CLASSES for number in range(COUNT)]


@dataclass(frozen=True)
class Reader:
    """What a reader has beside the photos.

    Parameters
    ----------
    shell
        Commands that ran before.
    python
        Statements that ran before, such as ``classifier = …``.
    """

    shell: str = ""
    python: str = ""


TRAINED = Reader(
    shell="featcache extract photos/ && featcache train-head photos-efficientnet_lite0.h5",
    python=(
        "import featcache\n"
        "classifier = featcache.Classifier.load('classifier')\n"
        "cache = featcache.FeatureCache('photos-efficientnet_lite0.h5')\n"
        "extraction = featcache.extract('photos/')\n"
    ),
)
"""The reader of most pages."""

READERS = {
    "README.md": Reader(),
    "docs/tutorial.md": Reader(),
}
"""By page; that of another page is `TRAINED`."""


def reader_of(page: str) -> Reader:
    """Return what a page's reader has."""
    return READERS.get(page, TRAINED)


def make_photos(root: Path) -> None:
    """Write what every reader has into a folder: photos in each form that pages name.

    ``photos/CLASS/0.png`` … ``19.png`` of daisy, rose and tulip, and ``new-photos/`` of four each; ``a.jpg``, ``b.jpg``
    and ``folder/c.jpg``; ``photos.csv`` (columns path, file, label, species, garden, smiling, hat, age);
    ``instances.json`` (COCO) of ``images/``; ``pets/images/CLASS_0.jpg`` …; ``food-101/`` with its lists;
    ``shards-000.tar`` … ``shards-009.tar``.
    """
    photo_folder(root / "photos", dict.fromkeys(CLASSES, COUNT))
    photo_folder(root / "new-photos", dict.fromkeys(CLASSES, 4))
    for name in ("a.jpg", "b.jpg", "folder/c.jpg"):
        save_photo(root / name, "rose/1.png")
    shutil.copytree(root / "photos", root / "images")
    for name in NAMES:
        save_photo(root / "pets" / "images" / name.replace("/", "_").replace("png", "jpg"), name)
    _table(root / "photos.csv")
    (root / "instances.json").write_text(json.dumps(_instances()))
    _food(root / "food-101")
    _shards(root)


def _table(path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "file", "label", "species", "garden", "smiling", "hat", "age"))
        for number, name in enumerate(NAMES):
            label = name.partition("/")[0]
            photo = f"photos/{name}"
            table.writerow(
                (photo, photo, label, label, number % 9, number % 2, number % 3 // 2, f"{number}.5")
            )


def _instances() -> dict[str, list[dict[str, object]]]:
    """Return annotations in COCO's form: one of each photo."""
    return {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(NAMES)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": CLASSES.index(name.partition("/")[0])}
            for number, name in enumerate(NAMES)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
    }


def _food(root: Path) -> None:
    photo_folder(root / "images", dict.fromkeys(CLASSES, 4))
    (root / "meta").mkdir()
    for part, numbers in (("train", (0, 1, 2)), ("test", (3,))):
        lines = (f"{name}/{number}.png\n" for name in CLASSES for number in numbers)
        (root / "meta" / f"{part}.txt").write_text("".join(lines))


def _shards(root: Path) -> None:
    label = root / "label.cls"
    for shard in range(10):
        with tarfile.open(root / f"shards-{shard:03}.tar", "w") as archive:
            for name in NAMES[shard::10]:
                key = name.replace("/", "-").removesuffix(".png")
                label.write_text(name.partition("/")[0])
                archive.add(root / "photos" / name, f"{key}.png")
                archive.add(label, f"{key}.cls")
    label.unlink()
