"""One table in each of several folders, read as one: ``csv:photos/*/metadata.jsonl``.

As the Hugging Face library's image folders are labelled: ``train/metadata.jsonl`` and ``test/metadata.jsonl``, with the
names of files in their own folder. The folders are the splits, where their names say so.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from featcache.datasets.dataset import UNSPLIT, access_errors
from featcache.datasets.folder_files import is_hidden
from featcache.datasets.formats.table_rows import READERS, Table, TableRows, open_table_file
from featcache.datasets.layouts.split_words import split_of
from featcache.datasets.left_out import LeftOut
from featcache.datasets.names import natural_key
from featcache.errors import MissingFileError
from featcache.images.names import is_image_name

_EVERY = "*"
_METADATA = tuple(f"metadata{suffix}" for suffix in READERS)


@dataclass(frozen=True)
class OpenTable:
    """A table, or several that are read as one.

    Parameters
    ----------
    table
        Its columns and rows; of several, the columns of all, without a value where one lacks them.
    origins
        Of several: a row's place to its table's folder, relative to that above all, and split; known once it was read.
    skipped
        Reasons and counts of folders that were left out.
    """

    table: Table
    origins: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)

    def name_of(self, place: str, name: str) -> str:
        """Return an image's name as it is relative to the folder of the table, or to that above all."""
        above, _ = self.origins.get(place, ("", UNSPLIT))
        return f"{above}/{name}" if above and not os.path.isabs(name) else name

    def split_of(self, place: str) -> str:
        """Return the split that the folder of a row's table tells; none where it tells none."""
        return self.origins.get(place, ("", UNSPLIT))[1]


def are_several(file: Path) -> bool:
    """Return whether a table's path is that of one in every folder, and no folder is called so."""
    return file.parent.name == _EVERY and not os.path.lexists(file.parent)


def base_of(file: Path) -> Path:
    """Return the folder that paths in a table are relative to: its own, or that above the folders of several."""
    return file.parent.parent if are_several(file) else file.parent


def open_tables(file: Path, delimiter: str | None = None) -> OpenTable:
    """Read the headers of the tables of one name in the folders of another: of those that are splits, if some are.

    Parameters
    ----------
    file
        ``FOLDER/*/NAME``, for which `are_several` holds.
    delimiter
        As of `featcache.datasets.formats.table_rows.open_table_file`, which says what is raised, too.

    Raises
    ------
    MissingFileError
        If no folder holds such a table.
    """
    base = base_of(file)
    with access_errors(base):
        folders = _holding(base, file.name)
    if not folders:
        raise MissingFileError(
            f"no table {file}; expected {file.name} in the folders of {base}, one for each split, such as "
            f"{base / 'train' / file.name}"
        )
    splits = {name: split for name in folders if (split := split_of(name))}
    skipped = LeftOut()
    if splits:
        skipped.folders("folder", "beside the splits", [name for name in folders if name not in splits])
    tables = {
        name: open_table_file(base / name / file.name, delimiter)
        for name in folders
        if name in splits or not splits
    }
    origins: dict[str, tuple[str, str]] = {}
    first = next(iter(tables.values()))
    more = dict.fromkeys(n for own in tables.values() for n in own.columns if n not in first.columns)

    def rows(chosen: Sequence[str]) -> TableRows:
        for name, own in tables.items():
            for place, values in _rows(own, chosen):
                origins[place] = name, splits.get(name, UNSPLIT)
                yield place, values

    return OpenTable(Table((*first.columns, *more), rows, first.delimiter), origins, dict(skipped))


def _rows(table: Table, chosen: Sequence[str]) -> Iterator[tuple[str, list[object]]]:
    """Yield rows with ``None`` for the columns that a table lacks."""
    own = [name for name in chosen if name in table.columns]
    for place, values in table.rows(own):
        held = dict(zip(own, values, strict=True))
        yield place, [held.get(name) for name in chosen]


def _holding(base: Path, name: str) -> list[str]:
    """Return the folders that hold a file of this name, in natural order."""
    try:
        names = sorted(os.listdir(base), key=natural_key)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [each for each in names if not is_hidden(each) and os.path.isfile(base / each / name)]


def metadata_of_splits(folder: Path) -> str:
    """Return the name of the tables that label the images beside them in several split folders; empty where none do.

    Parameters
    ----------
    folder
        Above ``train/metadata.jsonl`` and ``test/metadata.jsonl``.
    """
    for name in _METADATA:
        try:
            splits = {split_of(each) for each in _holding(folder, name) if _holds_images(folder / each)} - {
                None
            }
        except OSError:
            return ""
        if len(splits) > 1:
            return name
    return ""


def tables_of_splits(folder: Path) -> str:
    """Return the name of a table that is in several split folders; empty where none is."""
    try:
        splits = [each for each in sorted(os.listdir(folder), key=natural_key) if split_of(each)]
        held = [
            {n for n in os.listdir(folder / each) if Path(n).suffix.casefold() in READERS} for each in splits
        ]
    except OSError:
        return ""
    counts = {name: sum(name in own for own in held) for own in held for name in sorted(own)}
    return next((name for name, count in counts.items() if count > 1), "")


def _holds_images(folder: Path) -> bool:
    return any(is_image_name(name) for name in os.listdir(folder))
