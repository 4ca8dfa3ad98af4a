"""Say what is there in the place of images that are missing, and which option would find them."""

import os
import re
import shlex
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from featcache.datasets.folder_files import is_hidden
from featcache.datasets.names import shortened, shown
from featcache.datasets.paths.options import PathOptions, written_map
from featcache.datasets.paths.spelling import fold, plain
from featcache.datasets.spec_options import option_of, with_options
from featcache.images.names import is_image_name, unread_format

_MOST_FILES, _SECONDS = 200_000, 2.0
"""What is listed at most of a folder; it decides what a message says, and nothing else."""
_FOLDER_OF_IMAGES = re.compile(r"(jpeg)?(image|img|photo|picture|pic|frame|jpe?g|png)s?", re.IGNORECASE)
"""Name of a folder beside that of a table which is looked into, too."""
_MOST_NAMES, _MOST_ROOTS, _MOST_WAYS, _SHOWN = 500, 6, 10, 3


@dataclass(frozen=True)
class Near:
    """What a folder holds in the place of given names.

    Parameters
    ----------
    pairs
        The first given names, each with the path that is there, relative to the folder.
    options
        The options that would find most: ``suffix``, ``root``, ``map``.
    fits, of
        How many of the names they would find.
    also
        Other options that would find as many, and other files.
    """

    pairs: tuple[tuple[str, str], ...]
    options: Mapping[str, str]
    fits: int
    of: int
    also: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Said:
    """A clause about missing images, and whether it names an option that finds some."""

    text: str
    mends: bool


@dataclass(frozen=True)
class _Way:
    """One option that leads from a name to a file, and the suffix it takes besides."""

    key: str
    value: str
    suffix: str


def list_images(folder: str, most: int = _MOST_FILES, seconds: float = _SECONDS) -> list[str]:
    """Return the images below a folder, relative to it with ``/``, those of upper folders first."""
    found: list[str] = []
    waiting, seen, end = deque([""]), set[tuple[int, int]](), time.monotonic() + seconds
    looked = 0
    while waiting and time.monotonic() < end:
        below = waiting.popleft()
        for entry in _entries(os.path.join(folder, below)):
            looked += 1
            if looked > most:
                return found
            name = f"{below}{entry.name}"
            if is_image_name(entry.name):
                found.append(name)
            elif not is_hidden(entry.name) and _is_new_folder(entry, seen):
                waiting.append(f"{name}/")
    return found


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as scanned:
            yield from scanned
    except OSError:
        return


