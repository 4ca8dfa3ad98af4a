"""Datasets of pictures in memory: arrays, encoded bytes, PIL images, or paths, with their labels.

Every source gives encoded bytes, and rows are identified by their hash. A picture without bytes of its own is
therefore given some: uint8 arrays become PPM or PGM, whose bytes are a header and the pixels and so are the same
under every version of every library. (PNG's are not: the same pixels give other bytes with zlib and with zlib-ng,
which Pillow's wheels carry, even uncompressed.) The bytes are made when they are read and are not kept.
"""

import difflib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from featcache.core.argument_types import checked_types
from featcache.core.disk.names import expanded
from featcache.core.tasks import MULTICLASS, UNLABELLED
from featcache.datasets.dataset import UNSPLIT, Dataset, Record
from featcache.datasets.file_bytes import read_regular_file
from featcache.datasets.file_state import file_state
from featcache.datasets.names import natural_key, shown, why_not_kept
from featcache.errors import DataError, MissingFileError, UsageError, did_you_mean
from featcache.splits.slices import SPLITS

EXPECTED = "expected uint8 arrays [N, H, W, 3] or [N, H, W], or a list of pictures (arrays, paths, bytes, PIL images)"

_NO_LABELS = (
    "images without labels; expected one label per image, or unlabelled=True. Features alone are computed by "
    "featcache.FeatureExtractor().transform(images), too"
)
_MOST_NUMBER = 10**18


@checked_types(but=("splits", "name"))
def open_arrays(
    images: Any,
    labels: Iterable[Any] | None = None,
    *,
    unlabelled: bool = False,
    classes: Sequence[str] | None = None,
    splits: str | Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    name: str = "arrays",
) -> Dataset:
    """Open pictures in memory as a dataset.

    Parameters
    ----------
    images
        uint8 ``[N, H, W, 3]`` (RGB), ``[N, H, W]`` or ``[N, H, W, 1]`` (grey) in 0..255, held in memory or on
        disk (``numpy.memmap``, an HDF5 dataset): rows are read when wanted. Or an iterable, taken up once, of
        uint8 arrays ``[H, W, 3]`` or ``[H, W]``, encoded ``bytes``, paths and PIL images, which may be mixed.
        PIL images are turned upright by their EXIF tag. Do not change pictures in place between scan and
        extraction: those are quarantined as "changed during extraction".
    labels
        One per image: class names, or whole numbers. Numbers are indices into `classes`; without `classes` each
        number's text is a class's name. None where they are `unlabelled`.
    unlabelled
        Whether to take images without labels, for similarity search, clustering and predictions.
    classes
        Class names in the order wanted; by default those of `labels` in natural order.
    splits
        One name per image, or one for all; ``validation`` is ``val``, as in folders. A slip of such a name
        (``trian``) is refused, other names are taken as they are. By default there are none.
    ids
        One name per image, all different; by default its path where it has one, else its number.
    name
        Short name for output files.

    Returns
    -------
    Dataset
        For `featcache.extract`.

    Raises
    ------
    UsageError
        If an image is none, or lengths, labels, names or ids do not fit.
    DataError
        If there are no images, or a single class.
    MissingFileError
        If a path does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from featcache import open_arrays
    >>> data = open_arrays(np.zeros((2, 32, 32, 3), np.uint8), ["cat", "dog"], splits="train")
    >>> data.classes, [record.id for record in data.records]
    (('cat', 'dog'), ['0', '1'])
    """
    items = _items(images)
    if labels is None and not unlabelled:
        raise UsageError(_NO_LABELS)
    values = None if unlabelled else _matching("labels", labels, len(items))
    if not items:
        raise DataError(f"no images; {EXPECTED}")
    names, numbers = ((), [-1] * len(items)) if values is None else _labels_of(values, classes)
    parts, found = _splits(splits, len(items)), _ids(ids, items)
    records = [
        _record(item, name, label, split)
        for item, name, label, split in zip(items, found, numbers, parts, strict=True)
    ]
    return Dataset(
        spec=f"arrays:{name}",
        name=name,
        classes=names,
        records=records,
        task=UNLABELLED if unlabelled else MULTICLASS,
        location=_location(items),
    )


def named_or_given(
    dataset: str | Path | Dataset | None,
    images: Any,
    labels: Iterable[Any] | None,
    *,
    unlabelled: bool = False,
    **about: Any,
) -> str | Path | Dataset:
    """Return the dataset that a caller names, or that `open_arrays` makes of the images; `about` are its arguments.

    Raises
    ------
    UsageError
        If both or neither are given, the dataset is neither named nor opened, images come without labels, or what
        belongs to images comes without any.
    """
    if (dataset is None) == (images is None):
        what = "a dataset and images" if images is not None else "neither a dataset nor images"
        raise UsageError(
            f"{what} given; expected one of them: extract('photos/') or extract(images=…, labels=…)"
        )
    if dataset is not None:
        given = [name for name, value in {"labels": labels, **about}.items() if value is not None]
        if given:
            raise UsageError(
                f"{', '.join(given)} given with a dataset, which has its own; they go with images="
            )
        if not isinstance(dataset, str | os.PathLike | Dataset):
            raise UsageError(
                f"a dataset of type {type(dataset).__name__}; expected its spec, such as 'photos/'. Pictures that are "
                "in memory go with images= and labels="
            )
        return dataset
    return open_arrays(images, labels, unlabelled=unlabelled, **about)


