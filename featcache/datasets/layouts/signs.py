"""Counter-signs: what tells that the folders of a level are not the classes that they look like."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from featcache.core.argument_types import spelled
from featcache.core.display import some
from featcache.datasets.layouts.layout import NO_SPLITS, listed, option
from featcache.datasets.layouts.split_words import exact_split, says_nothing, split_of, split_within
from featcache.datasets.layouts.tree import Folder
from featcache.errors import DataError


def shared_names(folders: Sequence[Folder]) -> list[str]:
    """Return the names that folders in these folders share, if they look like one level repeated below each of them.

    That is so where there are two such names or more, hardly an image lies beside the folders, and on average half of
    the names in each folder are found in others as well: ``2019/{a,b}``, ``2020/{a,b,c}``.
    """
    if len(folders) < 2 or not all(folder.holds_folders for folder in folders):
        return []
    counts = Counter(name for folder in folders for name in folder.names)
    shares = [sum(counts[name] > 1 for name in folder.names) / len(folder.names) for folder in folders]
    shared = [name for name, count in counts.items() if count > 1]
    return sorted(shared) if len(shared) > 1 and sum(shares) >= len(shares) / 2 else []


def require_one_level(place: str, folders: Sequence[Folder]) -> None:
    """Refuse folders that may be classes as well as what stands above them, with both readings."""
    inner = _below_one_name(folders)
    words = {f.path: split for f in folders if (split := split_within(f.name))}
    several = len({*words.values()}) > 1
    like_splits = several and len(words) == len(folders)
    shared = shared_names(inner)
    if like_splits and not shared and all(f.holds_folders for f in folders):
        shared = sorted(set.intersection(*(f.names for f in inner)))
    if not shared:
        return
    named = several and "train" in words.values()
    splits = option(splits=_ordered(words) if like_splits or named else "train=FOLDER,test=OTHER")
    raise DataError(
        f"{place}: the folders {listed(folders)} hold folders of the same names ({some(shared)}), so the classes may "
        f"be {some([folder.name for folder in folders])} ({option(classes_at=folders[0].level)}) or {some(shared)} "
        f"({option(classes_at=inner[0].level + 1)}); choose with one of these options, or say which folders are "
        f"splits: {splits}"
    )


def _below_one_name(folders: Sequence[Folder]) -> Sequence[Folder]:
    """Return what is below a level that is one folder of the same name in each: ``{amazon,dslr}/images/CLASS``."""
    inner = [f.live[0] for f in folders if len(f.live) == 1 and not f.images]
    same = len(inner) == len(folders) > 1 and len({f.name for f in inner}) == 1
    return inner if same and all(f.holds_folders for f in inner) else folders


def _ordered(splits: Mapping[str, str]) -> dict[str, str]:
    """Return splits of folders in the order in which people name them."""
    return dict(sorted(splits.items(), key=lambda item: ("train", "val", "test").index(item[1])))


@dataclass(frozen=True)
class _Below:
    """The splits below the folders of classes: which folders hold any, and which hold nothing else."""

    any: list[Folder]
    only: list[Folder]
    words: dict[str, str]


def _splits_below(folders: Sequence[Folder]) -> _Below:
    found = {name: split for f in folders for name in sorted(f.names) if (split := split_of(name))}
    words = _ordered(found)
    some_ = [f for f in folders if len({words[name] for name in f.names if name in words}) > 1]
    only = [f for f in folders if not f.images and f.names and f.names <= words.keys()]
    return _Below(some_, only, words)


def splits_below_classes(place: str, folders: Sequence[Folder]) -> dict[str, str]:
    """Return the names of folders that are splits below class folders, ``CLASS/{train,test}``, each with its split.

    Raises
    ------
    DataError
        If only some classes have them, or images lie beside them; or if the classes may as well be below the splits.
    """
    below = _splits_below(folders)
    if len(folders) < 2 or not below.any:
        return {}
    inner = [f for outer in folders for f in outer.live if f.name in below.words]
    level = folders[0].level
    if len(below.only) < len(folders):
        mixed = [f for f in folders if f not in below.only]
        raise DataError(
            f"{place}: {listed(below.any)} hold folders named like splits ({some(list(below.words))}), but "
            f"{listed(mixed)} hold images outside of such folders. Either only what lies in these folders is the "
            f"dataset ({option(splits=below.words, classes_at=level)}), or they are part of their class like all other "
            f"folders ({option(splits=NO_SPLITS, classes_at=level)}); choose with one of these options"
        )
    if shared := shared_names(inner):
        raise DataError(
            f"{place}: {listed(folders)} hold splits ({some(list(below.words))}), and these hold folders of the same "
            f"names ({some(shared)}), so the classes may be {some([f.name for f in folders])} "
            f"({option(classes_at=level)}) or {some(shared)} ({option(classes_at=level + 2)}); choose with one of "
            "these options"
        )
    return below.words


def require_no_split_among(place: str, named: dict[str, str], folders: Sequence[Folder]) -> None:
    """Refuse split folders that stand beside the classes which they hold: ``cat, dog, test/{cat,dog}``."""
    classes = {f.name for f in folders if f.name not in named}
    inside = [f for f in folders if f.name in named and len(f.names & classes) > 1]
    if not inside:
        return
    splits = {f.path: named[f.name] for f in inside}
    rest = {".": "train" if "train" not in splits.values() else "test", **_ordered(splits)}
    one = len(inside) == 1
    shared = sorted({name for f in inside for name in f.names & classes})
    raise DataError(
        f"{place}: {listed(inside)} {'is named like a split and holds' if one else 'are named like splits and hold'} "
        f"folders of the same names as those beside {'it' if one else 'them'} ({some(shared)}). Either "
        f"{f'it is the {named[inside[0].name]} split' if one else 'they are splits'} of these classes "
        f"({option(splits=rest)}), or {'it is a class of its own' if one else 'they are classes of their own'} "
        f"({option(classes_at=inside[0].level)}); choose with one of these options"
    )


def require_no_copy_among(place: str, split: str, folder: Folder) -> None:
    """Refuse a folder in a split that is named like one and holds the classes beside it: ``train/{cat,dog,train}``."""
    beside = {f.name for f in folder.live if split_of(f.name) is None}
    inside = next((f for f in folder.live if split_of(f.name) and len(f.names & beside) > 1), None)
    if inside is None:
        return
    raise DataError(
        f"{place}: {inside.path}/ is named like a split and holds folders of the same names as those beside it "
        f"({some(sorted(inside.names & beside))}). Either these are the classes, and the others a copy "
        f"({option(splits={inside.path: split})}), or it is a class like them ({option(classes_at=inside.level)}); "
        "choose with one of these options, or move the copy away"
    )


def require_no_split_inside(place: str, folders: Sequence[Folder]) -> None:
    """Refuse a class in which a split of classes lies: ``{data/train/{cat,dog}, data_test/cat}``."""
    inside = [inner for f in folders for inner in f.live if split_of(inner.name) and inner.live]
    if not inside:
        return
    beside = [f for f in folders if split_of(f.name) and f.live]
    splits = {f.path: split for f in (*inside, *beside) if (split := split_of(f.name))}
    raise DataError(
        f"{place}: {listed(inside)} {'is' if len(inside) == 1 else 'are'} named like a split and "
        f"{'holds' if len(inside) == 1 else 'hold'} folders ({some(sorted({n for f in inside for n in f.names}))}). "
        f"Either these are the classes ({option(splits=_ordered(splits))}), or the classes are "
        f"{some([f.name for f in folders])} ({option(splits=NO_SPLITS, classes_at=folders[0].level)}); choose with one "
        "of these options"
    )


# Folders of splits that nobody named as such --------------------------------------------------------------------


def labelled_beside(
    place: str,
    splits: Sequence[tuple[str, Folder]],
    others: Sequence[Folder],
    classes: Set[str],
    *,
    said: str = "",
    level: int | None = None,
) -> str:
    """Return what is said of folders beside the splits that hold images of the same classes and are left out.

    Parameters
    ----------
    place
        The dataset's path.
    splits
        Folders, each behind its split.
    others
        Folders beside them.
    classes
        Names of the classes in the splits.
    said
        What is said of the splits; the text follows it.
    level
        Of the class folders, where that was chosen.
    """
    held = {f: _class_folders(f) for f in others}
    same = [
        f for f, own in held.items() if not _is_mask(f.name) and (own <= classes or len(own & classes) > 1)
    ]
    same = [f for f in same if held[f]]
    if not same:
        return said
    count, one = sum(f.total for f in same), len(same) == 1
    taken = {f.path: split for split, f in splits if f.total}
    every = {**taken, **{f.path: split_within(f.name) or "train" for f in same}}
    more, choose = (option(splits=_ordered(each), classes_at=level) for each in (every, taken))
    told = (
        f"{listed(same)} {'is' if one else 'are'} left out, {count} image{'s' if count > 1 else ''} in folders of the "
        f"same names as the classes; {more} takes {'it' if one else 'them'}, too"
    )
    return f"{said}; {told}" if said else f"{place}: {told} (to choose: {choose})"


def _class_folders(folder: Folder) -> set[str]:
    """Return the names of the folders in one, or below levels that are its only folder."""
    while len(folder.live) == 1 and not folder.images and not folder.live[0].is_flat:
        folder = folder.live[0]
    return folder.names


def passed_over(place: str, root: Folder, level: int) -> str:
    """Return what is said where folders above a chosen level of classes are named like splits and taken as none.

    Parameters
    ----------
    place
        The dataset's path.
    root
        The folders.
    level
        Of the class folders.
    """
    for depth in range(1, level):
        words = {f.path: s for f in root.walk() if f.level == depth and f.live if (s := split_within(f.name))}
        if len({*words.values()}) > 1:
            splits, none = (option(splits=each, classes_at=level) for each in (_ordered(words), NO_SPLITS))
            return (
                f"{place}: {some([f'{path}/' for path in words])} are named like splits and taken as none: the test "
                f"images are drawn from all; {splits} takes them as splits (to choose: {none})"
            )
    return ""


# Names that are hardly those of classes ------------------------------------------------------------------------

_NO_LABELS = frozenset({"unlabelled", "unlabeled", "nolabel", "nolabels"})
_MARKS = frozenset({"mask", "label", "annotation", "segmentation", "trimap", "groundtruth", "gt"})


def odd_classes(place: str, folders: Sequence[Folder]) -> str:
    """Return what is said of folders that are taken as classes though their names tell otherwise; empty of others.

    Such are folders without labels, pictures beside their masks, and names of splits and classes in one.
    """
    choose = f"(to choose: {option(classes_at=folders[0].level)})" if folders else ""
    if bare := [f for f in folders if _plain(f.name) in _NO_LABELS]:
        return (
            f"{place}: {listed(bare)} is taken as a class by its name; if the images in it have no labels, move it out "
            f"of the dataset {choose}"
        )
    marks = [f for f in folders if _is_mask(f.name)]
    if 0 < len(marks) < len(folders) and all(f in marks or says_nothing(f.name) for f in folders):
        return (
            f"{place}: {listed(folders)} are taken as the classes; if {listed(marks)} belongs to the pictures beside "
            f"it, as masks do, there are no classes here {choose}"
        )
    splits = {f.name: split for f in folders if (split := split_within(f.name))}
    if len(splits) == len(folders) > 2 and len({*splits.values()}) > 1:
        return (
            f"{place}: {listed(folders)} are taken as the classes, with the names of splits in theirs"
            f"{_hint_of_both(folders)} {choose}"
        )
    return ""


def _is_mask(name: str) -> bool:
    plain = _plain(name)
    return plain in _MARKS or plain.removesuffix("s") in _MARKS


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _hint_of_both(folders: Sequence[Folder]) -> str:
    """Return the option that takes ``train_cats`` apart, where every name has this form, or ``cats_train``."""
    for sign in "_- .":
        parts = [f.name.split(sign) for f in folders]
        if not all(len(own) == 2 for own in parts):
            continue
        for place, pattern in ((0, f"{{split}}{sign}{{label}}/{{}}"), (1, f"{{label}}{sign}{{split}}/{{}}")):
            if all(exact_split(own[place]) for own in parts) and folders[0].level == 1:
                return f"; if these are splits, say {spelled('label_from')} '{pattern}'"
    return ""
