"""Turns the images given to a transformer into dataset records: identified by their bytes, read when needed."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featcache.core.disk.names import expanded
from featcache.datasets import Record
from featcache.datasets.file_bytes import read_regular_file
from featcache.datasets.file_state import file_state
from featcache.datasets.formats.arrays import encode_pixels
from featcache.errors import MissingFileError, UsageError

EXPECTED = "give a list of paths or of uint8 arrays [H, W, 3], or one uint8 array [N, H, W, 3]"


def records_of(images: Any) -> Iterator[Record]:
    """Yield a record for each image, all of one class and split.

    Parameters
    ----------
    images
        As `featcache.estimators.FeatureExtractor.transform` takes them.

    Raises
    ------
    UsageError
        If an item is no image.
    MissingFileError
        If a file does not exist.
    """
    for number, image in enumerate(_listed(images)):
        if isinstance(image, np.ndarray):
            _require_uint8_image(image)
            yield Record(f"image {number}", 0, "train", partial(encode_pixels, image))
        elif isinstance(image, str | os.PathLike):
            yield _file_record(expanded(image).absolute())
        else:
            raise UsageError(f"an image of type {type(image).__name__}; {EXPECTED}")


def _listed(images: Any) -> Iterable[Any]:
    shape = getattr(images, "shape", None)
    if isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Iterable):
        raise UsageError(f"images of type {type(images).__name__}; {EXPECTED}")
    if shape is None or len(shape) in (1, 4):
        return images
    table = np.asarray(images)
    if len(shape) == 2 and shape[1] == 1 and table.dtype.kind in "OU":  # a column of paths
        return table[:, 0]
    raise UsageError(f"images of shape {tuple(shape)}; {EXPECTED}")


def _require_uint8_image(image: np.ndarray) -> None:
    rgb = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (rgb or image.ndim == 2) or not image.size:
        raise UsageError(
            f"an image {image.dtype} {image.shape}; expected uint8 in 0..255, [H, W, 3] or [H, W]"
        )


def _file_record(path: Path) -> Record:
    try:
        status = path.stat()
    except OSError as error:
        raise MissingFileError(f"no image {path}: {error.strerror}") from error
    read = partial(read_regular_file, str(path))
    size, time = status.st_size, status.st_mtime_ns
    return Record(str(path), 0, "train", read, size=size, mtime_ns=time, state=file_state(status))