def encode_pixels(picture: np.ndarray) -> bytes:
    """Return pixels uint8 ``[H, W, 3]`` or ``[H, W]`` as a file that holds nothing else (PPM, PGM).

    A picture thus has bytes, whose hash depends on its shape and pixels alone, and goes the way of all files.
    `featcache.estimators` encodes pictures so too: features computed there serve here.
    """
    height, width = picture.shape[:2]
    header = f"{'P6' if picture.ndim == 3 else 'P5'}\n{width} {height}\n255\n"
    return header.encode() + picture.tobytes()


def encode_pil(picture: Image.Image) -> bytes:
    """Return a PIL image as a file: PPM or PGM for RGB and grey, uncompressed TIFF for the other modes.

    Neither depends on a compressor. The image is turned upright, palettes are resolved.

    Raises
    ------
    OSError
        If its pixels cannot be had (it was opened lazily from a file that is damaged or closed by now).
    """
    try:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("P", "PA"):
            upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
        if upright.mode in ("RGB", "L") and "transparency" not in upright.info:
            return encode_pixels(np.asarray(upright))
        bare = Image.frombytes(upright.mode, upright.size, upright.tobytes())  # without metadata
        file = io.BytesIO()
        bare.save(file, "TIFF", compression="raw")
    except (ValueError, SyntaxError) as error:
        raise OSError(
            f"cannot take the pixels of a PIL image {picture.mode} {picture.size}: {error}"
        ) from error
    return file.getvalue()


# One image ----------------------------------------------------------------------------------------------------


def _items(images: Any) -> list[Any]:
    """Return one item per image: the item itself, or a `_Row` of a stack."""
    shape = getattr(images, "shape", None)
    if shape is None or len(tuple(shape)) == 1:
        if isinstance(images, str | bytes | os.PathLike | Image.Image) or not isinstance(images, Iterable):
            raise UsageError(f"images of type {type(images).__name__}; {EXPECTED}")
        return list(images)
    _require_stack(tuple(shape), images.dtype)
    return [_Row(images, row) for row in range(len(images))]


class _Row:
    """A row of a stack, read when wanted."""

    __slots__ = ("images", "row")

    def __init__(self, images: Any, row: int) -> None:
        self.images, self.row = images, row

    def encoded(self) -> bytes:
        picture = np.asarray(self.images[self.row])
        return encode_pixels(picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture)


def _require_stack(shape: tuple[int, ...], dtype: Any) -> None:
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        hint = "; channels come last: images.transpose(0, 2, 3, 1)"
    elif len(shape) == 3 and shape[2] == 3:
        hint = "; a single picture is images[None]"
    elif dtype != np.uint8:
        hint = "; pixels in 0..1 are (images * 255).round().astype('uint8')"
    elif len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or 0 in shape[1:]:
        hint = ""
    else:
        return
    raise UsageError(f"images {dtype} {shape}; {EXPECTED}{hint}")


def _record(item: Any, name: str, label: int, split: str) -> Record:
    if isinstance(item, str | os.PathLike):
        return _of_file(Path(item), name, label, split)
    return Record(name, label, split, _reader(item, name))


def _reader(item: Any, name: str) -> Callable[[], bytes]:
    if isinstance(item, _Row):
        return item.encoded
    if isinstance(item, bytes | bytearray | memoryview):
        return partial(bytes, item)
    if isinstance(item, Image.Image):
        return partial(encode_pil, item)
    if isinstance(item, np.ndarray):
        rgb = item.ndim == 3 and item.shape[2] == 3
        if item.dtype == np.uint8 and (rgb or item.ndim == 2) and item.size:
            return partial(encode_pixels, item)
        raise UsageError(f"image {name} is an array {item.dtype} {item.shape}; {EXPECTED}")
    raise UsageError(f"image {name} is a {type(item).__name__}; {EXPECTED}")


def _of_file(path: Path, name: str, label: int, split: str) -> Record:
    path = expanded(path).absolute()
    try:
        status = path.stat()
    except OSError as error:
        raise MissingFileError(f"no image {path}: {error.strerror}; {EXPECTED}") from error
    read = partial(read_regular_file, str(path))
    return Record(
        name,
        label,
        split,
        read,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        state=file_state(status),
    )


