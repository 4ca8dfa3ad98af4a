"""Photos sorted into a folder for each class: hard links where the disk can, copies elsewhere, nothing overwritten."""

import filecmp
import hashlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from featcache.classifier.prediction import Prediction
from featcache.core.disk.files import give_name
from featcache.core.disk.storage import ELSEWHERE, storage_errors
from featcache.core.disk.temporaries import held_file

UNKNOWN, NONE = "unknown", "none"
"""Folders of the photos whose class is unknown, and of those without any label."""

_FORBIDDEN = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f]|^\.|[. ]$|^ |%(?=[0-9a-fA-F]{2})')
"""What is no part of a folder's name, on any system, and per cent signs that would look escaped."""
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_NAMELESS = "%5F"
"""The folder of a class without a name: an underscore, which no other name is escaped to."""
_MOST_BYTES = 200


def folder_name(name: str) -> str:
    """Return a class's name as that of a folder: what none may hold is ``%XX``, as in URLs; long names are cut.

    Different names stay different.
    """
    text = _FORBIDDEN.sub(lambda found: f"%{ord(found[0]):02X}", name)
    if _DEVICES.fullmatch(text):
        text = f"%{ord(text[0]):02X}{text[1:]}"
    if not text:
        return _NAMELESS
    if len(os.fsencode(text)) <= _MOST_BYTES:
        return text
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{os.fsencode(text)[: _MOST_BYTES - 9].decode('utf-8', 'ignore')}~{mark}"


class SortedPhotos:
    """A folder with a folder for each class, which photos are put into as they are classified.

    A photo keeps its name. Where photos of one run share a name, each of them gets its path below the folder that all
    of them are in. What is there already stays: the same photo counts as `present`, another one as `taken`.

    Parameters
    ----------
    folder
        Created where it is missing.
    photos
        Paths of all photos that will be classified.
    classes
        Names of the classifier's classes.

    Attributes
    ----------
    linked, copied, present
        Numbers of photos.
    taken
        Places where something else is, which stays there.
    """

    def __init__(self, folder: Path, photos: Sequence[str], classes: Sequence[str]) -> None:
        self.folder = folder
        self.linked = self.copied = self.present = 0
        self.taken: list[Path] = []
        self._names = _places(photos)
        self._unknown, self._none = (_unlike(name, classes) for name in (UNKNOWN, NONE))

    def put(self, prediction: Prediction) -> None:
        """Put a photo into the folder of its class, or the folders of its labels; one that cannot be read stays out.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        if prediction.error is not None:
            return
        for name in self._folders(prediction):
            target = self.folder / name / self._names[prediction.id]
            with storage_errors(target, elsewhere=ELSEWHERE.replace("--output", "--copy-to")):
                self._put(Path(prediction.id), target)

    def _folders(self, prediction: Prediction) -> list[str]:
        if prediction.unknown:
            return [self._unknown]
        if prediction.answers is None:
            return [folder_name(prediction.classes[0])]
        return [folder_name(label) for label in prediction.answers] or [self._none]

    def _put(self, photo: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            self._leave(photo, target)
            return
        try:
            os.link(os.path.realpath(photo), target)
            self.linked += 1
        except FileExistsError:
            self._leave(photo, target)
        except OSError:  # on another disk, one without hard links, or the photo is somebody else's
            self._copy(photo, target)

    def _leave(self, photo: Path, target: Path) -> None:
        """Count what is there already."""
        if target.is_file() and filecmp.cmp(photo, target, shallow=False):
            self.present += 1
        else:
            self.taken.append(target)

    def _copy(self, photo: Path, target: Path) -> None:
        with held_file(target) as stream:
            try:
                with photo.open("rb") as source:
                    shutil.copyfileobj(source, stream)
                stream.flush()
                with suppress(OSError):
                    shutil.copystat(photo, stream.name)
                # Whoever has made a file of that name meanwhile keeps it.
                give_name(Path(stream.name), target)
                self.copied += 1
            except FileExistsError:
                os.unlink(stream.name)
                self._leave(photo, target)
            except BaseException:
                with suppress(OSError):
                    os.unlink(stream.name)
                raise


def _places(photos: Sequence[str]) -> dict[str, Path]:
    """Return the place of each photo in the folder of its class: its name, or its path where others have that name."""
    same: dict[str, list[str]] = defaultdict(list)
    for photo in dict.fromkeys(photos):
        same[os.path.basename(photo).casefold()].append(photo)  # some disks do not tell letters' cases apart
    places = {}
    for found in same.values():
        whole = {photo: os.path.abspath(photo) for photo in found}
        alike = len({*whole.values()}) == 1
        above = "" if alike else os.path.commonpath([os.path.dirname(path) for path in whole.values()])
        for photo, path in whole.items():
            places[photo] = Path(os.path.basename(photo) if alike else os.path.relpath(path, above))
    return places


def _unlike(name: str, classes: Sequence[str]) -> str:
    """Return a folder's name that no class has."""
    taken = {folder_name(each).casefold() for each in classes}
    while name in taken:
        name = f"_{name}"
    return name
