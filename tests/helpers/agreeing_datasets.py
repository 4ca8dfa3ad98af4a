"""Datasets of every source that agree in the names, sizes and times of all images, and differ in the bytes of most."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COUNT = 6
TIME_NS = 1_600_000_000_000_000_000
CLASSES = ("cat", "dog")

Writer = Callable[[Path, str], Any]
"""Writes the dataset of a letter into a new folder and returns how it is named, or given, to an extraction."""


def pixels(letter: str, number: int) -> np.ndarray:
    """Return an image's pixels uint8 ``[8, 8, 3]``; those of number 0 are the same in every dataset."""
    return np.random.default_rng([number, ord(letter) * bool(number)]).integers(0, 256, (8, 8, 3), np.uint8)


def encoded(letter: str, number: int) -> bytes:
    """Return an image as a PNG without compression, so that all are of one size."""
    file = io.BytesIO()
    Image.fromarray(pixels(letter, number)).save(file, "PNG", compress_level=0)
    return file.getvalue()


def number_of(name: str) -> int:
    """Return the number of the image that a record's id names."""
    return int(re.findall(r"\d+", name)[-1])


def _class(number: int) -> str:
    return CLASSES[number // (COUNT // 2)]


def _images(root: Path, letter: str) -> list[str]:
    names = [f"{_class(number)}/{number}.png" for number in range(COUNT)]
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(letter, number))
    return names


def folder(root: Path, letter: str) -> str:
    _images(root, letter)
    return f"folder:{root}"


def table(root: Path, letter: str) -> str:
    names = _images(root, letter)
    lines = [f"{name},{name.split('/')[0]}" for name in names]
    (root / "photos.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    return f"csv:{root}/photos.csv"


def lists(root: Path, letter: str) -> str:
    names = _images(root / "images", letter)
    (root / "meta").mkdir()
    (root / "meta/train.txt").write_text("\n".join(names[::2]) + "\n")
    (root / "meta/test.txt").write_text("\n".join(names[1::2]) + "\n")
    return f"lists:{root}"


def shard(root: Path, letter: str) -> str:
    root.mkdir(parents=True)
    with tarfile.open(root / "pets.tar", "w") as archive:
        for number in range(COUNT):
            for suffix, content in (("png", encoded(letter, number)), ("cls", _class(number).encode())):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return f"tar:{root}/pets.tar"


def _of_the_hub(letter: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    )
    rows = [
        {"image": {"bytes": encoded(letter, n), "path": f"{n}.png"}, "label": CLASSES.index(_class(n))}
        for n in range(COUNT)
    ]
    return datasets.Dataset.from_list(rows, features=features)


def arrow(root: Path, letter: str) -> str:
    _of_the_hub(letter).save_to_disk(root)
    return f"hf:{root}"


def parquet(root: Path, letter: str) -> str:
    root.mkdir(parents=True)
    _of_the_hub(letter).to_parquet(root / "pets.parquet")
    return f"hf:{root}/pets.parquet"


PREPARE = """
import io, sys
import tensorflow_datasets as tfds
from helpers.agreeing_datasets import CLASSES, COUNT, encoded

class Pets(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(names=list(CLASSES)),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for n in range(COUNT):
            image = io.BytesIO(encoded(sys.argv[2], n))
            yield n, {"image": image, "label": n * 2 // COUNT, "file_name": f"{n}.png"}

Pets(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""


def prepared(root: Path, letter: str) -> str:
    made = root.parent.parent / f"prepared-{letter}"  # it takes seconds: once for all cases of a test
    if not made.exists():
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-c", PREPARE, str(made), letter]
        subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    shutil.copytree(made, root)
    return f"tfds:pets?data_dir={root}"


def paths(root: Path, letter: str) -> dict[str, Any]:
    names = _images(root, letter)
    return _in_memory([root / name for name in names])


def arrays(root: Path, letter: str) -> dict[str, Any]:
    return _in_memory(np.stack([pixels(letter, number) for number in range(COUNT)]))


def pictures(root: Path, letter: str) -> dict[str, Any]:
    return _in_memory([Image.fromarray(pixels(letter, number)) for number in range(COUNT)])


def contents(root: Path, letter: str) -> dict[str, Any]:
    return _in_memory([encoded(letter, number) for number in range(COUNT)])


def _in_memory(images: Any) -> dict[str, Any]:
    ids = [f"{number}.png" for number in range(COUNT)]
    return {"images": images, "labels": [_class(number) for number in range(COUNT)], "ids": ids}


ON_DISK: dict[str, Writer] = {
    "folder": folder,
    "csv": table,
    "lists": lists,
    "tar": shard,
    "arrow": arrow,
    "parquet": parquet,
    "tfds": prepared,
    "paths": paths,
}
IN_MEMORY: dict[str, Writer] = {"arrays": arrays, "pictures": pictures, "bytes": contents}


def write(source: str, root: Path, letter: str) -> Any:
    """Write a dataset whose files all have the same time, and return how it is named or given."""
    given = (ON_DISK | IN_MEMORY)[source](root, letter)
    set_times(root)
    return given


def set_times(root: Path) -> None:
    """Give all files below a folder the same time."""
    for path in root.rglob("*"):
        os.utime(path, ns=(TIME_NS, TIME_NS))


def write_over(root: Path, other: Path) -> None:
    """Write the contents of another folder's files into those of the same names; times are as before."""
    for path in (path for path in other.rglob("*") if path.is_file()):
        with (root / path.relative_to(other)).open("r+b") as file:
            file.write(path.read_bytes())
            file.truncate()
    set_times(root)
