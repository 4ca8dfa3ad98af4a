"""Lists of photos to leave out of training, validation and test: text that people edit, with an id in each line.

An id is the name that a photo has in its dataset, as the cache holds it. What follows it, after a comma, is the reason,
which is for people. Lines that begin with ``#`` are comments, and a first line that says ``id`` is a header::

    # seen by Ann on Monday
    id,reason
    roses/12.jpg,looks like a tulip
    "tulips/a, b.jpg",the same photo as tulips/c.jpg
"""

import difflib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from featcache.core.disk.files import replace_file
from featcache.core.disk.names import FILE, expanded, require_file, require_free
from featcache.core.disk.storage import storage_errors
from featcache.core.documents.csv_text import csv_row
from featcache.core.documents.json_text import MOST_BYTES
from featcache.core.warning import warn
from featcache.datasets.formats.table_rows import separated_records
from featcache.datasets.paths.spelling import fold, plain
from featcache.errors import DataError, UsageError

NONE = "none"
"""The list of nothing; a file of this name is ``./none``."""

ExcludeGiven = str | os.PathLike[str] | Sequence[str] | None
"""A list's file, ``"none"``, or the ids themselves."""

_HEADERS = frozenset({"id", "ids", "path", "file", "filename", "image", "photo"})
_COLUMNS = ("id", "reason")
_SHOWN = 3
_MOST_COMPARED = 20_000
"""Ids among which similar ones are looked for, where none has the same last part."""


def read_exclude(given: ExcludeGiven, ids: Collection[str], *, origin: str) -> tuple[str, ...]:
    """Return the ids that are to be left out, each once, in the order of the list.

    Parameters
    ----------
    given
        A file as above, ``"none"``, or ids; ``None`` for no list.
    ids
        Those that there are.
    origin
        What has them, for messages, such as the path of a cache.

    Raises
    ------
    MissingFileError, DataError
        If the file is not there, empty, or no such text, or ids are of no photo: the message names those that are
        near, and how many of the list fit.
    UsageError
        If the ids are no sequence of texts, or more than the document of a classifier can hold.

    Warns
    -----
    FeatcacheWarning
        If a file names no photo, or a list names one twice.
    """
    if given is None or (isinstance(given, str) and given == NONE):
        return ()
    known = ids if isinstance(ids, frozenset) else frozenset(ids)
    if isinstance(given, str | os.PathLike):
        name = os.fspath(given)
        named = _read(expanded(name), name in known, known)
    else:
        name, named = "exclude", [_text(one) for one in given]
    if unknown := [one for one in dict.fromkeys(named) if one not in known]:
        raise DataError(_unknown(name, named, unknown, known, origin))
    if twice := [one for one, count in Counter(named).items() if count > 1]:
        warn(f"{name} names {_few(twice)} more than once; each photo is left out once")
    found = tuple(dict.fromkeys(named))
    if sum(len(json.dumps(one)) + 2 for one in found) > MOST_BYTES // 2:
        raise UsageError(
            f"{name} names {len(found):,} photos, more than a classifier remembers ({MOST_BYTES // 2:,} bytes of ids); "
            "extract the photos without them instead"
        )
    return found


def write_exclude(
    path: str | os.PathLike[str], entries: Iterable[tuple[str, str]], *, about: str = ""
) -> int:
    """Write a list that `read_exclude` reads: an id and a reason in each line; returns how many photos it names.

    Parameters
    ----------
    path
        The file, which is replaced.
    entries
        Ids and reasons; of several about one photo the reasons are joined.
    about
        What the list is, for the comments at its top.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for name, why in entries:
        reasons[name] += [why] if why not in reasons[name] else []
    target = expanded(os.fspath(path))
    require_free(target, FILE, elsewhere=_ANOTHER)
    comments = [f"# {line}\n" for line in (*about.splitlines(), _HOW_TO)]
    rows = (_row(name, "; ".join(filter(None, told))) for name, told in reasons.items())
    with storage_errors(target, elsewhere=_ANOTHER):
        replace_file(target, b"".join([*map(_encoded, comments), csv_row(_COLUMNS), *rows]))
    return len(reasons)


_ANOTHER = "name another file"
_HOW_TO = (
    "Delete the lines of photos to keep. --exclude FILE of train-head, sweep, finetune and evaluate reads it."
)


def _encoded(text: str) -> bytes:
    """Return text as tables of featcache have it: what is no text in a file's name is escaped."""
    return text.encode("utf-8", "backslashreplace")


