"""The photos that come with featcache: nine textures."""

import os
import shutil
from pathlib import Path

from featcache.core.argument_types import checked_types
from featcache.core.disk.files import make_folder
from featcache.core.disk.names import FOLDER, expanded, require_free
from featcache.core.disk.storage import storage_errors
from featcache.core.disk.temporaries import held_folder
from featcache.errors import MissingFileError, UsageError

ANOTHER = "name a new folder"


def demo_dataset() -> Path:
    """Return the folder of the textures: in the package if installed from a wheel, beside it in a checkout.

    Raises
    ------
    MissingFileError
        If neither exists.
    """
    package = Path(__file__).resolve().parents[1]
    installed, checkout = (parent / "data" / "textures" for parent in (package, package.parent))
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise MissingFileError(
        f"the demo's photos are neither at {installed} nor at {checkout}, so this installation is incomplete; "
        "install featcache again, or run featcache extract on photos of your own"
    )


@checked_types()
def demo_photos(folder: str | os.PathLike[str] = "photos") -> Path:
    """Copy the photos that come with featcache into a folder of your own, to try it on: nine textures, 1 MB.

    Parameters
    ----------
    folder
        A new or empty folder. One that holds these photos and nothing else stays as it is.

    Returns
    -------
    pathlib.Path
        The folder, with ``train/CLASS/NNN.jpg`` and ``test/CLASS/NNN.jpg``.

    Raises
    ------
    UsageError
        If the folder holds anything else.
    StorageError
        If it cannot be written.
    MissingFileError
        If this installation lacks the photos.
    """
    target = expanded(folder)
    require_free(target, FOLDER, elsewhere=ANOTHER)
    source = demo_dataset()
    with storage_errors(target, elsewhere=ANOTHER):
        place = Path(os.path.realpath(target))  # a link stays, and leads to the photos
        if _is_copy(source, place, target):
            return target
        make_folder(place.parent, elsewhere=ANOTHER)
        with held_folder(place) as fresh:
            try:
                for name in _names(source):
                    (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source / name, fresh / name)
                os.replace(fresh, place)  # an empty folder gives way
            except BaseException:
                shutil.rmtree(fresh, ignore_errors=True)
                raise
    return target


def _is_copy(source: Path, place: Path, target: Path) -> bool:
    """Return whether a folder is there and holds the photos; raise if it holds anything else, empty folders as well."""
    inside = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    if not inside:
        return False
    found = _names(place)
    if found == _names(source):
        return True
    strange = sorted(found.keys() - _names(source).keys()) if found else inside
    told = f"holds {strange[0]}" if strange else "holds a part of the demo's photos, or changed ones"
    raise UsageError(f"output {target} {told}, expected a new or an empty folder; {ANOTHER}")


def _names(folder: Path) -> dict[str, int]:
    """Return the size of each file below a folder by its name relative to it."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
