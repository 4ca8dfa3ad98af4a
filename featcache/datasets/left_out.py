"""Why files of a folder are no records: counts of reasons, with extensions, and pictures whose format is not read."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from featcache.core.argument_types import spelled
from featcache.core.display import some
from featcache.core.warning import warn, warn_all
from featcache.errors import DataError
from featcache.images.names import may_hold_pictures, unread_format
from featcache.images.signatures import WITH_PLUGIN, way_out

_MOST_ENDINGS = 8
"""Extensions that are named, the most frequent first."""


class LeftOut(Counter[str]):
    """Reasons and how many files each is of.

    Attributes
    ----------
    endings
        Extension to number of files that are no pictures.
    bare
        Names of files without extension that are pictures by their first bytes, and taken.
    misnamed
        Extension of a format that is not read, and the format that is in files of this name, to their names; taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.endings: Counter[str] = Counter()
        self.bare: list[str] = []
        self.misnamed: dict[tuple[str, str], list[str]] = {}
        self._unread: dict[str, list[str]] = {}

    def no_image(self, name: str, found: str | None = None) -> None:
        """Count a file that is not taken for an image, such as a text or a HEIC.

        Parameters
        ----------
        name
            Its name.
        found
            The format of a picture that is not read, where its first bytes told and its name does not.
        """
        if (unread := found or unread_format(name)) is None:
            self.endings[os.path.splitext(name)[1].casefold()] += 1
        else:
            self._unread.setdefault(unread, []).append(name)

    def by_content(self, name: str, found: str) -> None:
        """Note a file that is taken as the picture that its first bytes tell.

        Parameters
        ----------
        name
            Its name, without extension or with that of a format that is not read.
        found
            The format.
        """
        if ending := os.path.splitext(name)[1].casefold():
            self.misnamed.setdefault((ending, found), []).append(name)
        else:
            self.bare.append(name)

    def include(self, other: "LeftOut") -> None:
        """Count what another has counted, too."""
        self.update(other)
        self.endings.update(other.endings)
        self.bare += other.bare
        for key, names in other.misnamed.items():
            self.misnamed.setdefault(key, []).extend(names)
        for unread, names in other._unread.items():
            self._unread.setdefault(unread, []).extend(names)

    def folders(self, what: str, why: str, names: list[str]) -> None:
        """Count folders of one reason, such as ``folders beside the splits (a/, b/)``."""
        if names:
            several = "s" if len(names) > 1 else ""
            self[f"{what}{several} {why} ({some([f'{name}/' for name in names])})"] = len(names)

    def unread(self) -> dict[str, int]:
        """Return the reasons of pictures of formats that are not read, and how many each is of."""
        return {_convert(own, names): len(names) for own, names in self._unread.items()}

    def unread_formats(self) -> dict[str, int]:
        """Return the formats that are not read, and how many pictures are of each."""
        return {own: len(names) for own, names in self._unread.items()}

    def unread_pictures(self) -> dict[str, int]:
        """Return what holds pictures that are not read: their formats, and extensions of arrays and videos."""
        others = {
            ending: count for ending, count in sorted(self.endings.items()) if may_hold_pictures(ending)
        }
        return {**self.unread_formats(), **others}

    def reasons(self) -> dict[str, int]:
        """Return all reasons, the longest last."""
        return {**_no_images(self.endings), **self, **self.unread()}

    def tell(self) -> None:
        """Warn of pictures whose format is not read, and of files that are pictures by their first bytes alone."""
        if unread := self.unread():
            warn(in_words(unread))  # in the words of the line that extractions print
        self.tell_by_content()

    def tell_by_content(self) -> None:
        """Warn of files that are pictures by their first bytes alone."""
        warn_all(_misnamed(found, names) for (_, found), names in self.misnamed.items())
        if self.bare:
            several = len(self.bare) > 1
            warn(
                f"{len(self.bare)} file{'s' if several else ''} without extension ({some(self.bare, 3)}) "
                f"{'are images' if several else 'is an image'} by the first bytes, and taken"
            )


def _misnamed(found: str, names: list[str]) -> str:
    """Return what is said of files of one extension that are of another format."""
    ending = os.path.splitext(names[0])[1]
    if len(names) > 1:
        return f"{len(names)} files are called {ending} and are {found} files: read as what they are ({some(names, 3)})"
    article = "an" if found == "AVIF" else "a"
    return f"1 file is called {ending} and is {article} {found}: read as what it is ({names[0]})"


def by_extension(endings: Mapping[str, int]) -> str:
    """Return how many files have which extension, such as ``"18 .txt, 3 .xml"``."""
    ranked = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{count} {end or 'without extension'}" for end, count in ranked[:_MOST_ENDINGS])
    others = sum(count for _, count in ranked[_MOST_ENDINGS:])
    return f"{text}, {others} others" if others else text


def _no_images(endings: Counter[str]) -> dict[str, int]:
    """Return the reason of files that are no pictures, and how many there are."""
    count = endings.total()
    if count > 1:
        return {f"not images by their names ({by_extension(endings)})": count}
    return {f"not an image by its name ({end or 'without extension'})": 1 for end in endings}


def _convert(unread: str, names: list[str]) -> str:
    several = len(names) > 1
    shown = some(names[:3]) + (", …" if len(names) > 3 else "")
    return (
        f"{unread} file{'s' if several else ''} ({shown}): unsupported format; convert {'them' if several else 'it'} "
        f"to {way_out(unread)}"
    )


def in_words(reasons: Mapping[str, int]) -> str:
    """Return reasons as one text, such as ``"2 hidden, 1 not in a class folder"``."""
    return ", ".join(f"{count} {why}" for why, count in reasons.items())


def without_images(classes: Sequence[str]) -> dict[str, int]:
    """Return the reason for which classes are left out that are named and that no image has."""
    several = "es" if len(classes) > 1 else ""
    return {f"class{several} without images ({some(classes)})": len(classes)} if classes else {}


def refuse_vanished(root: Path, vanished: Mapping[str, LeftOut]) -> None:
    """Refuse class folders that hold pictures, or arrays or videos of them, none of which is read.

    Parameters
    ----------
    root
        The dataset's folder.
    vanished
        Name of each such folder, below it, and what was left out there.

    Raises
    ------
    DataError
        If there is one.
    """
    if not vanished:
        return
    counts = {name: own.unread_pictures() for name, own in vanished.items()}
    held = [f"{name}/: {', '.join(f'{n} {kind}' for kind, n in own.items())}" for name, own in counts.items()]
    kinds = dict.fromkeys(kind for own in counts.values() for kind in own)
    first = next((kind for kind in kinds if kind in WITH_PLUGIN), next(iter(kinds)))
    several = len(held) > 1
    raise DataError(
        f"{root}: {len(held)} class folder{'s' if several else ''} would be empty, as no picture in "
        f"{'them' if several else 'it'} is read ({some(held)}); convert those to {way_out(first)}; to go on without "
        f"{'these classes' if several else 'this class'} add {spelled('allow_empty_classes')}"
    )