def _row(name: str, why: str) -> bytes:
    if name == name.strip() and not name.startswith("#"):
        return csv_row([name, why])
    # Quoted, so that it is no comment and keeps its blanks.
    return _encoded('"' + name.replace('"', '""') + '",') + csv_row([why])


# Reading --------------------------------------------------------------------------------------------------------


def _read(path: Path, is_id: bool, known: frozenset[str]) -> list[str]:
    """Return the ids in a file: of each line the reading that is a photo's, else its first value."""
    hint = f"; ids themselves are given as a list: exclude=[{os.fspath(path)!r}]" if is_id else ""
    missing = f"no file {path}: expected a list of the photos to leave out, an id in each line{hint}"
    require_file(path, "a list of the photos to leave out, an id in each line", missing=missing)
    escaped = {_encoded(name).decode(): name for name in known if not name.isascii()}
    found: list[str] = []
    for number, (line, values) in enumerate(separated_records(path, ",", comments=True)):
        if not number and tuple(values) == _COLUMNS:  # a header even where a photo is called id
            continue
        readings = _readings(values)
        own = next((escaped.get(text, text) for text in readings if text in known or text in escaped), None)
        if own is None and not number and readings[-1].casefold() in _HEADERS:
            continue
        if own is None and readings[0].startswith(("{", "[")):
            raise DataError(
                f"{path}, line {line} is JSON; expected an id in each line, as featcache audit CACHE --exclude-list "
                "FILE.csv writes it"
            )
        found += [readings[-1] if own is None else own]
    found = [name for name in found if name]
    if not found and not path.stat().st_size:
        raise DataError(
            f"{path} is empty; expected the id of a photo in each line; leave nothing out with {NONE}"
        )
    if not found:
        warn(f"{path} names no photo, so that none is left out")
    return found


def _readings(values: Sequence[str]) -> list[str]:
    """Return what may be the id of a line: its first value, all of it, or what ends at a semicolon or a tab."""
    first, whole = values[0], ",".join(values)
    cut = [whole.split(mark)[0] for mark in (";", "\t") if mark in whole]
    own = [first, first.strip(), whole, whole.strip(), *(text.strip().strip('"') for text in cut)]
    # Where none is, it is told by what stands before any separator.
    return [*dict.fromkeys(own), re.split(r"[;\t]", first)[0].strip()]


def _text(one: object) -> str:
    if not isinstance(one, str):
        raise UsageError(
            f"exclude holds {one!r}; expected ids of photos, which are texts, or the path of a list"
        )
    return one


# What is said ---------------------------------------------------------------------------------------------------


def _unknown(
    name: str, named: Sequence[str], unknown: Sequence[str], known: Collection[str], origin: str
) -> str:
    """Return the message about ids of no photo."""
    ends: defaultdict[str, list[str]] = defaultdict(list)
    for one in known:
        for key in _ends(one):
            ends[key].append(one)
    some = sorted(known)[:_MOST_COMPARED]
    shown = ", ".join(f"{one!r}{_near(one, ends, some)}" for one in unknown[:_SHOWN])
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    count = len({*named})
    return (
        f"{name}: {len(unknown)} of its {count} ids are of no photo in {origin}: {shown}{more}; the other "
        f"{count - len(unknown)} fit. Ids are written as the dataset names its photos, such as {some[0]!r}; correct "
        "these lines, or delete them"
        if some
        else f"{name}: {origin} holds no photo, so that none can be left out"
    )


def _ends(name: str) -> set[str]:
    last = fold(plain(name).rpartition("/")[2])
    return {last, os.path.splitext(last)[0]}


def _near(name: str, ends: Mapping[str, Sequence[str]], some: Sequence[str]) -> str:
    """Return the ids that may be meant, as a clause: of the same last part, or else of similar spelling."""
    same = list(dict.fromkeys(one for key in sorted(_ends(name), key=len) for one in ends.get(key, ())))
    close = difflib.get_close_matches(name, same or some, n=1, cutoff=0.0 if same else 0.7)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
