"""Dataset specs, such as ``folder:PATH`` or just a path; `open_dataset` turns one into records."""

import os
import re
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import quote

from featcache.core.argument_types import checked_types, spelled
from featcache.core.disk.names import expanded, near_names
from featcache.core.disk.store_urls import is_url, last_part, redacted
from featcache.core.warning import warn, warn_all
from featcache.datasets.dataset import Dataset, Record, require_usable
from featcache.datasets.folder_files import images_below, is_hidden
from featcache.datasets.formats.coco import open_coco
from featcache.datasets.formats.folder import LAYOUTS, open_folder
from featcache.datasets.formats.huggingface import open_hf
from featcache.datasets.formats.split_lists import open_lists
from featcache.datasets.formats.split_tables import metadata_of_splits, tables_of_splits
from featcache.datasets.formats.table import open_table
from featcache.datasets.formats.table_rows import READERS
from featcache.datasets.formats.tables_beside import table_beside
from featcache.datasets.formats.tar import open_tar
from featcache.datasets.formats.tfds import open_tfds
from featcache.datasets.layouts.layout import in_text
from featcache.datasets.left_out import LeftOut
from featcache.datasets.names import alike
from featcache.datasets.remote.mirror import open_remote_folder
from featcache.datasets.remote.rows import open_remote_table
from featcache.datasets.spec_options import CLASSES_AT, LABEL_FROM, SPLITS, with_option
from featcache.datasets.unlabelled import open_photo_lists, open_photos, without_labels
from featcache.errors import DataError, FeatcacheError, MissingFileError, UsageError, did_you_mean

__all__ = ["Dataset", "Record", "folder_spec", "open_dataset", "open_to_score", "photos_spec"]

_SOURCES: Mapping[str, Callable[..., Dataset]] = {
    "folder": open_folder,
    "csv": open_table,
    "coco": open_coco,
    "lists": open_lists,
    "tfds": open_tfds,
    "tar": open_tar,
    "hf": open_hf,
}

_ONE_CLASS = ("folder", "csv", "coco")
"""Sources that can be opened with a single class."""

_UNLABELLED: Mapping[str, Callable[[str], Dataset]] = {
    "folder": open_photos,
    "csv": partial(open_table, unlabelled=True),
    "lists": open_photo_lists,
    "tar": partial(open_tar, unlabelled=True),
}
"""Sources that need no labels; those of the others are left out."""

_SUFFIXES = {**dict.fromkeys(READERS, "csv"), ".json": "coco", ".tar": "tar", ".arrow": "hf"}
"""The kind of dataset that a file's suffix suggests, for error messages."""

_MARKS = {
    "hf": (("dataset_dict.json",), ("state.json",), ("dataset_info.json",)),
    "lists": (
        ("meta/train.txt",),
        ("train.txt", "images"),
        ("images.txt", "image_class_labels.txt", "classes.txt"),
        ("annotations/trainval.txt", "images"),
        ("annotations/train.txt", "images"),
        ("setid.mat", "imagelabels.mat"),
        ("devkit/cars_train_annos.mat",),
        ("cars_train_annos.mat",),
        ("cars_annos.mat",),
        ("train_list.mat", "test_list.mat"),
    ),
}
"""Files by which a folder is recognised as another kind of dataset than class folders, for error messages."""

_TABLES = tuple(
    f"{above}metadata.{suffix}" for above in ("", "train/") for suffix in ("jsonl", "csv", "parquet")
)
"""Tables beside images by which the Hugging Face library's image folders are labelled, for error messages."""


