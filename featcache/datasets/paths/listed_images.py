"""The images that lists name, with or without their suffix."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from featcache.datasets.bare_files import format_by_content
from featcache.datasets.paths.options import PathOptions
from featcache.datasets.paths.spelling import Spellings, entries, fold, plain
from featcache.errors import DataError
from featcache.images.names import EXTENSIONS, is_image_name, unread_format
from featcache.images.signatures import is_read


def _is_image(path: str) -> bool:
    """Return whether a file that has none of the usual extensions is an image that is read, by its name or content."""
    if is_image_name(path):
        return os.path.isfile(path)
    found = format_by_content(path)
    return found is not None and (is_read(found) or not unread_format(path))


@dataclass(frozen=True)
class ListedImages:
    """Finds images by names without suffix; every folder is listed once.

    Parameters
    ----------
    bases
        Folders that names are relative to; the first in which an image is found holds.
    paths
        How given paths become those of this machine.
    """

    bases: tuple[str, ...]
    paths: PathOptions = field(default_factory=PathOptions)
    listed: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    folded: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    spellings: Spellings = field(default_factory=Spellings)
    led: dict[str, bool] = field(default_factory=dict)
    """Names, as written, that were found by an option, or (true) in another spelling."""
    missing: list[str] = field(default_factory=list)
    """Names that no image was found for."""

    def find(self, name: str) -> tuple[str, str] | None:
        """Return the name with its suffix, and the path; ``None`` where there is no such image."""
        for own in (own for group in self.paths.names(name) for own in group):
            if found := self._exact(own):
                if own != name:
                    self.led[name] = False
                return found
        return None

    def find_or_note(self, name: str) -> tuple[str, str, str] | None:
        """Return what `find` or `find_spelled` does, and the name if it led elsewhere; without an image it is noted."""
        found = self.find(name) or self.find_spelled(name)
        if found is None:
            self.missing.append(name)
            return None
        return *found, self.given(name)

    def given(self, name: str) -> str:
        """Return a name that led to an image by an option or in another spelling; empty of others."""
        return name if name in self.led else ""

    def find_spelled(self, name: str) -> tuple[str, str] | None:
        """Return the one image that a name is another spelling of, with or without suffix."""
        for own in (own for group in self.paths.names(name) for own in group):
            for base in self.bases:
                above, last = os.path.split(plain(own))
                folder = self.spellings.find(base, above)
                names = self._folded(folder).get(fold(last), set()) if folder else set()
                if folder and len(names) == 1:
                    full = next(iter(names))
                    self.led[name] = True
                    return os.path.relpath(os.path.join(folder, full), base), os.path.join(folder, full)
        return None

    def _exact(self, name: str) -> tuple[str, str] | None:
        above, last = os.path.split(name)
        for base in self.bases:
            folder = os.path.join(base, above)
            found = self._names(folder).get(last, [])
            if len(found) > 1 and last not in found:
                if own := self._by_suffix(last, found):
                    return os.path.join(above, own), os.path.join(folder, own)
                raise DataError(
                    f"{name!r} in a list can mean {' or '.join(map(repr, found))} in {folder}; write the suffix too"
                )
            if not found and _is_image(os.path.join(folder, last)):
                found = [last]
            if found:
                full = last if last in found else found[0]
                return os.path.join(above, full), os.path.join(folder, full)
        return None

    def _by_suffix(self, last: str, found: Sequence[str]) -> str | None:
        """Return the one of several files that the option ``suffix`` means."""
        meant = [last + suffix for suffix in self.paths.suffixes if last + suffix in found]
        return meant[0] if len(meant) == 1 else None

    def _names(self, folder: str) -> dict[str, list[str]]:
        """Return the files of a folder under their names, and images also without their suffix."""
        if folder not in self.listed:
            names: defaultdict[str, list[str]] = defaultdict(list)
            others: list[str] = []
            for name in sorted(entries(folder)):
                stem, suffix = os.path.splitext(name)
                if suffix.casefold() in EXTENSIONS:
                    names[name].append(name)
                    names[stem].append(name)
                elif unread_format(name) or is_image_name(name):
                    others.append(name)
            for (
                name
            ) in others:  # a HEIC, or a JPEG called so, is meant by a bare name only where nothing else is
                if os.path.splitext(name)[0] not in names and _is_image(os.path.join(folder, name)):
                    names[os.path.splitext(name)[0]] = [name]
            self.listed[folder] = dict(names)
        return self.listed[folder]

    def _folded(self, folder: str) -> dict[str, set[str]]:
        """Return the files of a folder under what all spellings of their names have in common."""
        if folder not in self.folded:
            names: defaultdict[str, set[str]] = defaultdict(set)
            for name, files in self._names(folder).items():
                names[fold(name)].update(files)
            self.folded[folder] = dict(names)
        return self.folded[folder]