def _location(items: Sequence[Any]) -> str:
    """Return the folder that all files among the images are below; nothing where there is none."""
    folders = {expanded(item).absolute().parent for item in items if isinstance(item, str | os.PathLike)}
    try:
        return f"files:{os.path.realpath(os.path.commonpath(folders))}"
    except ValueError:  # no folder, or on several drives
        return ""


# What goes with the images ------------------------------------------------------------------------------------


def _matching(what: str, values: Any, count: int) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UsageError(f"{what} of type {type(values).__name__}; expected one per image")
    # Plain numbers and strings, not numpy's.
    found = (
        values.tolist()
        if isinstance(values, np.ndarray)
        else [value.item() if isinstance(value, np.generic) else value for value in values]
    )
    if len(found) != count:
        raise UsageError(f"{len(found)} {what} for {count} images; expected one per image")
    return found


def _labels_of(values: list[Any], classes: Sequence[str] | None) -> tuple[tuple[str, ...], list[int]]:
    names, numbers = _label_indices(values, classes)
    if len(names) < 2:
        alone = "for features without labels: unlabelled=True"
        raise DataError(f"one class ({values[0]}); a classifier needs at least two; {alone}")
    return names, numbers


def _label_indices(labels: list[Any], classes: Sequence[str] | None) -> tuple[tuple[str, ...], list[int]]:
    for row, label in enumerate(labels):
        if (
            isinstance(label, int) and abs(label) >= _MOST_NUMBER
        ):  # Python does not write numbers of any length
            raise UsageError(
                f"the label of image {row} is a number of more than 18 digits; give its text, str(label)"
            )
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise UsageError(
                f"label {label!r} of image {row}; expected a class name or a whole number, one per image: arrays hold "
                "classes. Multilabel and regression targets come by tables (csv:photos.csv?label=age), see "
                "docs/guide/datasets.md"
            )
        if isinstance(label, str):
            _require_kept(label, f"the label of image {row}")
    if classes is None:
        names = tuple(sorted({str(label) for label in labels}, key=natural_key))
        index = _index(names)
        return names, [index[str(label)] for label in labels]
    names = tuple(str(name) for name in classes)
    for position, name in enumerate(names):
        _require_kept(name, f"class number {position}")
    index = _index(names)
    if len(index) < len(names):
        raise UsageError("a class name stands twice in classes; expected each once")
    return names, [_in_classes(label, index, row) for row, label in enumerate(labels)]


def _index(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _in_classes(label: int | str, index: dict[str, int], row: int) -> int:
    if isinstance(label, str) and label in index:
        return index[label]
    if isinstance(label, int) and 0 <= label < len(index):
        return label
    known = f"0 to {len(index) - 1}" if isinstance(label, int) else did_you_mean(label, index)
    raise UsageError(f"label {label!r} of image {row} is not among the {len(index)} classes; {known}")


def _splits(splits: str | Iterable[str] | None, count: int) -> list[str]:
    if splits is None or isinstance(splits, str):
        return [_split(splits or UNSPLIT, 0)] * count
    return [_split(name, row) for row, name in enumerate(_matching("splits", splits, count))]


def _split(name: Any, row: int) -> str:
    if not isinstance(name, str):
        raise UsageError(f"split {name!r} of image {row}; expected a name such as train, val or test")
    _require_kept(name, f"the split of image {row}")
    if meant := _slip_of(name):
        raise UsageError(f"split {name!r} of image {row}; did you mean {meant!r}?")
    return SPLITS.get(name.casefold(), name)


def _slip_of(name: str) -> str | None:
    """Return the usual word that another is a slip of; ``None`` for those, and for other names.

    Letters in another order, or nearly the same. A word that stands whole in a longer one (``train2``, ``testA``,
    ``eval``) is meant as it is written.
    """
    word = name.casefold()
    if word in SPLITS:
        return None
    turned = [usual for usual in SPLITS if sorted(usual) == sorted(word)]
    near = turned or difflib.get_close_matches(word, SPLITS, n=1, cutoff=0.8)
    return near[0] if near and near[0] not in word else None


def _require_kept(name: str, what: str) -> None:
    if why := why_not_kept(name):
        raise UsageError(f"{what}, {shown(name)}, {why}")


def _ids(ids: Iterable[str] | None, items: Sequence[Any]) -> list[str]:
    if ids is None:
        found = [
            Path(item).as_posix() if isinstance(item, str | os.PathLike) else str(row)
            for row, item in enumerate(items)
        ]
    else:
        found = [str(name) for name in _matching("ids", ids, len(items))]
    for row, name in enumerate(found):
        _require_kept(name, f"the id of image {row}")
    twice = [name for name, times in Counter(found).items() if times > 1]
    if twice:
        raise UsageError(f"id {twice[0]!r} stands for several images; give each its own with ids=")
    return found
