"""One writer per cache, sweep or run: a lock file against races, and a record that names the owner."""

import errno
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from featcache.core.disk.storage import ELSEWHERE, is_full, storage_error
from featcache.core.documents.document_format import DocumentFormat, read_limited
from featcache.core.documents.kinds import Maybe, Record, Text, Whole
from featcache.errors import LockedError

OWNER = DocumentFormat(
    Record(
        {"host": Text(), "pid": Whole(1, 2**31 - 1), "since": Text()},
        {"pid_started": Maybe(Text())},  # where the kernel tells it
    ),
    what="the record of a writer",
    remedy="delete it if nobody is writing",
)


class WriteLock:
    """A lock that is held while a cache, sweep or run is written; for a second writer, the error names the holder.

    The record of a dead process on this host is taken over. One from another host never is, because that process
    cannot be checked from here.

    Parameters
    ----------
    target
        The final path; the lock's own files lie beside it.
    what
        What is written, for the message; by default the path.
    writes
        Whether more is done than to rename or delete files. If not, a disk without room for the lock is no obstacle,
        as deleting is what it needs; no other writer can begin there either.

    Raises
    ------
    LockedError
        If another process holds it.
    StorageError
        If the disk is full, read-only or failing.
    """

    def __init__(self, target: Path, *, what: str = "", writes: bool = True) -> None:
        self.target = target
        self.what = what or str(target)
        self.writes = writes
        self.record = target.with_name(f"{target.name}.owner.json")
        self.lock_file = target.with_name(f"{target.name}.lock")
        self.names = {self.record.name, self.lock_file.name}
        self._lock = FileLock(self.lock_file)

    def leaves_traces(self) -> bool:
        """Return whether its files are there: while it is held, or after its process was killed."""
        # Our lock files are empty; other programs write into theirs.
        empty = self.lock_file.is_file() and not self.lock_file.stat().st_size
        return empty or self.record.is_file()

    def __enter__(self) -> "WriteLock":
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self._require_possible()
            raise LockedError(self._message(_read(self.record))) from None
        except NotImplementedError as error:
            raise self._failure(OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))) from error
        except OSError as error:
            if not self._goes_on(error):
                raise self._failure(error) from error
        try:
            self._claim()
        except BaseException:
            self._release()
            raise
        return self

    def _require_possible(self) -> None:
        """Raise where no file can be made, as in a folder just deleted: filelock takes that for a held lock."""
        if os.path.lexists(self.lock_file) or os.path.lexists(self.record):
            return
        try:
            os.close(os.open(self.record, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        except OSError as error:
            raise self._failure(error) from error
        self.record.unlink(missing_ok=True)

    def __exit__(self, *error: object) -> None:
        # A record that cannot be removed is one of a process that is gone, and is taken over as such.
        with suppress(OSError):
            self.record.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        """Release the lock, and leave no lock file."""
        if self._lock.is_locked:
            with suppress(OSError):
                self.lock_file.unlink(missing_ok=True)
            self._lock.release()

    def _claim(self) -> None:
        owner = _read(self.record)
        if owner is not None and not _is_gone(owner):
            raise LockedError(self._message(owner))
        try:
            self.record.unlink(missing_ok=True)
            self._write_record()
        except FileExistsError:
            raise LockedError(self._message(_read(self.record))) from None
        except OSError as error:
            if not self._goes_on(error):
                raise self._failure(error) from error

    def _write_record(self) -> None:
        record = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pid_started": _start_time(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        # Exclusive: where the lock file was unlinked between another's open and lock, this still decides.
        with self.record.open("x") as stream:
            try:
                json.dump(record, stream)
                stream.flush()
            except BaseException:  # half of it would name nobody
                with suppress(OSError):
                    self.record.unlink(missing_ok=True)
                raise

    def _goes_on(self, error: OSError) -> bool:
        return is_full(error) and not self.writes

    def _failure(self, error: OSError) -> OSError:
        """Return what to raise where the lock's own files cannot be made; they lie beside the target."""
        elsewhere = ELSEWHERE if self.writes else ""
        if error.errno in (errno.EISDIR, errno.EPERM) and self.record.is_dir():
            return storage_error(error, self.record, "replace", elsewhere=elsewhere)
        return storage_error(error, self.target, "write" if self.writes else "change", elsewhere=elsewhere)

    def _message(self, owner: dict[str, Any] | None) -> str:
        who = _describe(owner) if owner else "another process"
        wait = f"wait for it, or {ELSEWHERE}" if self.writes else "wait for it"
        return f"{self.what} is being written by {who}; {wait}. If that process is gone, delete {self.record}"


def is_held(target: Path) -> bool:
    """Return whether a process is writing a cache, or one on another host may be; changes nothing."""
    lock = WriteLock(target)
    owner = _read(lock.record)
    if owner is not None and not _is_gone(owner):
        return True
    if not lock.lock_file.exists():
        return False
    probe = FileLock(lock.lock_file)
    try:
        probe.acquire(timeout=0)
    except (Timeout, OSError):  # held, or not ours to open: leave it alone
        return True
    probe.release()
    return False


def _read(record: Path) -> dict[str, Any] | None:
    """Return a record; ``None`` where there is none, or something else has its name."""
    try:
        if not record.is_file():  # a pipe would be waited for
            return None
        return OWNER.read(read_limited(record), record)
    except OSError:  # of which an `IntegrityError` is one
        return None


def _describe(owner: dict[str, Any]) -> str:
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}"


def _is_gone(owner: dict[str, Any]) -> bool:
    if owner["host"] != socket.gethostname():
        return False
    pid = owner["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # The number may have been given to another process since: to this one, say, in a restarted container. (No
    # thread of this process holds it: we have the lock file.) Or its process was killed and nobody has asked how it
    # ended, as where the first process of a container asks for no others: it is still listed, and writes no more.
    return pid == os.getpid() or _has_ended(pid) or _start_time(pid) != owner.get("pid_started")


def _start_time(pid: int) -> str | None:
    """Return a process's start time from the kernel (Linux), which tells a reused process id apart."""
    fields = _told_by_kernel(pid)
    return fields[19] if len(fields) > 19 else None


def _has_ended(pid: int) -> bool:
    return _told_by_kernel(pid)[:1] in (["Z"], ["X"])


def _told_by_kernel(pid: int) -> list[str]:
    """Return what ``/proc/PID/stat`` tells behind the name; nothing where there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def owner_of(record: Path) -> str:
    """Describe the process that a ``.owner.json`` file records, and whether it still runs."""
    owner = _read(record)
    if owner is None:
        return "unreadable record; delete it if nobody is writing"
    who = _describe(owner)
    if _is_gone(owner):
        return f"{who}, which is gone: the next extraction takes over"
    here = owner["host"] == socket.gethostname()
    return f"{who}, which is running" if here else f"{who}, which cannot be looked at from this machine"
