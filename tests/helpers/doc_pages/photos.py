"""The photos, tables and shards that readers have."""

import csv
import json
import shutil
import tarfile
from pathlib import Path

from PIL import Image

from helpers.photo_folders import photo, photo_folder, save_photo

CLASSES = ("daisy", "rose", "tulip")
COUNT = 20
TEXTURES = Path(__file__).parents[3] / "data" / "textures"
NAMES = [f"{name}/{number}.png" for name in CLASSES for number in range(COUNT)]


def for_all(root: Path) -> None:
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


def flowers(root: Path) -> None:
    """Write ``flowers/{train,val}/{daisy,roses,tulips}/N.jpg``, 12 and 34 of each, ``new/`` and ``rose.jpg``.

    As many photos as tell for what share of photos "unlike anything seen" is not answered.
    """
    for split, count in (("train", 12), ("val", 34)):
        for name in ("daisy", "roses", "tulips"):
            for number in range(count):
                made = f"{split}/{name}/{number}.jpg"
                save_photo(root / "flowers" / made, made)
    for name in ("daisy", "roses", "tulips"):
        save_photo(root / "new" / f"{name}.jpg", f"{name}/new.jpg")
    shutil.copy(min(TEXTURES.glob("*/brick/*.jpg")), root / "new" / "dog.jpg")
    save_photo(root / "rose.jpg", "roses/another.jpg")


def holiday(root: Path) -> None:
    """Write `flowers` as ``photos/``, ``holiday/``, and new photos with a table, one of which is labelled wrongly."""
    flowers(root)
    shutil.rmtree(root / "photos")
    (root / "flowers").rename(root / "photos")
    shutil.rmtree(root / "new-photos")
    for name in ("daisy", "roses", "tulips"):
        for number in range(4):
            save_photo(root / "new-photos" / name / f"{number}.png", f"{name}/{100 + number}.png")
    save_photo(root / "new-photos" / "tulips" / "rose.png", "roses/200.png")
    shutil.copytree(root / "new", root / "holiday")
    rows = (f"{path.relative_to(root)},{path.parent.name}\n" for path in sorted(root.glob("new-photos/*/*")))
    (root / "new.csv").write_text("path,label\n" + "".join(rows))
    shutil.copy(root / "a.jpg", root / "one.jpg")


def with_faults(root: Path) -> None:
    """Let ``photos/`` have splits, a PNG that is called JPEG, a truncated photo, and a copy in another split."""
    shutil.rmtree(root / "photos")
    for split in ("train", "val"):
        for name in ("daisy", "roses", "tulips"):
            for number in range(10):
                path = root / "photos" / split / name / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(photo(f"{name}/{split}-{number}", height=224, width=224)).save(path)
    train = root / "photos" / "train"
    Image.fromarray(photo("roses/png", height=224, width=224)).save(train / "roses" / "10.jpg", "PNG")
    shutil.copy(train / "roses" / "1.jpg", root / "photos" / "val" / "roses" / "copy.jpg")
    whole = (train / "tulips" / "3.jpg").read_bytes()
    (train / "tulips" / "3.jpg").write_bytes(whole[:-45])


def mislabelled(root: Path) -> None:
    """Put five photos of roses among the tulips of ``photos/``, and write a copy of a daisy."""
    photos = root / "photos"
    for number in (3, 5, 7, 11, 13):
        (photos / "rose" / f"{number}.png").rename(photos / "tulip" / f"rose-{number}.png")
    shutil.copy(photos / "daisy" / "1.png", photos / "daisy" / "copy.png")


def odd_folders(root: Path) -> None:
    """Write the folders and tables that docs/guide/datasets.md reads."""
    shutil.copytree(root / "photos", root / "course" / "training_set")
    shutil.copytree(root / "new-photos", root / "course" / "test_set")
    for year, source in (("2019", "photos"), ("2020", "new-photos")):
        shutil.copytree(root / source, root / "visits" / year)
    for name in NAMES:
        label, _, number = name.removesuffix(".png").partition("/")
        save_photo(root / "dogs-vs-cats" / "train" / f"{label}.{number}.jpg", name)
        save_photo(root / "birds" / f"p{int(number) % 7}-{label}-{number}.png", name)
    _columns(root / "photos.csv")
    _ids(root)
    shutil.copytree(root / "images", root / "val2017")
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(_instances()))
    (root / "table.csv").write_text("path\n" + "".join(f"photos/{name}\n" for name in NAMES))
    (root / "files.txt").write_text("".join(f"photos/{name}\n" for name in NAMES))
    shutil.copytree(root / "food-101", root / "set")
    for shard in root.glob("shards-*.tar"):
        shutil.copy(shard, root / shard.name.replace("shards", "test"))


def _columns(path: Path) -> None:
    """Write a table whose columns have the usual names, and others for the same."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "split", "group", "file", "species", "fold", "garden"))
        for number, name in enumerate(NAMES):
            label = name.partition("/")[0]
            # A garden is in one split, and all three splits have all classes.
            garden = f"garden {number % 10}"
            split = "train" if number % 10 < 7 else "val" if number % 10 < 8 else "test"
            table.writerow((f"photos/{name}", label, split, garden, name, label, split, garden))


def _ids(root: Path) -> None:
    """Write a table of ids, as competitions have, for photos in ``train/``."""
    rows = ["id,breed\n"]
    for number, name in enumerate(NAMES):
        key = f"{number:010x}"
        save_photo(root / "train" / f"{key}.jpg", name)
        rows.append(f"{key},{name.partition('/')[0]}\n")
    (root / "labels.csv").write_text("".join(rows))


def hub(root: Path) -> None:
    """Write ``pets/``, a dataset of Hugging Face's library, and ``flowers/`` of shards."""
    import datasets

    shutil.rmtree(root / "pets")
    rows = {
        "image": [str(root / "photos" / name) for name in NAMES],
        "breed": [name.partition("/")[0] for name in NAMES],
        "label": [name.partition("/")[0] for name in NAMES],
    }
    made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": made}).save_to_disk(root / "pets")
    (root / "flowers").mkdir()
    for shard in root.glob("shards-*.tar"):
        shutil.copy(shard, root / "flowers" / shard.name.replace("shards", "train"))


def matlab(root: Path) -> None:
    """Write ``splits.mat``, as datasets of MATLAB's days have."""
    from scipy.io import savemat

    splits = ["train" if number % 4 else "test" for number in range(len(NAMES))]
    labels = [name.partition("/")[0] for name in NAMES]
    savemat(
        root / "splits.mat",
        {"files": [f"photos/{name}" for name in NAMES], "labels": labels, "splits": splits},
    )


def textures(root: Path) -> None:
    """Lead ``data/`` to the photos that come with featcache."""
    (root / "data").symlink_to(TEXTURES.parent)
