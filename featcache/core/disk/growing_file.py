"""Files that are written bit by bit, can be read meanwhile, and take their place once they are whole."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from featcache.core.disk.kernel_locks import is_named, try_lock
from featcache.core.disk.names import FILE, require_free
from featcache.core.disk.storage import storage_errors
from featcache.core.disk.syncing import sync_file, sync_folder
from featcache.errors import LockedError

_ANOTHER = "name another file"


class GrowingFile:
    """A file that is written as ``NAME.partial.SUFFIX`` beside its place, and gets its name when all of it is there.

    It is a context manager: at its end the file is on the disk, under its name. If the block is left by an exception
    or an interruption, what was at `path` before is still there, and the partial file stays for whoever wants what
    there is; without content it is removed.

    Parameters
    ----------
    path
        The file; what is there is replaced at the end, if it is one.

    Raises
    ------
    LockedError
        If another process is writing it.
    UsageError
        If something else than a file is there.
    StorageError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        require_free(path, FILE, elsewhere=_ANOTHER)
        self.partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self.size = 0
        with storage_errors(path, elsewhere=_ANOTHER):
            self._descriptor = self._open()

    def _open(self) -> int:
        """Open the partial file, lock it, and empty it of what an earlier writer left."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        while True:
            descriptor = os.open(self.partial, flags, 0o666)
            held = try_lock(descriptor)
            if held is False:
                os.close(descriptor)
                raise LockedError(
                    f"another process is writing {self.path}; wait until it is done, or name another file"
                )
            if is_named(self.partial, descriptor):
                os.ftruncate(descriptor, 0)
                return descriptor
            os.close(descriptor)  # it got its name just now

    def write(self, content: bytes) -> None:
        """Append to the file; others can read it at once.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        view = memoryview(content)
        with storage_errors(self.path, elsewhere=_ANOTHER):
            while view:
                view = view[os.write(self._descriptor, view) :]
        self.size += len(content)

    @property
    def left(self) -> bool:
        """Whether the partial file was left behind."""
        return self.partial.exists()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
            elif not self.size:
                with suppress(OSError):
                    self.partial.unlink()
        finally:
            os.close(self._descriptor)

    def _finish(self) -> None:
        with storage_errors(self.path, elsewhere=_ANOTHER):
            sync_file(self._descriptor)
            os.replace(self.partial, self.path)
            sync_folder(self.path.parent)
