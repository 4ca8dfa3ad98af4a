"""Set older rows aside, and tell them from finished caches that somebody gave such a name.

``cp a.h5 a.previous.h5`` is a backup. What an extraction puts under that name, or under ``a.partial.h5``, is not
finished, but for one that was killed in its last steps: there, what cannot be told apart is kept.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from featcache.cache.header import MAGIC
from featcache.cache.layout import PARTIAL, PREVIOUS, partial_path, previous_path
from featcache.cache.reader import FeatureCache
from featcache.core.disk.names import read_file
from featcache.core.disk.storage import ELSEWHERE, storage_errors
from featcache.errors import FeatcacheError, UsageError

RESERVED = (PARTIAL, PREVIOUS)
"""How the names of an extraction's own files end."""


def is_finished(path: Path) -> bool:
    """Return whether a cache under one of the `RESERVED` names is finished; one that cannot be opened is not.

    Under ``.previous.h5`` that is one with all of its rows. Under ``.partial.h5`` an extraction of the same name may
    have been killed before it published: there, a finished one is also read-only and without damage.
    """
    try:
        cache = FeatureCache(path)
    except (FeatcacheError, OSError):
        return False
    with cache:
        if not cache.written().all():
            return False
        if path.name.endswith(PARTIAL):
            return _is_read_only(path) and bool(cache.intact().all())
        return True


def was_set_aside(previous: Path) -> bool:
    """Return whether a file under ``.previous.h5`` holds older rows of an extraction, which it no longer needs."""
    try:
        ours = read_file(previous, len(MAGIC)) == MAGIC
        return ours and not _is_read_only(previous) and not is_finished(previous)
    except OSError:  # it is gone, or nobody knows what it is
        return False


def set_aside(target: Path, dataset: str) -> None:
    """Give the unfinished cache of `target` the name of a previous one: its images have changed since.

    Parameters
    ----------
    target
        The final path.
    dataset
        The spec of the dataset that is extracted now.

    Raises
    ------
    UsageError
        If a file that no extraction left has either name, such as a finished cache.
    StorageError
        If it cannot be renamed.
    """
    unfinished, previous = partial_path(target), previous_path(target)
    with FeatureCache(unfinished) as cache:
        # Of another dataset it is not even an earlier state of the same images.
        if cache.written().all() and cache.identity["dataset"]["spec"] != dataset:
            raise _in_the_way(unfinished, target, "is a finished cache")
    refuse_finished(unfinished, target)
    if os.path.lexists(previous) and not was_set_aside(previous):
        what = "is a finished cache" if is_finished(previous) else "is no file of featcache's"
        raise _in_the_way(previous, target, what)
    with storage_errors(unfinished, "rename", elsewhere=ELSEWHERE):
        make_writable(unfinished)
        os.replace(unfinished, previous)


def remove_set_aside(target: Path, *, known: bool = False) -> None:
    """Remove the older rows that a finished cache no longer needs; where that fails, ``cache gc`` lists them.

    Parameters
    ----------
    target
        The finished cache.
    known
        Whether the caller has set them aside itself, and need not look what they are.
    """
    previous = previous_path(target)
    with suppress(OSError):
        if known or was_set_aside(previous):
            previous.unlink(missing_ok=True)


def make_writable(path: Path) -> None:
    """Mark a file as unfinished: what is finished is read-only."""
    path.chmod(path.stat().st_mode | stat.S_IWUSR)


def refuse_finished(path: Path, target: Path) -> None:
    """Raise `UsageError` if a finished cache lies where the extraction into `target` has to write."""
    if is_finished(path):
        raise _in_the_way(path, target, "is a finished cache")


def _in_the_way(path: Path, target: Path, what: str) -> UsageError:
    """Return the error for what lies where the extraction into `target` has to write."""
    free = f"{path.name.removesuffix('.h5').replace('.', '-')}.h5"
    return UsageError(
        f"{path} {what}, and the extraction into {target.name} needs this name for a file of its own; rename it, for "
        f"example to {free}: rows of a finished cache are copied from there, too"
    )


def require_unreserved(target: Path) -> None:
    """Raise `UsageError` if a cache would get a name that an extraction gives its own files."""
    for ending in RESERVED:
        if target.name.casefold().endswith(ending):
            plain = target.name[: -len(ending)]
            raise UsageError(
                f"output {target} ends in {ending}, the name of an unfinished {plain}.h5: an extraction into that "
                f"would replace or remove it. Choose another, such as {plain}-{ending.split('.')[1]}.h5"
            )


def _is_read_only(path: Path) -> bool:
    return not os.stat(path).st_mode & 0o222
