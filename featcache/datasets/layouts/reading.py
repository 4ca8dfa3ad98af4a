"""Read a layout from the folders alone: plain ones are taken, what is not plain is refused with both readings."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from featcache.core.display import some
from featcache.datasets.dataset import UNSPLIT
from featcache.datasets.layouts.layout import Layout, Part, listed, option
from featcache.datasets.layouts.signs import (
    labelled_beside,
    odd_classes,
    require_no_copy_among,
    require_no_split_among,
    require_no_split_inside,
    require_one_level,
    splits_below_classes,
)
from featcache.datasets.layouts.split_words import exact_split, says_nothing, split_of
from featcache.datasets.layouts.tree import Folder
from featcache.errors import DataError

Splits = Sequence[tuple[str, Folder]]
"""Folders that stand for splits, each behind its split."""


def read_layout(root: Folder, place: str, *, one_class: bool = False) -> Layout:
    """Decide what the folders of a dataset are.

    Parameters
    ----------
    root
        The folders, with their images (`featcache.datasets.layouts.tree.tree`).
    place
        The dataset's path, for messages.
    one_class
        Whether a single class is enough, as where photos are only scored: then a folder in which there is one folder
        is that class, unless splits are below it.

    Raises
    ------
    DataError
        If there are two readings; the message names both, and the option that chooses.
    """
    top = _below_wrappers(root)
    if one_class and top is not root and not _has_splits(top):
        top = root
    layout = _read(top, place, one_class)
    if top is root:
        return layout
    above = (*_path_to(root, top), *layout.above)
    only = f"{place}: the dataset is taken from {top.path}/, the only folder of images in it"
    inner = layout.said or (
        only + (f" {_choose(layout.parts[0].path.count('/') + 1)}" if layout.parts else "")
    )
    return replace(layout, above=tuple(dict.fromkeys(above)), wrapper=top.path, said=inner)


def _read(top: Folder, place: str, one_class: bool) -> Layout:
    exact = [f for f in top.folders if exact_split(f.name)]
    if any(exact_split(f.name) == "train" for f in exact):
        return _beside_train(top, exact, place, one_class)
    named = {f.name: split for f in top.live if (split := split_of(f.name))}
    folders = [f for f in top.live if f.name in named]
    others = [f for f in top.live if f.name not in named]
    several = len({*named.values()}) > 1
    if named and others:
        require_no_split_among(place, named, top.live)
    if any(f.live for f in folders) and ("train" in named.values() if others else several or len(named) == 1):
        splits = [(named[f.name], f) for f in folders]
        said = _said_splits(place, splits)
        if len(folders) == 1 and not (one_class and "train" in named.values()):
            said += _instead(place, folders[0])
        return _beside(place, splits, others, class_folders(splits, place, one_class=one_class, said=said))
    if several and not others:
        raise DataError(
            f"{place}: {listed(folders)} are named like splits and hold images, but no class folders. Either their "
            f"images have no labels, and these have to come from elsewhere, such as a table (csv:TABLE), or the "
            f"folders are classes ({option(classes_at=folders[0].level)})"
        )
    return _classes(top, place, [f for f in folders if f.is_flat] if len(others) > 1 else [])


def _beside_train(top: Folder, exact: Sequence[Folder], place: str, one_class: bool) -> Layout:
    """Return the splits beside a folder that is called train."""
    others = [f for f in top.live if f not in exact]
    flat = [f for f in exact if f.live] == [] and len(others) > 1 and all(f.is_flat for f in others)
    if flat and any(f.total for f in exact):
        return _flat_train(top, exact, others, place)
    taken = {exact_split(f.name) for f in exact}
    more = [f for f in others if (split := split_of(f.name)) and split not in taken]
    splits = [(split, f) for f in top.folders if f in exact or f in more if (split := split_of(f.name))]
    beside = [f for f in top.folders if f not in exact and f not in more]
    alone = len(top.live) == 1 and bool(top.live[0].live) and not one_class
    said = _said_splits(place, splits) if alone or any(f.live for f in more) else ""
    said += _instead(place, top.live[0]) if alone else ""
    return _beside(place, splits, beside, class_folders(splits, place, one_class=one_class, said=said))


def _beside(place: str, splits: Splits, others: Sequence[Folder], found: Layout) -> Layout:
    """Return the layout of splits with the folders beside them; those that hold the same classes are said."""
    told = labelled_beside(place, splits, others, {part.label for part in found.parts}, said=found.said)
    return replace(found, beside=tuple(f.name for f in others), said=told)


def _instead(place: str, only: Folder) -> str:
    return f"; for a dataset without splits, name the folder itself ({place}/{only.path})"


def _flat_train(top: Folder, exact: Sequence[Folder], others: Sequence[Folder], place: str) -> Layout:
    """Return the classes where all folders hold images alone, and one is called train."""
    if len(exact) > 1:
        raise DataError(
            f"{place}: {listed(exact)} are named like splits and hold images without class folders, beside "
            f"{listed(others)}; if all of these are classes, say {option(classes_at=exact[0].level)}"
        )
    return replace(
        _classes(top, place, []),
        said=f"{place}: {exact[0].path}/ is taken as a class like {listed(others)}, since it holds images and no class "
        f"folders (to choose: {option(classes_at=exact[0].level)})",
    )


def _order(found: tuple[str, Folder]) -> int:
    return ("train", "val", "test").index(found[0])


def _said_splits(place: str, splits: Splits) -> str:
    live = sorted(((split, f) for split, f in splits if f.total), key=_order)
    taken = ", ".join(f"{f.path}/ is taken as {split}" for split, f in live)
    return f"{place}: {taken} (to choose: {option(splits={f.path: split for split, f in live})})"


# Classes ------------------------------------------------------------------------------------------------------


def _classes(top: Folder, place: str, like_splits: Sequence[Folder]) -> Layout:
    """Return the folders in one as classes, with splits below them if they are there."""
    if below := splits_below_classes(place, top.live):
        parts = [
            Part(f.path, below[f.name], c.name) for c in top.folders for f in c.folders if f.name in below
        ]
        names = [f"{name}/ is taken as {split}" for name, split in below.items()]
        choose = option(splits=below, classes_at=top.level + 1)
        said = f"{place}: in the class folders, {some(names)} (to choose: {choose})"
        return Layout(tuple(parts), (top.path, *(c.path for c in top.live)), said=said)
    require_one_level(place, top.live)
    require_no_split_inside(place, top.live)
    return Layout(
        tuple(Part(f.path, UNSPLIT, f.name) for f in top.folders),
        (top.path,),
        said=_said_classes(top, place, like_splits),
    )


def _said_classes(top: Folder, place: str, like_splits: Sequence[Folder]) -> str:
    if like_splits:
        return (
            f"{place}: {listed(like_splits)} {'are' if len(like_splits) > 1 else 'is'} named like a split and taken as "
            f"a class; if the images in it have no labels, move it out of the dataset "
            f"{_choose(top.level + 1)}"
        )
    return odd_classes(place, top.live) or _said_inner(place, top.live)


def _said_inner(place: str, folders: Sequence[Folder]) -> str:
    """Return what is said where every class holds several folders and no image beside them."""
    if len(folders) < 2 or not all(len(f.live) > 1 and not f.images for f in folders):
        return ""
    inner, level = [f.name for outer in folders for f in outer.live], folders[0].level
    return (
        f"{place}: {some([f.name for f in folders])} are taken as the classes, with the folders in them; if these are "
        f"the classes ({some(inner)}), say {option(classes_at=level + 1)} {_choose(level)}"
    )


def _choose(level: int) -> str:
    return f"(to choose: {option(classes_at=level)})"


# Splits -------------------------------------------------------------------------------------------------------


def class_folders(splits: Splits, place: str, *, one_class: bool = False, said: str = "") -> Layout:
    """Return the class folders in the folders of splits.

    A level that repeats the split (``seg_train/seg_train/CLASS``), or is the only folder in each split, is passed over.
    Images of a split that are in no class folder, or in one that repeats its name (``test/test/1.jpg``), have no labels
    and are left out.

    Parameters
    ----------
    splits
        Folders, each behind its split.
    place
        The dataset's path, for messages.
    one_class
        Whether a single class is enough (`read_layout`).
    said
        What was said of the splits.
    """
    known = {name for split, f in splits if split == "train" for name in _repeated(split, f).names}
    inner = _below_only([(split, _repeated(split, f, known)) for split, f in splits], one_class=one_class)
    taken = [(split, f) for split, f in inner if _has_labels(split, f, known)]
    for split, folder in taken:
        require_no_copy_among(place, split, folder)
        require_one_level(place, folder.live)
    parts = tuple(Part(f.path, split, f.name) for split, above in taken for f in above.folders)
    flat = [] if not parts else [f for split, f in inner if (split, f) not in taken]
    moved = [new for (_, old), (_, new) in zip(splits, inner, strict=True) if new is not old and new.live]
    if moved and parts and not said:
        levels = {part.path.count("/") + 1 for part in parts}
        choose = (
            _choose(max(levels))
            if len(levels) == 1
            else f"(to choose: {option(splits={f.path: split for split, f in sorted(inner, key=_order) if f.total})})"
        )
        said = f"{place}: the class folders are taken from {listed(moved)} {choose}"
    return Layout(
        parts,
        above=tuple(f.path for _, f in inner if f not in flat),
        unlabelled=tuple((f.path, f.total) for f in flat),
        said=said
        or _said_of_train(place, [f for split, above in taken if split == "train" for f in above.live]),
    )


def _said_of_train(place: str, folders: Sequence[Folder]) -> str:
    return odd_classes(place, folders) or _said_inner(place, folders)


def _repeated(split: str, folder: Folder, known: Collection[str] = ()) -> Folder:
    """Return the folder below levels that only say the split again; a class of that name is none."""
    while len(folder.live) == 1 and not folder.images and split_of(folder.live[0].name) == split:
        only = folder.live[0]
        if only.name in known or (only.is_flat and split == "train"):
            break
        folder = only
    return folder


def _below_only(splits: Splits, *, one_class: bool) -> Splits:
    """Return the folders below a level that is one same folder in all splits, and no class."""
    live = [f for _, f in splits if f.live]
    names = {name for f in live for name in f.names}
    if len(names) != 1 or not all(f.live[0].holds_folders and not f.images for f in live):
        return [(split, _below_filler(f, live)) for split, f in splits]
    if one_class and not says_nothing(*names):
        return splits
    return [(split, f.live[0] if f.live else f) for split, f in splits]


def _below_filler(folder: Folder, splits: Sequence[Folder]) -> Folder:
    """Return the folder of classes in ``train/images/CLASS`` where other splits have ``test/CLASS``."""
    only = folder.live[0] if len(folder.live) == 1 and not folder.images else None
    if only is None or not only.holds_folders or not says_nothing(only.name):
        return folder
    elsewhere = {name for f in splits if f is not folder for name in f.names}
    return only if only.names & elsewhere and only.name not in elsewhere else folder


def _has_labels(split: str, folder: Folder, known: set[str]) -> bool:
    """Return whether the folder of a split has class folders; that of the training images is taken to have."""
    if not folder.total or split == "train":
        return True
    if folder.is_flat:
        return False
    names = folder.names
    return len(names) > 1 or bool(names & known) or not folder.live[0].is_flat or not says_nothing(*names)


# Wrappers -----------------------------------------------------------------------------------------------------


def _below_wrappers(root: Folder) -> Folder:
    """Return the folder below those that hold nothing but one folder, as archives are packed."""
    top = root
    while len(top.live) == 1 and top.holds_folders:
        only = top.live[0]
        if not only.holds_folders or split_of(only.name):
            break
        if all(split_of(f.name) and f.is_flat for f in only.live):
            break
        top = only
    return top


def _has_splits(top: Folder) -> bool:
    return any(split_of(f.name) and f.live for f in top.live)


def _path_to(root: Folder, top: Folder) -> list[str]:
    """Return the paths of the folders above one."""
    parts = top.path.split("/")
    return [root.path, *("/".join(parts[:end]) for end in range(1, len(parts)))]
