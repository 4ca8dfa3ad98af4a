"""Programs that JAX has compiled are kept for the next process: its persistent compilation cache, in FEATCACHE_HOME.

They are machine code. So each kind of machine, JAX and featcache has a folder of its own in
``FEATCACHE_HOME/programs``, which nobody but its owner may write to. They may be deleted at any time.
"""

import hashlib
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from featcache.core.environment import home
from featcache.core.parallel import default_workers
from featcache.core.processor import processor
from featcache.core.version import __version__

SWITCH = "FEATCACHE_COMPILATION_CACHE"
DIRECTORY = "JAX_COMPILATION_CACHE_DIR"
MAX_BYTES = 500_000_000
SHORTEST_SECONDS = 0.1
"""Programs that compile faster are not kept: reading one takes as long."""
UNUSED_DAYS = 30
"""After this time, the programs of another machine, JAX or featcache are leftovers."""

_PROGRAM, _USED = "-cache", "-atime"
_SETTINGS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": SHORTEST_SECONDS,
    "JAX_COMPILATION_CACHE_MAX_SIZE": MAX_BYTES,
}


@dataclass(frozen=True)
class Programs:
    """The compiled programs in a folder.

    Parameters
    ----------
    folder
        Where they are.
    count, nbytes
        How many they are, and the size of all files.
    used
        When they were last used, in seconds since 1970.
    here
        Whether this machine, JAX and featcache use them.
    """

    folder: Path
    count: int
    nbytes: int
    used: float
    here: bool

    @property
    def outdated(self) -> bool:
        """Whether nobody is likely to use them again."""
        return not self.here and time.time() - self.used > UNUSED_DAYS * 86_400


def enable_compilation_cache() -> Path | None:
    """Let JAX keep the programs that it compiles in this process, and use those of earlier ones.

    The commands do this by themselves. A library does not change what JAX does in a user's process, so in Python it
    is asked for, before anything is compiled. A cache of your own stays: one set through
    ``JAX_COMPILATION_CACHE_DIR`` or ``jax.config``.

    Returns
    -------
    Path or None
        The folder of the programs; ``None`` if they are not kept, for the reason that ``featcache doctor`` says.
    """
    if why_not() is not None:
        return None
    folder = programs_folder()
    try:
        folder.parent.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for each in (folder.parent, folder):
            each.mkdir(mode=0o700, exist_ok=True)
        os.utime(folder)
    except OSError:
        return None
    if why_not() is not None:  # as the folders are now that they exist
        return None
    _remove_unfinished(folder)
    _configure(folder)
    return folder


def _configure(folder: Path) -> None:
    if "jax" not in sys.modules:  # which is to stay so until a command needs it
        os.environ[DIRECTORY] = str(folder)
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, str(value))
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    for name, value in _SETTINGS.items():
        if name not in os.environ:
            jax.config.update(name.lower(), value)


# Where they are, and whether they may be there --------------------------------------------------------------


def programs_folder() -> Path:
    """Folder of the programs that this machine, JAX and featcache may use. Not created here."""
    versions = "-".join(f"{name}{_version(name)}" for name in ("jax", "jaxlib"))
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return home().absolute() / "programs" / f"{versions}-featcache{__version__}-{python}-{_machine_digest()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _machine_digest() -> str:
    """Return what stands for the machine that programs are compiled for.

    XLA compiles for this very processor: on another one they may end in SIGILL. It also divides the work of a
    program by the number of cores.
    """
    parts = (processor(), str(default_workers()), os.environ.get("XLA_FLAGS", ""))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def why_not() -> str | None:
    """Return why featcache keeps no programs in this process; ``None`` if it may."""
    if os.environ.get(SWITCH, "").strip().lower() in {"0", "false", "no", "off"}:
        return f"{SWITCH} is {os.environ[SWITCH]}"
    if (own := _own_cache()) is not None:
        return own
    if _version("jaxlib") == "none":
        return "jaxlib is not installed"
    try:
        return _unsafe(programs_folder())
    except (
        OSError
    ) as error:  # FEATCACHE_HOME is a name that no file can have, or relative to a folder that is gone
        return f"{home()} cannot be looked at: {error.strerror}"


def _own_cache() -> str | None:
    """Return the user's own setting of JAX's cache, in words."""
    for name in (DIRECTORY, "JAX_ENABLE_COMPILATION_CACHE"):
        if name in os.environ:
            return f"{name} is {os.environ[name] or 'empty'}, and decides"
    if (jax := sys.modules.get("jax")) is not None and hasattr(jax, "config"):
        if not jax.config.jax_enable_compilation_cache:
            return "jax.config switches it off"
        if jax.config.jax_compilation_cache_dir is not None:
            return f"jax.config has {jax.config.jax_compilation_cache_dir}, and decides"
    return None


