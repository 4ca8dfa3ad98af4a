"""What errors of the Hugging Face library mean: a damaged dataset, or a disk that is full or refuses."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featcache.core.environment import home
from featcache.core.storage import OTHER_HOME, is_about_writing, is_of_storage, storage_error
from featcache.errors import DataError, FeatcacheError, first_line


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise the library's own errors, which missing or truncated files cause, as `DataError`.

    Raises
    ------
    DataError
        If the dataset at `path` is damaged, or the system refuses to read it.
    """
    try:
        yield
    except FeatcacheError:
        raise
    except Exception as error:
        refused = _system_error(error)
        if refused is not None and not isinstance(refused, FileNotFoundError):
            raise DataError(str(storage_error(refused, path, "read"))) from error
        raise DataError(f"cannot read the dataset in {path}: {first_line(error)}. Save it again") from error


@contextmanager
def converting(folder: Path) -> Iterator[None]:
    """Raise what the disk of a conversion refuses as `StorageError`; whatever else fails is about what is read.

    Parameters
    ----------
    folder
        Where the library writes to, in a folder of featcache's own.
    """
    try:
        yield
    except Exception as error:
        refused = _system_error(error)
        if refused is not None and (is_about_writing(refused) or _is_below(refused, home())):
            raise storage_error(refused, folder, "convert Parquet in", elsewhere=OTHER_HOME) from error
        raise


def _is_below(error: OSError, folder: Path) -> bool:
    return isinstance(error.filename, str) and Path(error.filename).is_relative_to(folder)


def _system_error(error: BaseException | None) -> OSError | None:
    """Return what the operating system said, which the library wraps, or says in words of its own."""
    while error is not None:
        if isinstance(error, OSError):
            if str(error).startswith("Not enough disk space"):
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if is_of_storage(error):
                return error
        error = error.__cause__ or error.__context__
    return None