def _is_new_folder(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> bool:
    try:
        if not entry.is_dir():
            return False
        status = entry.stat()
    except OSError:
        return False
    here = status.st_dev, status.st_ino
    return here not in seen and not seen.add(here)


# What fits --------------------------------------------------------------------------------------------------


def almost_fit(names: Sequence[str], files: Sequence[str], root: str = ".") -> Near | None:
    """Return what fits names that are not there, and the options that find them; ``None`` where nothing does.

    A pure function: what is there is given.

    Parameters
    ----------
    names
        Given paths that do not exist; of many, some that are spread evenly are looked at.
    files
        Images that exist, relative to a folder.
    root
        What the names are relative to, itself relative to that folder.
    """
    names = names[:: -(-len(names) // _MOST_NAMES)]
    index: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        for key in _keys(file.rpartition("/")[2]):
            index[key].append(file)
    ways: defaultdict[_Way, dict[int, str]] = defaultdict(dict)
    for number, name in enumerate(names):
        for file in _nearest(name, index):
            ways[_way(name, file, root)].setdefault(number, file)
    if not ways:
        return None
    held = set(map(os.path.normpath, files))
    for way in sorted(ways, key=lambda way: -len(ways[way]))[:_MOST_WAYS]:
        ways[way] |= _found(way, names, held, root)
    best, *others = sorted(ways, key=lambda way: (-len(ways[way]), way.key != "", way.value, way.suffix))
    chosen = _together(best, ways)
    fits: dict[int, str] = {}
    for way in chosen:
        fits |= ways[way]
    options = _options(chosen, root)
    pairs = [(names[number], fits[number]) for number in sorted(fits)[:_SHOWN]]
    also = [_options([way], root) for way in others if ways[way].keys() == fits.keys()]
    return Near(tuple(pairs), options, len(fits), len(names), tuple(filter(None, also)))


def _keys(name: str) -> set[str]:
    stem = os.path.splitext(name)[0] if is_image_name(name) or unread_format(name) else name
    return {fold(name), fold(stem)}


def _nearest(name: str, index: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the files of the same name, of those the ones whose folders agree furthest with the given path."""
    last = plain(name).rpartition("/")[2]
    found = dict.fromkeys(file for key in sorted(_keys(last), key=len) for file in index.get(key, ()))
    agree = {file: _tail(name, file) for file in found}
    most = max(agree.values(), default=0)
    return [file for file in found if agree[file] == most]


def _tail(name: str, file: str) -> int:
    """Return how many of the last parts of two paths agree, endings apart."""
    given, there = plain(name).split("/"), file.split("/")
    count = 1
    for own, other in zip(given[-2::-1], there[-2::-1], strict=False):
        if fold(own) != fold(other):
            break
        count += 1
    return count


def _way(name: str, file: str, root: str) -> _Way:
    given, there = plain(name).split("/"), file.split("/")
    tail = _tail(name, file)
    suffix = os.path.splitext(file)[1] if fold(given[-1]) != fold(there[-1]) else ""
    before, instead = "/".join(given[:-tail]), "/".join(there[:-tail]) or "."
    if before or plain(name).startswith("/"):
        return _Way("map", written_map(before or "/", os.path.relpath(instead, root)), suffix)
    return _Way("", "", suffix) if os.path.normpath(root) == instead else _Way("root", instead, suffix)


def _found(way: _Way, names: Sequence[str], files: Collection[str], root: str) -> dict[int, str]:
    """Return the file that each name leads to by an option as it is read, also where a nearer one is there."""
    options = PathOptions.read(way.suffix or None, way.value if way.key == "map" else None)
    base = way.value if way.key == "root" else root
    found: dict[int, str] = {}
    for number, name in enumerate(names):
        paths = (os.path.normpath(os.path.join(base, own)) for group in options.names(name) for own in group)
        if path := next((path for path in paths if path in files), ""):
            found[number] = path
    return found


def _together(best: _Way, ways: Mapping[_Way, Mapping[int, str]]) -> list[_Way]:
    """Return ways that one set of options holds: other suffixes, and other roots for names that no way before finds."""
    chosen, covered = [best], {*ways[best]}
    for way in sorted(ways, key=lambda way: -len(ways[way])):
        same_place = (way.key, way.value) == (best.key, best.value)
        may = same_place or way.key == best.key == "root"
        if may and not covered & {*ways[way]}:
            chosen.append(way)
            covered |= {*ways[way]}
    return chosen


def _options(chosen: Sequence[_Way], root: str) -> dict[str, str]:
    suffixes = list(dict.fromkeys(way.suffix for way in chosen if way.suffix))
    options = {"suffix": ",".join(suffixes)} if suffixes else {}
    if key := chosen[0].key:
        values = list(dict.fromkeys(way.value for way in chosen))
        options[key] = (_pattern(values) if len(values) > _MOST_ROOTS else "") or ",".join(values)
    return options


def _pattern(folders: Sequence[str]) -> str:
    """Return a pattern for the names of many folders; an empty text where they have nothing in common."""
    before = _common(folders)
    after = _common([folder[len(before) :][::-1] for folder in folders])[::-1]
    return f"{before}*{after}" if before or after else ""


def _common(texts: Sequence[str]) -> str:
    """Return the letters that all texts begin with; of names, not of whole folders."""
    first, last = min(texts), max(texts)
    same = (number for number, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, min(len(first), len(last)))]


# What is said -----------------------------------------------------------------------------------------------


def described(names: Sequence[str], folder: str, root: str, spec: str, *, some_exist: bool = False) -> Said:
    """Return what is there in the place of missing images, and the spec that finds them, as a clause of a message.

    Parameters
    ----------
    names
        Given paths that do not exist.
    folder
        Where to look: the folder of the table or the lists. Where nothing fits there, folders of images beside it are
        looked into.
    root
        What the names are relative to.
    spec
        As it was given.
    some_exist
        Whether others of its images are found, and have to be with the options, too.
    """
    below = os.path.relpath(root, folder)
    for place in dict.fromkeys((folder, root, *_beside(folder))):
        above = os.path.relpath(place, folder)
        files = list_images(place)
        files = files if above == "." else [f"{above}/{file}" for file in files]
        near = almost_fit(names, files, below)
        if near is not None and near.options:
            return Said(_said(near, spec, below, some_exist), mends=True)
    count = len(list_images(root))
    held = (
        "no images"
        if not count
        else "one image"
        if count == 1
        else f"{count:,} images, none with such a name"
    )
    return Said(f"{root} holds {held}", mends=False)


def _beside(folder: str) -> list[str]:
    """Return the folders beside one whose names say that they hold images."""
    above = os.path.dirname(os.path.abspath(folder))
    return [
        os.path.join(above, entry.name)
        for entry in _entries(above)
        if _FOLDER_OF_IMAGES.fullmatch(entry.name)
    ]


def _said(near: Near, spec: str, root: str, some_exist: bool) -> str:
    options = dict(near.options)
    pairs = ", ".join(f"{shortened(file)} for {shown(name)}" for name, file in near.pairs)
    if some_exist and "map" in options and option_of(spec, "map"):
        return (
            f"there is {pairs}; a source takes one map=, and the images that it finds need the one that is given: "
            "write these paths like the others"
        )
    if some_exist and "root" in options:
        options["root"] = f"{root},{options['root']}"
    if some_exist and "suffix" in options and (given := option_of(spec, "suffix")):
        options["suffix"] = f"{given},{options['suffix']}"
    share = "them" if near.fits == near.of else f"{near.fits} of {near.of} of them"
    find = "find" if len(options) > 1 else "finds"
    also = (
        f" ({' or '.join(map(_shown, near.also[:_SHOWN]))} finds as many, other files)" if near.also else ""
    )
    return f"there is {pairs}; {_shown(options)} {find} {share}{also}: {shlex.quote(with_options(spec, options))}"


def _shown(options: Mapping[str, str]) -> str:
    return " and ".join(f"{key}={value}" for key, value in options.items())
