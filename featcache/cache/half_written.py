"""What killed processes left of files and folders that are replaced at one blow: exports, classifiers, sweeps, runs."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from featcache.core.files import Temporary, list_temporaries

YOUNG_S = 3600
"""So long a process of another machine, which cannot be looked at from here, is taken to be still writing."""


def find_half_written(folder: Path) -> Iterator[tuple[Path, int, str, bool]]:
    """Yield path, bytes, what it is and whether it may go, of everything half written whose process is gone.

    Raises
    ------
    OSError
        If the folder cannot be listed.
    """
    for each in list_temporaries(folder):
        if each.left:
            reason, removable = _judge(each)
            yield each.path, _bytes_of(each.path), reason, removable


def remove_half_written(path: Path) -> None:
    """Remove a file or folder that `find_half_written` found; raises ``OSError``."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _judge(each: Temporary) -> tuple[str, bool]:
    if each.what == "old" and not each.target.exists():
        return (
            f"the earlier {each.target.name}, which nothing has replaced: rename it, or read it by its name",
            False,
        )
    kind = "half-written" if each.what == "new" else "replaced"
    if not each.here and time.time() - each.path.lstat().st_mtime < YOUNG_S:
        return f"{kind} {each.target.name}, less than an hour old: of another machine, perhaps", False
    return f"{kind} {each.target.name} of a process that is gone", True


def _bytes_of(path: Path) -> int:
    below = [Path(parent, name) for parent, _, names in os.walk(path) for name in names]
    return sum(each.lstat().st_size for each in (below if path.is_dir() else [path]))
