"""Counter-signs: what tells that the folders of a level are not the classes that they look like."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from featcache.core.display import some
from featcache.datasets.layouts.layout import NO_SPLITS, listed, option
from featcache.datasets.layouts.split_words import split_of
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
    if not (shared := shared_names(folders)):
        return
    level = folders[0].level
    raise DataError(
        f"{place}: the folders {listed(folders)} hold folders of the same names ({some(shared)}), so the classes may "
        f"be {some([folder.name for folder in folders])} ({option(classes_at=level)}) or {some(shared)} "
        f"({option(classes_at=level + 1)}); choose with one of these options"
    )


@dataclass(frozen=True)
class _Below:
    """The splits below the folders of classes: which folders hold any, and which hold nothing else."""

    any: list[Folder]
    only: list[Folder]
    words: dict[str, str]


def _splits_below(folders: Sequence[Folder]) -> _Below:
    order = ("train", "val", "test").index
    found = {name: split for f in folders for name in sorted(f.names) if (split := split_of(name))}
    words = dict(sorted(found.items(), key=lambda item: order(item[1])))
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
    """Refuse a split folder that stands beside the classes which it holds: ``cat, dog, test/{cat,dog}``."""
    classes = {f.name for f in folders if f.name not in named}
    inside = next((f for f in folders if f.name in named and len(f.names & classes) > 1), None)
    if inside is None:
        return
    rest = {".": "train" if named[inside.name] != "train" else "test", inside.name: named[inside.name]}
    raise DataError(
        f"{place}: {inside.path}/ is named like a split and holds folders of the same names as those beside it "
        f"({some(sorted(inside.names & classes))}). Either it is the {named[inside.name]} split of these classes "
        f"({option(splits=rest)}), or it is a class of its own ({option(classes_at=inside.level)}); choose with one of "
        "these options"
    )
