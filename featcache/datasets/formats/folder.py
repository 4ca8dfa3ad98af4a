"""Folders of images: ``root/split/class/*.jpg`` or ``root/class/*.jpg``."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from featcache.core.disk.names import expanded, near_names, no_folder, require_folder
from featcache.core.display import some
from featcache.core.warning import warn
from featcache.datasets.dataset import UNSPLIT, Dataset, Record, access_errors, features_alone, space_at_end
from featcache.datasets.folder_files import FoundImage, entries_of, images_below, inode, is_folder
from featcache.datasets.folder_records import FoundImages
from featcache.datasets.formats.tables_beside import TableBeside, table_beside, tables_in
from featcache.datasets.labels.file_names import NamePattern, Told
from featcache.datasets.labels.name_forms import in_words as form_in_words
from featcache.datasets.labels.name_forms import told_classes
from featcache.datasets.layouts.chosen import chosen_layout, read_level, read_splits, unusual_splits
from featcache.datasets.layouts.layout import Layout, option
from featcache.datasets.layouts.split_words import split_of
from featcache.datasets.layouts.tree import count_images, split_files, told_beside, tree
from featcache.datasets.left_out import LeftOut, in_words, refuse_vanished
from featcache.datasets.names import natural_key
from featcache.datasets.spec_options import CLASSES_AT, FOLDER_OPTIONS, LABEL_FROM, SPLITS, read_options
from featcache.errors import DataError, UsageError
from featcache.images.given_path import PHOTOS, refusal

LAYOUTS = "expected ROOT/CLASS/image.jpg or ROOT/{train,val,test}/CLASS/image.jpg"


def open_folder(path: str, *, least_classes: int = 2, allow_empty_classes: bool = False) -> Dataset:
    """Scan a folder of class folders, with or without split folders above them (`featcache.datasets.layouts`).

    Hidden files and folders, and files that are not images by their extension are left out and counted; nothing is
    opened but files without extension, whose first bytes tell. What has an image's name and is no regular file (a
    broken link, a FIFO, a folder without images) is a record that cannot be read: a photo may be in its place again.
    Classes are the names of the class folders over all splits, in natural order; a class folder may hold folders of its
    own. Folders that stand for the same split (``val/`` and ``dev/``) are taken together.

    With ``?label_from=PATTERN`` behind the path the files' names tell the classes, in whatever folders they are
    (`featcache.datasets.labels.file_names`).

    Parameters
    ----------
    path
        The folder, ``~`` is expanded; and options (`featcache.datasets.spec_options`).
    least_classes
        2 for training; where photos are only scored, 1 is enough.
    allow_empty_classes
        Whether to go on without a class folder in which there are pictures, and none of them is read.

    Raises
    ------
    MissingFileError
        If it does not exist.
    DataError
        If it holds no images, no class folders, or fewer classes; if a class would vanish, or folders can be read in
        two ways; if a name tells no label.
    UsageError
        If an option is unknown, or its value cannot be used.
    """
    place, options = read_options("folder", path, FOLDER_OPTIONS)
    root = expanded(place)
    _require_folder(root)
    skipped = LeftOut()
    read = (
        _by_names if LABEL_FROM in options else partial(_by_folders, allow_empty_classes=allow_empty_classes)
    )
    found = read(root, options, skipped, least_classes=least_classes)
    classes = sorted(found.labels, key=natural_key)
    skipped.tell()
    labels = {name: index for index, name in enumerate(classes)}
    return Dataset(
        spec=f"folder:{path}" if options else path,
        name=root.resolve().name or "dataset",
        classes=tuple(classes),
        records=found.records(partial(_below, root=root), labels),
        skipped=skipped.reasons(),
        location=f"folder:{root.resolve()}",
        why_absent=partial(why_absent, root),
    )


def image_records(root: Path) -> tuple[Sequence[Record], LeftOut]:
    """Return a record without label of each image below a folder, and why other files were left out."""
    _require_folder(root)
    skipped = LeftOut()
    found = FoundImages()
    for image in images_below(root, skipped):
        found.append(image)
    return found.records(partial(_below, root=root), {"": -1}), skipped


def why_absent(root: Path, name: str) -> str:
    """Return why an image without a record may be there nevertheless: what is in its place, or in that of a folder."""
    place = os.path.join(root, name)
    return no_folder(place) or (f"{place} is a folder now" if os.path.isdir(place) else "")


def _require_folder(root: Path) -> None:
    if os.path.isfile(root) and (said := refusal(root, PHOTOS)):
        raise DataError(said)
    with access_errors(root, "open the dataset folder"):
        near = near_names(root, os.path.isdir) or LAYOUTS
        missing = f"no dataset folder {root}{space_at_end(root)}; {near}"
        require_folder(root, f"a dataset folder, {LAYOUTS.removeprefix('expected ')}", missing=missing)


def _below(folder: str, root: Path) -> str:
    return Path(folder).relative_to(root).as_posix()


# Classes by folders -------------------------------------------------------------------------------------------


def _by_folders(
    root: Path, options: dict[str, str], skipped: LeftOut, *, least_classes: int, allow_empty_classes: bool
) -> FoundImages:
    """Return the images with the class folders they are in; class folders without images are counted."""
    try:
        layout = _layout(root, options, one_class=least_classes < 2)
    except DataError as error:
        if hint := _form_of_names(root):
            raise DataError(f"{error}{hint}") from None
        raise
    folders = _class_folders(root, layout, skipped)
    found = FoundImages()
    vanished: dict[str, LeftOut] = {}
    for split, name, folder in folders:
        own = LeftOut()
        before = len(found)
        for image in images_below(folder, own, (inode(root), inode(folder.parent))):
            found.append(image, name, split)
        if len(found) == before and own.unread_pictures():
            vanished[_below(str(folder), root)] = own
        skipped.include(own)
    classes = {*found.labels}
    hollow = sorted({n for _, n, _ in folders} - classes, key=natural_key)
    skipped.folders("class folder", "without images", hollow)
    if classes and not allow_empty_classes:
        refuse_vanished(root, vanished)
    _refuse_unusable(root, found, skipped, least_classes, by="folders")
    if layout.said:
        warn(layout.said)
    table = None if {SPLITS, CLASSES_AT} & {*options} else _table(root, layout.wrapper, found)
    if table:
        level = {part.path.count("/") + 1 for part in layout.parts}
        choose = f" (to choose the folders: {option(classes_at=max(level))})" if len(level) == 1 else ""
        warn(
            f"{root}: the classes are those of the folders, and {table.name} beside them, which names the images, is "
            f"not read; if it holds the labels, say {table.said}{choose}"
        )
    files = [name for name in told_beside(root) if not table or name != table.name]
    if SPLITS not in options and not any(found.splits) and files:
        warn(
            f"{root}: {some(files, 3)} beside the classes may tell splits and {'are' if len(files) > 1 else 'is'} not "
            "read: the test images are drawn anew; lists:FOLDER or csv:TABLE reads such files, --splits none (splits= "
            "in Python) is silent"
        )
    return found


def _table(root: Path, wrapper: str, found: FoundImages) -> TableBeside | None:
    """Return a table that names the images and tells other classes than their folders do."""
    for base in dict.fromkeys((root, root / wrapper)):
        if tables_in(base):
            images = {_below(path, base): label for path, label in found.labelled()}
            if table := table_beside(base, str(base), images):
                return table
    return None


def _layout(root: Path, options: dict[str, str], *, one_class: bool) -> Layout:
    """Return what the folders are, by the options if there are any."""
    named, level = options.get(SPLITS), options.get(CLASSES_AT)
    splits = None if named is None else read_splits(named)
    if splits and (told := unusual_splits(str(root), splits)):
        warn(told)
    layout = chosen_layout(
        tree(count_images(root, natural_key)),
        str(root),
        splits=splits,
        classes_at=None if level is None else read_level(level),
        one_class=one_class,
    )
    if layout.wrapper and (files := split_files(root, layout.wrapper)):
        several = len(files) > 1
        raise DataError(
            f"{root} holds one folder of images, {layout.wrapper}/, and beside it {some(files, 3)}, which may tell the "
            f"splits; to leave {'them' if several else 'it'} aside, name the folder itself ({root}/{layout.wrapper}); "
            f"{LAYOUTS}"
        )
    return layout


def _class_folders(root: Path, layout: Layout, skipped: LeftOut) -> list[tuple[str, str, Path]]:
    """Return split, class and place of each class folder, and count what is left out beside them."""
    for above in layout.above:
        loose = sum(not is_folder(entry) for entry in entries_of(root / above, skipped))
        if loose:
            skipped["not in a class folder"] += loose
    skipped.folders("folder", "beside the splits", list(layout.beside))
    for path, count in layout.unlabelled:
        skipped[f"without labels ({path}/)"] = count
    return [(part.split, part.label, root / part.path) for part in layout.parts]


def _refuse_unusable(root: Path, found: FoundImages, skipped: LeftOut, least: int, *, by: str) -> None:
    """Refuse too few classes; `by` says what tells them: ``"folders"`` or ``"names"``."""
    classes = {*found.labels}
    if len(classes) >= max(least, 1):
        return
    if not classes and (said := refusal(root, PHOTOS)):
        raise DataError(said)
    reasons = skipped.reasons()
    rest = f"; left out: {in_words(reasons)}" if reasons else ""
    alone = f"; {features_alone(str(root))}" if classes or skipped["not in a class folder"] else ""
    if by == "folders":
        rest = f"; {LAYOUTS}{alone}{rest}{_form_of_names(root)}"
    elif classes:
        rest = f"{alone}{rest}"
    if not classes:
        raise DataError(f"{root} holds no images{' in class folders' if by == 'folders' else ''}{rest}")
    told = " by its files' names" if by == "names" else ""
    raise DataError(f"{root} holds one class ({min(classes)}){told}; a classifier needs at least two{rest}")


def _form_of_names(root: Path) -> str:
    """Return a hint at the option that reads the labels in the files' names, where they have a form that tells some.

    Where the names in the training folder alone have one (``train/cat.0.jpg``, ``test1/1.jpg``), it is named as well.
    """
    images = [_below(image.path, root) for image in images_below(root, LeftOut())]
    above = {part.casefold() for name in images for part in name.split("/")[:-1]}
    told = told_classes([os.path.basename(name) for name in images]) if images else None
    if told and {label.casefold() for label in told[1]} <= above:
        return ""  # folders of these names say it already, and more
    if told:
        return f". The files' names tell classes: {form_in_words(*told)}"
    folders = {name.partition("/")[0] for name in images if "/" in name}
    train = [folder for folder in sorted(folders) if split_of(folder) == "train"]
    inside = [os.path.basename(name) for name in images if name.startswith(f"{train[0]}/")] if train else []
    if len(train) == 1 and (told := told_classes(inside)):
        splits = option(splits={train[0]: "train"})
        return f". The files' names in {train[0]}/ tell classes: {form_in_words(*told, besides=splits)}"
    return ""


# Classes by names ---------------------------------------------------------------------------------------------


def _by_names(root: Path, options: dict[str, str], skipped: LeftOut, *, least_classes: int) -> FoundImages:
    """Return the images with the labels that their names tell, in whatever folders they are."""
    pattern = NamePattern.parse(options[LABEL_FROM])
    if CLASSES_AT in options:
        raise UsageError(
            f"dataset {str(root)!r}: label_from takes the classes from the files' names, and classes_at from the "
            "folders; give one of them"
        )
    found = [
        (split, above, image)
        for split, above in _split_folders(root, options.get(SPLITS), skipped)
        for image in images_below(above, skipped, () if above == root else (inode(root),))
    ]
    names = [_below(image.path, root) for _, _, image in found]
    told = pattern.read(names)
    hollow = _without_labels(found, told)
    for above, count in hollow.items():
        skipped[f"without labels ({_below(str(above), root)}/)"] = count
    kept = [number for number, (_, above, _) in enumerate(found) if above not in hollow]
    fitting = pattern.require([names[number] for number in kept], [told[number] for number in kept], root)
    labelled = FoundImages()
    for number, own in zip(kept, fitting, strict=True):
        labelled.append(found[number][2], own.label, own.split or found[number][0], own.group)
    _refuse_unusable(root, labelled, skipped, least_classes, by="names")
    return labelled


def _without_labels(
    found: Sequence[tuple[str, Path, FoundImage]], told: Sequence[Told | None]
) -> dict[Path, int]:
    """Return the folders of test images of which no name tells a label, and how many are in each."""
    counts = Counter(above for split, above, _ in found if split == "test")
    labelled = {above for (_, above, _), own in zip(found, told, strict=True) if own is not None}
    return {above: count for above, count in counts.items() if above not in labelled} if labelled else {}


def _split_folders(root: Path, chosen: str | None, skipped: LeftOut) -> list[tuple[str, Path]]:
    """Return the folders that are splits, by the option or by their names; one of them trains, or none is a split."""
    folders = [Path(entry.path) for entry in entries_of(root, LeftOut()) if is_folder(entry)]
    if chosen is not None:
        named = [(split, root / folder) for folder, split in read_splits(chosen).items()]
        if missing := [str(folder) for _, folder in named if not folder.is_dir()]:
            raise UsageError(f"dataset {str(root)!r}: splits={chosen}: there is no folder {missing[0]}")
    else:
        named = [(split, folder) for folder in folders if (split := split_of(folder.name))]
        if not any(split == "train" for split, _ in named):
            named = []
    taken = {folder for _, folder in named}
    if named:
        skipped.folders("folder", "beside the splits", [f.name for f in folders if f not in taken])
    return named or [(UNSPLIT, root)]
