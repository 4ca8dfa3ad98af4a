"""Labels of tar shards: read ``.cls`` and ``.json`` members and map them to class indices."""

import json
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from featcache.datasets.dataset import access_errors
from featcache.datasets.inside import is_inside
from featcache.datasets.names import natural_key
from featcache.errors import DataError, did_you_mean


class Label(NamedTuple):
    """The label of a sample.

    Parameters
    ----------
    value
        A number or a name.
    split
        As written, or ``None``.
    where
        Shard and member, for messages.
    """

    value: int | str
    split: str | None
    where: str


def _read_cls(content: bytes) -> tuple[int | str | None, str | None]:
    text = content.decode().strip()
    return (int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else text or None), None


def _read_json(content: bytes) -> tuple[int | str | None, str | None]:
    try:
        said = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(said, dict):
        raise ValueError("no JSON object")
    label, split = said.get("label"), said.get("split")
    if isinstance(label, bool) or not isinstance(label, int | str | None):
        raise ValueError("a label is a number or a name")
    if not isinstance(split, str | None):
        raise ValueError("a split is a name")
    return label if label != "" else None, split


READERS: Mapping[str, Callable[[bytes], tuple[int | str | None, str | None]]] = {
    "cls": _read_cls,
    "json": _read_json,
}
"""Extension of a label's member to its parser, bytes to label and split; raises ``ValueError``."""


def class_names(path: Path) -> tuple[str, ...] | None:
    """Return the lines of a ``classes.txt``, or ``None`` where there is none.

    Raises
    ------
    DataError
        If it cannot be read, is a link out of its folder, or has an empty line or one twice.
    """
    with access_errors(path, "read the class names in"):
        try:
            if path.is_symlink() and not is_inside(path, path.parent):
                raise DataError(
                    f"{path} is a link that leads out of its folder; put a copy of that file in its place"
                )
            if not stat.S_ISREG(path.stat().st_mode):
                return None
            names = tuple(line.strip() for line in path.read_text("utf-8").rstrip().splitlines())
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise DataError(f"cannot read the class names in {path}: {error}; save it as UTF-8") from error
    if len({*names}) < len(names) or "" in names:
        raise DataError(f"{path} has an empty line or a name twice; expected one class name a line")
    return names


def as_indices(
    labels: Sequence[Label], listed: tuple[str, ...] | None
) -> tuple[tuple[str, ...], Sequence[int]]:
    """Return class names, and each label as an index into them.

    Parameters
    ----------
    labels
        Of all samples.
    listed
        Class names that are known beforehand: numbers are indices into them, names must be among them. ``None``
        makes each label's text a class, in natural order.

    Raises
    ------
    DataError
        If a label is not among the listed ones.
    """
    if listed is None:
        texts = [str(label.value) for label in labels]
        classes = tuple(sorted({*texts}, key=natural_key))
        index = {name: number for number, name in enumerate(classes)}
        return classes, [index[text] for text in texts]
    index = {name: number for number, name in enumerate(listed)}
    return listed, [_listed_index(label, index) for label in labels]


def _listed_index(label: Label, index: dict[str, int]) -> int:
    if isinstance(label.value, int):
        if 0 <= label.value < len(index):
            return label.value
        raise DataError(
            f"{label.where}: label {label.value}, but classes.txt names {len(index)} classes, 0 to {len(index) - 1}"
        )
    if label.value in index:
        return index[label.value]
    raise DataError(
        f"{label.where}: label {label.value!r} is not in classes.txt; {did_you_mean(label.value, index)}"
    )