def _unsafe(folder: Path) -> str | None:
    """Return why a folder cannot be trusted with machine code: others could put theirs there.

    Looked at are the folder, ``programs`` and ``FEATCACHE_HOME``, as far as they exist: who may write to a folder may
    rename what is in it.
    """
    if not hasattr(os, "geteuid"):  # Windows: the user's profile is the user's
        return None
    places = (folder, folder.parent, folder.parent.parent)
    nearest = next(each for each in (*places, *folder.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return f"{nearest} cannot be written"
    for place in places:
        try:
            status = place.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{place} cannot be looked at: {error.strerror}"
        if (problem := _others_may_write(status, top=place == places[-1])) is not None:
            return f"{place} {problem}; programs are machine code, and are kept where only you may write"
    return None


def _others_may_write(status: os.stat_result, *, top: bool) -> str | None:
    owners = {os.geteuid(), 0} if top else {os.geteuid()}
    if status.st_uid not in owners:
        return "belongs to another user"
    if top and status.st_mode & stat.S_ISVTX:  # others cannot rename what is ours
        return None
    # A user's own group has the user's number; that is how pam_umask decides that it may have umask 002, too.
    private = top and status.st_gid == status.st_uid
    others = status.st_mode & (stat.S_IWOTH if private else stat.S_IWOTH | stat.S_IWGRP)
    return "may be written to by others" if others else None


# What is there ----------------------------------------------------------------------------------------------


def list_programs() -> list[Programs]:
    """Describe each folder of programs of this user."""
    with suppress(OSError):
        mine = programs_folder()
        return [_describe(path, here=path == mine) for path in sorted(mine.parent.iterdir()) if _ours(path)]
    return []


def _ours(path: Path) -> bool:
    return path.name.startswith("jax") and path.is_dir() and not path.is_symlink() and _unsafe(path) is None


def _describe(folder: Path, *, here: bool) -> Programs:
    count, nbytes, used = 0, 0, folder.stat().st_mtime
    for path in _files(folder):
        with suppress(FileNotFoundError):  # another process has dropped it
            status = path.stat()
            count, nbytes = count + path.name.endswith(_PROGRAM), nbytes + status.st_size
            used = max(used, status.st_mtime)
    return Programs(folder, count, nbytes, used, here)


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def remove_programs(folder: Path) -> None:
    """Delete the programs in a folder of ours, and the folder if nobody uses it meanwhile.

    Raises
    ------
    OSError
        If a file cannot be deleted.
    """
    for path in _files(folder):
        path.unlink(missing_ok=True)
    for parent, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # a process has just put a program there
            os.rmdir(parent)


# Damage -----------------------------------------------------------------------------------------------------


def _remove_unfinished(folder: Path) -> None:
    """Remove what a killed process or a full disk left of a program.

    JAX writes into place: first the program, then the time of its last use. One that has no such time was cut
    short; JAX would neither use it nor write it again, and fail to make room beside it.
    """
    with suppress(OSError):
        if any(_cut_short(folder)):
            # JAX holds the lock while it writes: without it, a program that is being written has no time, either.
            _remove(folder, _cut_short)


def _cut_short(folder: Path) -> Iterator[Path]:
    paths = {path.name: path for path in folder.iterdir()}
    for name, path in paths.items():
        if name.endswith(_PROGRAM) and name.removesuffix(_PROGRAM) + _USED not in paths:
            yield path


def _all_programs(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name.endswith((_PROGRAM, _USED)))


def _remove(folder: Path, which: Callable[[Path], Iterable[Path]]) -> None:
    from filelock import FileLock, Timeout

    with suppress(Timeout), FileLock(folder / ".lockfile").acquire(timeout=0.1):
        for path in list(which(folder)):
            path.unlink(missing_ok=True)


def is_about_programs(warning: str) -> bool:
    """Whether a warning is JAX's that it could not read or write a program: it goes on and compiles it."""
    return warning.startswith(
        ("Error reading persistent compilation cache", "Error writing persistent compilation cache")
    )


def forget_damaged(warning: str) -> bool:
    """Delete all programs of this process's folder after a warning of JAX that one is damaged; say whether.

    JAX does not say which, and does not write over it: from here on it writes them anew.
    """
    folder = programs_folder()
    if not warning.startswith("Error reading") or os.environ.get(DIRECTORY) != str(folder):
        return False
    if any(reason in warning for reason in ("Timeout", "PermissionError", "OSError")):
        return False
    with suppress(OSError):
        _remove(folder, _all_programs)
    return True
