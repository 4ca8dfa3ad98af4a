"""One writer per cache, sweep or run: a lock file against races, and a record that names the owner."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from featcache.errors import LockedError


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
    """

    def __init__(self, target: Path, *, what: str = "") -> None:
        self.target = target
        self.what = what or str(target)
        self.record = target.with_name(f"{target.name}.owner.json")
        self._lock = FileLock(target.with_name(f"{target.name}.lock"))
        self.names = {self.record.name, Path(self._lock.lock_file).name}

    def __enter__(self) -> "WriteLock":
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(self._message(_read(self.record))) from None
        try:
            self._claim()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.record.unlink(missing_ok=True)
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _claim(self) -> None:
        owner = _read(self.record)
        if owner is not None and not _is_gone(owner):
            raise LockedError(self._message(owner))
        self.record.unlink(missing_ok=True)
        record = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pid_started": _start_time(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        # Exclusive: where the lock file was unlinked between another's open and lock, this still decides.
        try:
            with self.record.open("x") as stream:
                json.dump(record, stream)
        except FileExistsError:
            raise LockedError(self._message(_read(self.record))) from None

    def _message(self, owner: dict[str, Any] | None) -> str:
        who = (
            f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
            if owner
            else "another process"
        )
        return (
            f"{self.what} is being written by {who}; wait for it, or write elsewhere with --output. "
            f"If that process is gone, delete {self.record}"
        )


def is_held(target: Path) -> bool:
    """Return whether a process is writing a cache, or one on another host may be; changes nothing."""
    lock = WriteLock(target)
    owner = _read(lock.record)
    if owner is not None and not _is_gone(owner):
        return True
    path = target.with_name(f"{target.name}.lock")
    if not path.exists():
        return False
    probe = FileLock(path)
    try:
        probe.acquire(timeout=0)
    except (Timeout, OSError):  # held, or not ours to open: leave it alone
        return True
    probe.release()
    return False


def _read(record: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(record.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _is_gone(owner: dict[str, Any]) -> bool:
    if owner.get("host") != socket.gethostname():
        return False
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # The number may have been given to another process since: to this one, say, in a restarted container. (No
    # thread of this process holds it: we have the lock file.)
    return pid == os.getpid() or _start_time(pid) != owner.get("pid_started")


def _start_time(pid: int) -> str | None:
    """Return a process's start time from the kernel (Linux), which tells a reused process id apart."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def owner_of(record: Path) -> str:
    """Describe the process that a ``.owner.json`` file records, and whether it still runs."""
    owner = _read(record)
    if owner is None:
        return "unreadable record; delete it if nobody is writing"
    who = f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
    if _is_gone(owner):
        return f"{who}, which is gone: the next extraction takes over"
    here = owner.get("host") == socket.gethostname()
    return f"{who}, which is running" if here else f"{who}, which cannot be looked at from this machine"