@checked_types(but=("splits",))
def open_dataset(
    spec: str | os.PathLike[str] | Dataset,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    label_from: str | None = None,
    splits: str | Mapping[str, str] | None = None,
    classes_at: int | None = None,
    unlabelled: bool = False,
    allow_empty_classes: bool = False,
) -> Dataset:
    """Scan a dataset without reading its images.

    Parameters
    ----------
    spec
        ``"folder:PATH"``, or a path alone; ``"csv:TABLE"``; ``"coco:FILE"``; ``"lists:PATH"``; ``"tfds:NAME"``;
        ``"tar:SHARDS"``; ``"hf:PATH"``. A dataset that is open already is returned.
    data_dir
        Folder of prepared TFDS datasets: the same as ``?data_dir=`` behind ``"tfds:NAME"``.
    label_from
        Template or regular expression by which the names of a folder's files tell their labels, such as
        ``"{label}_{}.jpg"``: the same as ``?label_from=`` behind ``"folder:PATH"``.
    splits
        Which folders of a folder are which split: ``"train=training_set,test=test_set"``, a mapping from splits to
        folders, or ``"none"``; the same as ``?splits=`` behind ``"folder:PATH"``.
    classes_at
        Level of the class folders of a folder, 1 for those in it: the same as ``?classes_at=`` behind
        ``"folder:PATH"``.
    unlabelled
        Whether to open images without their labels, which need not be there: a folder of any depth, a table with a
        column of paths alone, ``"lists:FILE"`` with a path in each line, shards of images alone. For similarity search,
        clustering and predictions; heads are not trained on them.
    allow_empty_classes
        Whether to open a folder in which no picture of a class can be read, such as HEICs where nothing reads them.

    Raises
    ------
    UsageError
        If the spec's kind is unknown, or missing for a path that is no folder; if `data_dir` is given for a dataset
        that is not of TFDS, or `label_from`, `splits` or `classes_at` for one that is no folder.
    DataError
        If the dataset is missing, empty or not usable.
    """
    spec = folder_spec(spec, label_from=label_from, splits=splits, classes_at=classes_at)
    opened = isinstance(spec, Dataset)
    name = spec.spec if opened else os.fspath(spec)
    kind, _, rest = name.partition(":")
    if data_dir is not None:
        if opened or kind != "tfds" or "data_dir=" in rest:
            why = "says where it is itself" if kind == "tfds" else "is no dataset of TFDS (tfds:NAME)"
            raise UsageError(f"{spelled('data_dir')} {os.fspath(data_dir)}: {name!r} {why}; leave it out")
        name += f"{'&' if '?' in rest else '?'}data_dir={quote(os.fspath(data_dir))}"
    if opened:
        data = without_labels(spec) if unlabelled else spec
        require_usable(data)
        return data
    if unlabelled:
        return without_labels(_open(name, {**_SOURCES, **_UNLABELLED}))
    return _told(_open(name, _labelled(allow_empty_classes=allow_empty_classes)))


def open_to_score(spec: str | os.PathLike[str] | Dataset, *, allow_empty_classes: bool = False) -> Dataset:
    """Open labelled photos that a classifier is scored on, for which a folder or a table may hold one class only.

    Parameters
    ----------
    spec, allow_empty_classes
        As of `open_dataset`, which says what is raised, too.
    """
    if isinstance(spec, Dataset):
        return spec
    sources = _labelled(least_classes=1, allow_empty_classes=allow_empty_classes)
    return _told(_open(os.fspath(spec), sources))


def folder_spec(
    spec: str | os.PathLike[str] | Dataset,
    *,
    label_from: str | None = None,
    splits: str | Mapping[str, str] | None = None,
    classes_at: int | None = None,
) -> str | os.PathLike[str] | Dataset:
    """Return a folder's spec with the options in it that say how it is read; see `open_dataset`.

    Raises
    ------
    UsageError
        If one is given for what is no folder, is open already, or says it itself.
    """
    named = splits if isinstance(splits, str | None) else in_text({f: s for s, f in splits.items()})
    level = None if classes_at is None else str(classes_at)
    for key, value in {LABEL_FROM: label_from, SPLITS: named, CLASSES_AT: level}.items():
        if value is not None:
            if isinstance(spec, Dataset):
                raise UsageError(f"{spelled(key)} {value}: {spec.spec!r} is open already; leave it out")
            spec = with_option(spec, key, value, tuple(_SOURCES))
    return spec


def photos_spec(
    photos: str | os.PathLike[str] | Dataset | None,
    *,
    label_from: str | None = None,
    splits: str | Mapping[str, str] | None = None,
    classes_at: int | None = None,
    allow_empty_classes: bool = False,
) -> str | os.PathLike[str] | Dataset | None:
    """Return `folder_spec` of photos that need not be given; without them, options for them are refused.

    Raises
    ------
    UsageError
        If one is given without photos, or for what is no folder.
    """
    if photos is not None:
        return folder_spec(photos, label_from=label_from, splits=splits, classes_at=classes_at)
    given = {"label_from": label_from, "splits": splits, "classes_at": classes_at}
    named = [f"{spelled(name)} {value}" for name, value in given.items() if value is not None]
    if allow_empty_classes:
        named.append(spelled("allow_empty_classes"))
    if named:
        raise UsageError(f"{named[0]}: it is for photos, and none are given; name their folder")
    return None


def _told(data: Dataset) -> Dataset:
    """Warn of classes that people take for one, whatever the source is."""
    warn_all(f"{data.spec}: {note}" for note in alike(data.classes))
    return data


def _labelled(*, least_classes: int = 2, allow_empty_classes: bool) -> Mapping[str, Callable[[str], Dataset]]:
    """Return the functions that read labels, by the kind of dataset."""
    one_class = {kind: partial(_SOURCES[kind], least_classes=least_classes) for kind in _ONE_CLASS}
    folder = partial(one_class["folder"], allow_empty_classes=allow_empty_classes)
    return {**_SOURCES, **one_class, "folder": folder}


