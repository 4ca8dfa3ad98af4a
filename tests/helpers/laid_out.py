"""Folders laid out for a dataset, and what they are taken for."""

import shlex
import warnings
from pathlib import Path

from featcache.core.argument_types import named_as_options
from featcache.datasets import Dataset, open_dataset


def folders(root: Path, *paths: str, count: int = 2) -> Path:
    """Empty pictures: the scan goes by names and opens none of them."""
    for path in paths:
        (root / path).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / path / f"{number}.jpg").touch()
    return root


def taken(data: Dataset) -> set[str]:
    """The folder of each record with its split and class: ``train_set/a = train a``."""
    return {
        f"{record.id.rpartition('/')[0]} = {record.split} {data.classes[record.label]}"
        for record in data.records
    }


def opened(root: Path, **options) -> tuple[Dataset, list[str]]:
    """Open as a command does; returns what was said, without the dataset's path."""
    with warnings.catch_warnings(record=True) as told, named_as_options():
        warnings.simplefilter("always")
        data = open_dataset(root, **options)
    return data, [str(each.message).replace(f"{root}", "P") for each in told]


def options(text: str) -> dict[str, str | int]:
    """Read options as a shell and the command would."""
    words = iter(shlex.split(text))
    read = {word.removeprefix("--").replace("-", "_"): next(words) for word in words}
    return {key: int(value) if key == "classes_at" else value for key, value in read.items()}
