"""A layout that the user chose: which folders are splits, and at which level the class folders are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from urllib.parse import unquote

from featcache.core.argument_types import spelled
from featcache.core.display import some
from featcache.datasets.dataset import UNSPLIT
from featcache.datasets.layouts.layout import NO_SPLITS, Layout, Part
from featcache.datasets.layouts.reading import class_folders, read_layout
from featcache.datasets.layouts.signs import labelled_beside, passed_over
from featcache.datasets.layouts.split_words import WORDS, split_of
from featcache.datasets.layouts.tree import Folder
from featcache.errors import DataError, UsageError, did_you_mean
from featcache.splits.slices import SPLITS

EXPECTED = (
    "expected SPLIT=FOLDER, several with commas between them, as train=training_set,test=test_set; or none"
)


def read_splits(text: str) -> dict[str, str]:
    """Read the option `splits`: ``train=training_set,test=test_set``, or ``none``.

    Returns
    -------
    dict
        Split of each folder, by its name or its path below the dataset's; ``.`` is the dataset's own, and stands for
        all folders that are in no other split. In names ``%2C`` is a comma, ``%3D`` an equals sign, ``%25`` a per
        cent sign. Common names of the three usual splits are taken for these.

    Raises
    ------
    UsageError
        If it has another form, or a folder stands in it twice.
    """
    if text.strip() == NO_SPLITS:
        return {}
    found: dict[str, str] = {}
    for part in text.split(","):
        split, _, folder = (each.strip() for each in part.partition("="))
        folder = unquote(folder, errors="surrogateescape").removeprefix("./").rstrip("/")
        if not split or not folder:
            raise UsageError(f"{spelled('splits')} {text!r}: {EXPECTED}")
        if folder in found:
            raise UsageError(
                f"{spelled('splits')} {text!r}: {folder} stands in it twice; name each folder once"
            )
        found[folder] = WORDS.get(split.casefold(), split)
    return found


def unusual_splits(place: str, splits: Mapping[str, str]) -> str:
    """Return what is said of splits that heads do not know; empty where there are none."""
    usual = [*dict.fromkeys(SPLITS.values())]
    own = sorted({*splits.values()}.difference(usual))
    near = [each for name in own for each in get_close_matches(name, usual, 1)]
    typing = f" (did you mean {', '.join(near)}?)" if near else ""
    are = "are" if len(own) > 1 else "is"
    told = (
        f"{place}: {some(own)} {are} none of train, val and test{typing}: heads do not learn from such images"
    )
    return told if own else ""


def read_level(text: str) -> int:
    """Read the option `classes_at`: 1 for folders in the dataset's own, 2 for the folders in these, and so on.

    Raises
    ------
    UsageError
        If it is no whole number from 1 on.
    """
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or int(text) < 1:
        raise UsageError(
            f"{spelled('classes_at')} {text}: expected the level of the class folders, 1 for those in the dataset's "
            "own folder, 2 for the folders in these"
        )
    return int(text)


def chosen_layout(
    root: Folder,
    place: str,
    *,
    splits: Mapping[str, str] | None,
    classes_at: int | None,
    one_class: bool = False,
) -> Layout:
    """Return the layout that the options say.

    Parameters
    ----------
    root, place, one_class
        See `featcache.datasets.layouts.reading.read_layout`.
    splits
        Split of each folder, by its name or path; empty for none, ``None`` for what the names say.
    classes_at
        Level of the class folders; ``None``: the first one below the splits, or above them if they hold images alone.

    Raises
    ------
    UsageError
        If a split's folder is not there.
    DataError
        If no folder of images is at that level; what `read_layout` raises.
    """
    if splits:
        _require_there(root, place, splits)
    if classes_at is None and splits is None:
        return read_layout(root, place, one_class=one_class)
    if classes_at is None:
        assert splits is not None
        return _below_splits(root, place, splits, one_class=one_class)
    named = _named_like_splits(root, classes_at) if splits is None else splits
    parts = tuple(_parts(root, _Chosen(named, classes_at)))
    deepest = max((f.level for f in root.walk() if f.total), default=0)
    if not any(part.path in _live_paths(root) for part in parts):
        raise DataError(
            f"{place}: {spelled('classes_at')} {classes_at}: no class folder of images is there"
            f"{' in the splits' if splits else ''}; the folders of images reach down to level {deepest}"
        )
    layout = _rest(root, parts)
    if splits is not None:
        return layout
    if not named:
        return replace(layout, said=passed_over(place, root, classes_at))
    found = [(named[f.path], f) for f in root.walk() if f.path in named]
    beside = [f for f in root.walk() if f.path in layout.beside]
    classes = {part.label for part in parts}
    return replace(layout, said=labelled_beside(place, found, beside, classes, level=classes_at))


def _live_paths(root: Folder) -> set[str]:
    return {folder.path for folder in root.walk() if folder.total}


@dataclass(frozen=True)
class _Chosen:
    splits: Mapping[str, str]
    classes_at: int


def _own_split(folder: Folder, splits: Mapping[str, str]) -> str | None:
    """Return the split that a folder was named as, by its path or else by its name."""
    return splits.get(folder.path or ".", splits.get(folder.name) if folder.path else None)


def _parts(folder: Folder, chosen: _Chosen, split: str = UNSPLIT, label: str = "") -> Iterator[Part]:
    split = _own_split(folder, chosen.splits) or split
    if folder.level == chosen.classes_at:
        label = folder.name
    if label and folder.level >= chosen.classes_at and (split or not chosen.splits):
        yield Part(folder.path, split, label)
        return
    for inner in folder.folders:
        yield from _parts(inner, chosen, split, label)


def _named_like_splits(root: Folder, level: int) -> dict[str, str]:
    """Return the splits that stand above the class folders by their names, or else directly below them."""
    for depth in (*range(1, level), level + 1):
        folders = [f for f in root.walk() if f.level == depth and (f.live if depth < level else f.total)]
        words = {f.path: split for f in folders if (split := split_of(f.name))}
        whole = bool(words) and len(words) == len(folders)
        parents = [f for f in root.walk() if f.level == depth - 1 and f.total]
        if depth < level and (whole or "train" in words.values()):
            return words
        if depth > level and whole and len({*words.values()}) > 1 and not any(f.images for f in parents):
            return words
    return {}


def _rest(root: Folder, parts: Sequence[Part]) -> Layout:
    """Return the layout of parts: folders that lead to none of them are left out."""
    taken = {part.path for part in parts}
    leading = {"/".join(path.split("/")[:end]) for path in taken for end in range(1, path.count("/") + 1)} | {
        ""
    }
    above = [f for f in root.walk() if f.path in leading]
    beside = [
        inner.path
        for f in above
        for inner in f.folders
        if inner.path not in leading and inner.path not in taken
    ]
    return Layout(tuple(parts), tuple(f.path for f in above), beside=tuple(beside))


# Splits -------------------------------------------------------------------------------------------------------


def _below_splits(root: Folder, place: str, splits: Mapping[str, str], *, one_class: bool) -> Layout:
    """Return the layout in which these folders are splits; with none, that of the folders without any."""
    if not splits:
        return _rest(root, [Part(f.path, UNSPLIT, f.name) for f in root.folders])
    found = list(_innermost(root, splits))
    if all(f.is_flat and f.level > 1 for _, f in found) and len({_above(f) for _, f in found}) > 1:
        parts = [Part(f.path, split, _above(f).rpartition("/")[2]) for split, f in found]
        return _rest(root, parts)
    layout = class_folders(found, place, one_class=one_class)
    taken = {f.path for _, f in found}
    whole = _rest(root, [Part(path, "", "") for path in taken]) if "" not in taken else None
    return replace(layout, beside=whole.beside if whole else (), said="")


def _above(folder: Folder) -> str:
    return folder.path.rpartition("/")[0]


def _innermost(folder: Folder, splits: Mapping[str, str]) -> Iterator[tuple[str, Folder]]:
    """Yield the folders of splits, without those of other splits in them, each behind its split."""
    own = _own_split(folder, splits)
    inner = [found for each in folder.folders for found in _innermost(each, splits)]
    yield from inner
    if own is None or (inner and folder.path and all(f.name == folder.name for _, f in inner)):
        return
    taken = {f.path for _, f in inner}
    yield own, replace(folder, folders=tuple(_without(folder, taken)))


def _without(folder: Folder, taken: set[str]) -> Iterator[Folder]:
    for each in folder.folders:
        if each.path not in taken:
            yield replace(each, folders=tuple(_without(each, taken)))


def _require_there(root: Folder, place: str, splits: Mapping[str, str]) -> None:
    there = {name: None for f in root.walk() if f.path for name in (f.name, f.path)}
    for folder in splits:
        if folder != "." and folder not in there:
            raise UsageError(
                f"{spelled('splits')}: no folder {folder} in {place}; "
                f"{did_you_mean(folder, there) if len(there) <= 20 else 'folders there: ' + some(list(there))}"
            )