def _open(name: str, sources: Mapping[str, Callable[[str], Dataset]]) -> Dataset:
    """Open a spec by the function of its kind."""
    kind, colon, rest = name.partition(":")
    if is_url(name) or (kind in sources and is_url(rest)):
        return _open_url(name, *((kind, rest) if kind in sources else ("", name)), sources)
    if colon and kind in sources:
        return sources[kind](rest)
    # A one-letter kind is a Windows drive, and one with a slash is a path that contains a colon.
    if colon and len(kind) > 1 and "/" not in kind and "\\" not in kind:
        if re.fullmatch(r"\d+\.\d+\.\d+", rest):
            raise UsageError(f"dataset {name!r}: no source {kind!r}; a dataset of TFDS is tfds:{name}")
        raise UsageError(f"dataset {name!r}: no source {kind!r}; {did_you_mean(kind, _SOURCES)}, or a path")
    return _open_path(name, sources["folder"], sources["csv"])


def _open_url(name: str, kind: str, url: str, sources: Mapping[str, Callable[[str], Dataset]]) -> Dataset:
    """Open what lies in an object store or on a web server; errors are without what is secret in its URL."""
    try:
        return _opened_url(name, kind, url, sources)
    except FeatcacheError as error:
        error.args = (redacted(str(error)), *error.args[1:])
        raise


def _opened_url(name: str, kind: str, url: str, sources: Mapping[str, Callable[[str], Dataset]]) -> Dataset:
    if kind == "tar":
        return sources[kind](url)
    if kind == "csv":
        return open_remote_table(url, sources[kind])
    shown = redacted(name)
    meant = _SUFFIXES.get(Path(last_part(url)).suffix.casefold())
    if not kind and meant in ("csv", "tar"):
        raise UsageError(f"dataset {shown!r} says no kind; did you mean {meant}:{shown}?")
    if kind not in ("", "folder"):
        raise UsageError(
            f"dataset {shown!r}: {kind}: reads files of this machine; copy them, and name the copy; folder:, csv: and "
            "tar: read URLs"
        )
    return open_remote_folder(url, sources["folder"])


def _open_path(path: str, open_: Callable[[str], Dataset], open_csv: Callable[[str], Dataset]) -> Dataset:
    """Open a folder, or the tables in its splits that label it; for any other path, the error names the likely kind."""
    file, mark, _ = path.rpartition("?")  # options may stand behind it already
    suffix = Path(file if mark else path).suffix.casefold()
    meant = "lists" if open_ is open_photos and suffix == ".txt" else _SUFFIXES.get(suffix)
    if meant and not expanded(path).is_dir():
        near = "" if os.path.exists(file if mark else path) else near_names(file if mark else path)
        if near:
            raise MissingFileError(f"no dataset {path}; {near}")
        raise UsageError(f"dataset {path!r} says no kind and is no folder; did you mean {meant}:{path}?")
    try:
        return open_(path)
    except MissingFileError as error:
        if re.fullmatch(r"[a-z]\w*", path) and "did you mean" not in str(error):
            raise MissingFileError(f"{error}; a dataset of TFDS would be tfds:{path}") from None
        raise
    except DataError as error:
        if found := _by_metadata(path, open_csv):
            return found
        if meant := _other_spec(expanded(path), path, any_table=LAYOUTS in str(error)):
            raise DataError(f"{error}. Did you mean {meant}?") from None
        raise


def _by_metadata(path: str, open_csv: Callable[[str], Dataset]) -> Dataset | None:
    """Open a folder whose splits each hold a table that labels the images beside it; ``None`` where it is none such."""
    if not (name := metadata_of_splits(expanded(path))):
        return None
    tables = os.path.join(path, "*", name)
    found = open_csv(tables)
    warn(f"{path}: labels are those of {name} in its splits, as {shlex.quote(f'csv:{tables}')} reads them")
    return found


def _other_spec(folder: Path, path: str, *, any_table: bool) -> str | None:
    """Return the spec of the dataset that a folder looks like, by the names in it, or of a table beside its images.

    Where it holds nothing but one folder, as an archive unpacked into its own name does, that is looked at.
    """
    if os.path.exists(folder / "features.json"):  # of TFDS, whose dataset_info.json is another
        return None
    found = (
        shlex.quote(f"{kind}:{path}")
        for kind, marks in _MARKS.items()
        if any(all(os.path.exists(folder / name) for name in names) for names in marks)
    )
    try:
        held = sorted(os.listdir(folder))
    except (OSError, ValueError):
        return None
    if (kind := next(found, None)) is not None:
        return kind
    read = [name for name in held if Path(name).suffix.casefold() in READERS]
    found_images = images_below(folder, LeftOut()) if read else ()
    images = {os.path.relpath(each.path, folder): "" for each in found_images}
    if table := table_beside(folder, path, images):
        return table.said
    if several := tables_of_splits(folder):
        return shlex.quote(f"csv:{os.path.join(path, '*', several)}")
    names = (*_TABLES, *(read if any_table else ()))
    tables = (
        shlex.quote(f"csv:{os.path.join(path, name)}") for name in names if os.path.isfile(folder / name)
    )
    inner = [name for name in held if not is_hidden(name)]
    if (meant := next(tables, None)) or len(inner) != 1 or not os.path.isdir(folder / inner[0]):
        return meant
    return _other_spec(folder / inner[0], os.path.join(path, inner[0]), any_table=any_table)
