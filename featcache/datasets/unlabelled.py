"""Datasets without labels: for similarity search, clustering and predictions, not for heads."""

from dataclasses import replace
from functools import partial

from featcache.core.argument_types import spelled
from featcache.core.disk.names import expanded, require_file
from featcache.core.tasks import UNLABELLED
from featcache.datasets.dataset import UNSPLIT, Dataset, access_errors
from featcache.datasets.formats.folder import image_records, why_absent
from featcache.datasets.formats.listed_files import Entry, to_dataset
from featcache.datasets.formats.split_lists import open_lists
from featcache.datasets.formats.text_lines import text_lines
from featcache.datasets.left_out import in_words
from featcache.datasets.remote.rows import row_id, row_path
from featcache.datasets.spec_options import FOLDER_OPTIONS, read_options
from featcache.errors import DataError, UsageError


def without_labels(data: Dataset) -> Dataset:
    """Return the same images under the same ids and splits, without their labels."""
    if data.task == UNLABELLED:
        return data
    records = [replace(record, label=-1, target=None) for record in data.records]
    return replace(data, classes=(), records=records, task=UNLABELLED)


def open_photos(path: str) -> Dataset:
    """Take every image below a folder, however deep; its folders are neither classes nor splits.

    Parameters
    ----------
    path
        The folder; ``~`` is expanded.

    Raises
    ------
    MissingFileError
        If it does not exist.
    DataError
        If it holds no images.
    UsageError
        If options stand behind it, which say what its labels and splits are.
    """
    place, options = read_options("folder", path, FOLDER_OPTIONS)
    if options:
        raise UsageError(
            f"dataset {path!r}: {', '.join(f'{key}=' for key in options)} says what labels or splits are, and "
            f"{spelled('unlabelled')} takes every image below the folder without; name it alone ({place}), or leave "
            f"{spelled('unlabelled')} out"
        )
    root = expanded(path)
    records, skipped = image_records(root)
    reasons = skipped.reasons()
    if not records:
        found = f"; left out: {in_words(reasons)}" if reasons else ""
        raise DataError(f"{root} holds no images; expected some, in the folder or those below it{found}")
    skipped.tell()
    return Dataset(
        spec=path,
        name=root.resolve().name or "dataset",
        classes=(),
        records=records,
        skipped=reasons,
        task=UNLABELLED,
        location=f"folder:{root.resolve()}",
        why_absent=partial(why_absent, root),
    )


def open_photo_lists(path: str) -> Dataset:
    """Take the images that split lists name, or a text file with a path in each line, relative to the file's folder.

    Parameters
    ----------
    path
        The folder of split lists, or the text file; ``~`` is expanded.

    Raises
    ------
    MissingFileError
        If it does not exist, or no image does.
    DataError
        If nothing is named, or the list cannot be read.
    """
    file = expanded(path)
    if file.is_dir():
        return open_lists(path, unlabelled=True)
    with access_errors(file):
        require_file(file, "a list of images", missing=f"no list {file}; expected a text file of paths")
    entries = [
        Entry(
            place=f"{file}, line {number}",
            id=row_id(line),
            path=row_path(file.parent, line),
            label="",
            split=UNSPLIT,
        )
        for number, text in text_lines(file)
        if (line := text.strip())
    ]
    if not entries:
        raise DataError(f"{file}: no entries; expected the path of an image in each line")
    return to_dataset(
        entries,
        (),
        spec=f"lists:{path}",
        name=file.stem,
        lookup="paths are relative to the list's folder",
        location=f"lists:{file.resolve()}",
        folder=file.parent,
        task=UNLABELLED,
    )
