"""The images of a folder as columns: a million take about a hundred bytes each, and a record is made when asked for."""

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import overload

import numpy as np

from featcache.core.columns.name_column import NameColumn, encode_names
from featcache.datasets.dataset import Record
from featcache.datasets.file_bytes import read_regular_file
from featcache.datasets.file_state import STATE_BYTES, recorded_time
from featcache.datasets.folder_files import FoundImage
from featcache.datasets.record_columns import RecordColumns


class _Texts:
    """A column of texts of which many are the same: each text once, and its number in every row."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.of_row = array("i")

    def append(self, text: str) -> None:
        self.of_row.append(self.numbers.setdefault(text, len(self.numbers)))

    def texts(self) -> tuple[str, ...]:
        """Return the texts in the order in which they came first."""
        return tuple(self.numbers)


class FoundImages:
    """Images that were found in folders, with their labels; only ever appended to."""

    def __init__(self) -> None:
        self._folders, self._labels, self._splits, self._groups = _Texts(), _Texts(), _Texts(), _Texts()
        self._names, self._ends = bytearray(), array("q")
        self._sizes, self._mtimes = array("q"), array("q")
        self._states, self._has_state = bytearray(), array("b")

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, image: FoundImage, label: str = "", split: str = "", group: str = "") -> None:
        """Add an image with the names of its class, split and group."""
        folder, name = os.path.split(image.path)
        self._folders.append(folder)
        self._labels.append(label)
        self._splits.append(split)
        self._groups.append(group)
        self._names += os.fsencode(name)
        self._ends.append(len(self._names))
        self._sizes.append(image.size)
        self._mtimes.append(recorded_time(image.mtime_ns))
        self._states += image.state or bytes(STATE_BYTES)
        self._has_state.append(bool(image.state))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes in the order in which they came first."""
        return self._labels.texts()

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits in the order in which they came first."""
        return self._splits.texts()

    def labelled(self) -> Iterator[tuple[str, str]]:
        """Yield path and class of every image."""
        folders, labels = self._folders.texts(), self._labels.texts()
        for row, label in enumerate(self._labels.of_row):
            yield os.path.join(folders[self._folders.of_row[row]], self._name(row)), labels[label]

    def records(self, below: Callable[[str], str], classes: Mapping[str, int]) -> "FolderRecords":
        """Return the images as records.

        Parameters
        ----------
        below
            Returns a folder's path below the root, ``"."`` for the root itself.
        classes
            Number of each class.
        """
        folders = [
            (folder, "" if (path := below(folder)) == "." else f"{path}/") for folder in self._folders.texts()
        ]
        return FolderRecords(self, folders, [classes[name] for name in self._labels.texts()])

    def _name(self, row: int) -> str:
        first = self._ends[row - 1] if row else 0
        return os.fsdecode(bytes(self._names[first : self._ends[row]]))


class _Reading(partial[bytes]):
    """Reads a file; equal to what reads the same one, as records of one image are that are made one after the other."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, partial) and (self.func, self.args) == (other.func, other.args)

    def __hash__(self) -> int:
        return hash((self.func, self.args))


class FolderRecords(Sequence[Record]):
    """The records of a folder's images; see `FoundImages.records`."""

    def __init__(self, found: FoundImages, folders: Sequence[tuple[str, str]], labels: Sequence[int]) -> None:
        self._found, self._folders, self._labels = found, folders, labels
        self._splits, self._groups = found._splits.texts(), found._groups.texts()

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        found = self._found
        folder, below = self._folders[found._folders.of_row[row]]
        name = found._name(row)
        return Record(
            id=below + name,
            label=self._labels[found._labels.of_row[row]],
            split=self._splits[found._splits.of_row[row]],
            read=_Reading(read_regular_file, os.path.join(folder, name)),
            size=found._sizes[row],
            mtime_ns=found._mtimes[row],
            group=self._groups[found._groups.of_row[row]],
            state=bytes(found._states[STATE_BYTES * row : STATE_BYTES * (row + 1)])
            if found._has_state[row]
            else b"",
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def ids(self) -> Iterator[str]:
        """Yield the ids."""
        found = self._found
        for row, folder in enumerate(found._folders.of_row):
            yield self._folders[folder][1] + found._name(row)

    def columns(self) -> RecordColumns:
        """Return the columns."""
        found, count = self._found, len(self)
        states = np.frombuffer(bytes(found._states), np.uint8).reshape(count, STATE_BYTES)
        groups = self._groups
        return RecordColumns(
            ids=NameColumn(encode_names(self.ids, count)),
            labels=np.array(self._labels, np.int32)[np.array(found._labels.of_row, np.int32)],
            split_names=self._splits,
            split_of=np.array(found._splits.of_row, np.int32),
            sizes=np.array(found._sizes, np.int64),
            mtimes_ns=np.array(found._mtimes, np.int64),
            states=states,
            has_state=np.array(found._has_state, np.bool_),
            groups=tuple(groups[number] for number in found._groups.of_row) if any(groups) else None,
        )
