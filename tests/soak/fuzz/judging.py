"""Judge what a reader does with an input: what it raises, takes of time and memory, and touches meanwhile."""

import errno
import os
import resource
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featcache.errors import FeatcacheError

from .reader import Subject

LONGEST_MESSAGE = 10_000
"""Characters of an error's message: what a file holds is shown shortened."""
PORTS: set[int] = set()
"""Ports of this machine where a server of ours listens; nothing else is connected to."""
_MOST_OPEN = 20
_EXECUTING = ("os.system", "os.exec", "os.posix_spawn", "pty.spawn", "pickle.find_class", "ctypes.dlopen")
_CHANGING = {
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.symlink": 2,
    "os.link": 2,
    "os.truncate": 1,
    "os.chmod": 1,
    "shutil.rmtree": 1,
}
"""Events of files that are changed, and how many of their arguments are paths."""


@dataclass
class Watch:
    """An audit hook that notes what a reader may not do while it reads.

    Parameters
    ----------
    inside
        Folders in which files may be written.
    """

    inside: tuple[str, ...]
    seen: list[str] = field(default_factory=list)
    reading: bool = False

    def __post_init__(self) -> None:
        sys.addaudithook(self._hear)

    @contextmanager
    def over(self) -> Iterator[None]:
        self.seen.clear()
        self.reading = True
        try:
            yield
        finally:
            self.reading = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.reading:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._require_inside(event, path)
        elif event in _CHANGING:
            count = _CHANGING[event]
            folders = arguments[-count:] if event != "os.truncate" else ()
            for number, path in enumerate(arguments[:count]):
                self._require_inside(event, path, folders[number] if folders else -1)
        elif event == "subprocess.Popen":
            command = [str(part) for part in arguments[1]]
            if command[0] != sys.executable or not any("featcache" in part for part in command[1:]):
                self.seen.append(f"started {command[:4]}")
        elif event in _EXECUTING and arguments and not _is_our_own(event, arguments):
            self.seen.append(f"{event} {arguments[:2]!r}"[:200])
        elif event == "socket.connect" and not _is_here(arguments[1]):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "no network")
        elif event == "socket.getaddrinfo" and arguments[0] != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "no network")

    def _require_inside(self, event: str, path: object, folder: object = -1) -> None:
        """Note a path outside; one relative to an open folder's descriptor is where that folder is."""
        if isinstance(path, int) or path is None:
            return
        above = os.readlink(f"/proc/self/fd/{folder}") if isinstance(folder, int) and folder >= 0 else ""
        place = os.path.abspath(os.path.join(above, os.fsdecode(path)))  # type: ignore[arg-type]
        if not place.startswith(self.inside):
            self.seen.append(f"{event} outside: {place}"[:200])


def _is_here(address: object) -> bool:
    return isinstance(address, tuple) and address[0] == "127.0.0.1" and address[1] in PORTS


def _is_our_own(event: str, arguments: tuple[Any, ...]) -> bool:
    """Libraries load libraries when they are first used; no file says which."""
    return event == "ctypes.dlopen" and (arguments[0] is None or ".so" in str(arguments[0]))


@dataclass(frozen=True)
class Verdict:
    """What came of an input.

    Parameters
    ----------
    outcome
        ``used``, ``refused`` or ``finding``.
    kind
        What tells it from others: an exception's class and where it was raised.
    detail
        Of a finding the whole story.
    """

    outcome: str
    kind: str
    detail: str = ""


def judge(subject: Subject, data: bytes, watch: Watch) -> Verdict:
    """Give an input to a reader."""
    base, began, files = _forget_peak(), _processor_time(), _open_files()
    story, outcome, kind = "", "used", ""
    with watch.over():
        try:
            subject.use(data)
        except FeatcacheError as error:
            outcome, kind = "refused", _place(error)
            if not str(error) or len(str(error)) > LONGEST_MESSAGE:
                outcome, kind = "finding", f"long message: {kind}" if str(error) else f"no message: {kind}"
                story = f"{len(str(error)):,} characters: {str(error)[:2000]}"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # whatever else it may be
            outcome, kind, story = "finding", _place(error), "".join(_last_lines(error))
    if outcome != "finding":
        took, grown = _processor_time() - began, _peak() - base
        if watch.seen:
            return Verdict("finding", f"not allowed: {watch.seen[0]}", "\n".join(watch.seen))
        if took > subject.seconds:
            return Verdict("finding", "slow", f"{took:.1f} s of processor time for {len(data):,} bytes")
        if grown > subject.memory + subject.fold * len(data):
            return Verdict("finding", "large", f"{grown:,} bytes of memory for {len(data):,} bytes")
        if _open_files() > files + _MOST_OPEN:
            return Verdict("finding", "left open", f"{_open_files()} files are open, before it {files}")
    return Verdict(outcome, kind, story)


def _place(error: BaseException) -> str:
    """Return the exception's class and the last lines of featcache and of all on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/featcache/" in frame.filename] or list(frames)
    if not ours:
        return type(error).__name__
    last = ours[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} {last.name}"


def _last_lines(error: BaseException) -> list[str]:
    return traceback.format_exception(error)[-30:]


def _processor_time() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _forget_peak() -> int:
    """Let the kernel forget the peak of this process's memory, and return what it takes now."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    return _peak()


def _peak() -> int:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
