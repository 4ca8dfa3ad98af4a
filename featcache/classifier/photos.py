"""Photos to classify: paths, folders, ``file://`` URLs, bytes, open files, PIL images, arrays, and lists of these."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featcache.core.disk.file_urls import local_path
from featcache.core.disk.names import near_names, require_file
from featcache.core.identity import sha256_file
from featcache.core.warning import warn
from featcache.datasets.dataset import why_unread
from featcache.datasets.file_bytes import read_regular_file
from featcache.datasets.file_objects import is_file_object, read_file_object
from featcache.datasets.folder_files import image_files
from featcache.datasets.formats.arrays import encode_pil, encode_pixels
from featcache.datasets.left_out import in_words
from featcache.errors import ImageError, MissingFileError, UsageError
from featcache.images.limits import require_readable_size, room_for_file
from featcache.images.resizing import pixels
from featcache.images.transforms import Transforms
from featcache.images.views import Views

EXPECTED = (
    "give paths, folders, file:// URLs, bytes, open files, PIL images or uint8 arrays, or a list of them"
)

Prepare = Callable[[Transforms, Views], np.ndarray]
"""Reads a photo to uint8 ``[H, W, 3]``, or ``[V, H, W, 3]`` of several views; raises `ImageError`."""


@dataclass(frozen=True)
class Photo:
    """A photo that can be read when it is wanted.

    Parameters
    ----------
    id
        Its path, or its position among those given.
    prepare
        See `Prepare`.
    """

    id: str
    prepare: Prepare


def photos_of(images: Any) -> list[Photo]:
    """Return the photos that are meant, in their order; files in folders in natural order.

    None of them is read but open files, which may be closed soon after.

    Raises
    ------
    UsageError
        If something is no photo.
    MissingFileError
        If a file does not exist, or a folder holds no images.
    """
    if _is_one(images):
        return list(_photos(images, 0))
    if isinstance(images, Iterable):
        return [photo for number, image in enumerate(images) for photo in _photos(image, number)]
    raise _no_photo(images)


def _is_one(images: Any) -> bool:
    one = str | os.PathLike | bytes | bytearray | memoryview | Image.Image | Photo
    array = isinstance(images, np.ndarray) and images.ndim in (2, 3)
    return isinstance(images, one) or array or is_file_object(images)  # whose lines are no photos


def _photos(image: Any, number: int) -> Iterator[Photo]:
    """Yield the photo that one item is, or those in the folder that it names."""
    if isinstance(image, Photo):
        yield image
    elif isinstance(image, str | os.PathLike):
        yield from _of_path(local_path(image))
    elif isinstance(image, np.ndarray):
        yield Photo(str(number), partial(_of_array, image))
    elif isinstance(image, bytes | bytearray | memoryview):
        yield Photo(str(number), partial(_of_bytes, image))
    elif isinstance(image, Image.Image):
        yield Photo(str(number), partial(_of_pil, image))
    elif is_file_object(image):
        yield Photo(str(number), partial(_of_file_object, read_file_object(image)))
    else:
        raise _no_photo(image)


def _no_photo(given: Any) -> UsageError:
    return UsageError(f"images of type {type(given).__name__}; {EXPECTED}")


def _of_path(path: Path) -> Iterator[Photo]:
    if os.path.isdir(path):
        files, left_out = image_files(path)
        unread = in_words(left_out.unread())
        if not files:
            raise MissingFileError(f"no images in {path}" + (f"; left out: {unread}" if unread else ""))
        if unread:
            warn(f"left out: {unread}")
        left_out.tell_by_content()
        for file in files:
            yield Photo(str(file), partial(_of_file, file))
    else:
        # What is there and no file, such as a FIFO, is one photo that cannot be read.
        if not os.path.exists(path):
            require_file(path, "an image, or a folder of images", missing=lambda: _missing(path))
        yield Photo(str(path), partial(_of_file, path))


def _missing(path: Path) -> str:
    return f"no image {path}; {near_names(path) or 'check the name'}"


def _of_file(path: Path, transforms: Transforms, views: Views) -> np.ndarray:
    try:
        with room_for_file(path.stat().st_size):
            data = read_regular_file(str(path))
            return views.prepare(data, transforms, hashlib.sha256(data).digest())
    except OSError as error:
        raise why_unread(error) from error


def _of_bytes(given: bytes | bytearray | memoryview, transforms: Transforms, views: Views) -> np.ndarray:
    data = bytes(given)
    require_readable_size(len(data))
    with room_for_file(len(data)):
        return views.prepare(data, transforms, hashlib.sha256(data).digest())


def _of_file_object(found: bytes | ImageError, transforms: Transforms, views: Views) -> np.ndarray:
    if isinstance(found, ImageError):
        raise found
    return _of_bytes(found, transforms, views)


def _of_pil(picture: Image.Image, transforms: Transforms, views: Views) -> np.ndarray:
    try:
        return _of_bytes(encode_pil(picture), transforms, views)
    except OSError as error:
        raise why_unread(error) from error


def _of_array(array: np.ndarray, transforms: Transforms, views: Views) -> np.ndarray:
    plain = pixels(array, transforms)
    if views.count == 1:
        return plain
    # Views are drawn from encoded bytes, seeded by a hash.
    return views.prepare(encode_pixels(array), transforms, hashlib.sha256(array.tobytes()).digest())


def content_hash(name: str) -> bytes | None:
    """Return the sha256 of the photo that a path names; ``None`` for what is no file."""
    try:
        if not os.path.isfile(name):
            return None
        return bytes.fromhex(sha256_file(Path(name)))
    except (OSError, ValueError):
        return None
