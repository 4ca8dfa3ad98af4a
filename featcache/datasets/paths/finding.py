"""Find the file that a table means by a path that is not there as it is written."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from featcache.datasets.paths.options import PathOptions
from featcache.datasets.paths.spelling import Spellings, entries
from featcache.errors import DataError


@dataclass(frozen=True)
class Found:
    """Where a given path leads.

    Parameters
    ----------
    path
        Of the file.
    spelled
        Whether its name is written otherwise, as no option says.
    """

    path: str
    spelled: bool = False


@dataclass(frozen=True)
class Finder:
    """Finds files by the options of the user, and where these do not help, in another spelling.

    Parameters
    ----------
    roots
        Folders that given paths are relative to, at least one.
    base
        Folder of the table or the lists, in which what is missing is looked for to name it in messages.
    options
        See `PathOptions`.
    """

    roots: Sequence[str]
    base: str
    options: PathOptions = field(default_factory=PathOptions)
    spellings: Spellings = field(default_factory=Spellings)
    listed: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether the only place of a file is its given path below the root."""
        return not self.options and len(self.roots) == 1

    def find(self, name: str, place: str) -> Found | None:
        """Return the file that is meant by a given path; ``None`` where there is none.

        Parameters
        ----------
        name
            As it is written.
        place
            Where, for messages.

        Raises
        ------
        DataError
            If it can be several.
        """
        for group in self.options.names(name):
            paths = (os.path.join(root, own) for own in group for root in self._places(own))
            there = list({os.path.normpath(path): path for path in paths if regular_file(path)}.values())
            if len(there) > 1:
                raise DataError(
                    f"{place}: {name!r} can be {' or '.join(map(repr, there))}; write what tells them apart, or give "
                    "one root= or suffix="
                )
            if there:
                return Found(there[0])
        for group in self.options.names(name):
            for own in group:
                paths = {self.spellings.find(root, own) for root in self.roots} - {None}
                if len(paths) == 1 and (path := paths.pop()) and regular_file(path):
                    return Found(path, spelled=True)
        return None

    def _places(self, name: str) -> Sequence[str]:
        """Return the roots that may hold a file; of several, each folder is listed once instead of asking all."""
        if len(self.roots) == 1:
            return self.roots
        above, last = os.path.split(name)
        if above not in self.listed:
            self.listed[above] = {}
            for root in self.roots:
                for own in entries(os.path.join(root, above)):
                    self.listed[above].setdefault(own, []).append(root)
        return self.listed[above].get(last, ())


def regular_file(path: str) -> os.stat_result | None:
    """Return what the file system says of a file, by which the next run sees that it need not be read again."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def taken_twice(paths: Sequence[str], spelled: Sequence[bool]) -> Iterator[int]:
    """Yield the positions of paths that are another spelling of a name and those of another row, too."""
    if not any(spelled):
        return
    whole = [os.path.normpath(path) for path in paths]
    counts = Counter(whole)
    for number, is_spelled in enumerate(spelled):
        if is_spelled and counts[whole[number]] > 1:
            yield number
