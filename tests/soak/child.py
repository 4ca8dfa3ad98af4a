"""What runs in a process of its own, which may be killed, lose its disk's last byte, or live in another year.

The process that forks for it (`helpers.warm_python`) has ``recorder.c`` and ``failing_calls.c`` preloaded.
"""

import ctypes
import errno
import json
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from helpers.failing_calls import FAULTS
from helpers.fake_extractions import extract
from helpers.photo_folders import photo_folder
from helpers.refusing_disk import refuse_reads

import featcache
from featcache.cache import CacheWriter, gc, partial_path, repair, verify, writer
from featcache.core import forked
from featcache.core.disk import files, storage
from featcache.core.progress import Progress
from featcache.errors import FeatcacheError
from soak import mutants

PUBLISHED = 10**6
"""What is marked once a command has said that its file has its final name."""

_NEW_NAMESPACE, _PRIVATE = 0x20000, 0x4000 | 0x40000  # CLONE_NEWNS; MS_REC | MS_PRIVATE


def warm_up(scratch: str, mutant: str) -> None:
    """Import and compile what every child needs, and break what is to be broken."""
    warnings.simplefilter("ignore")
    # JAX that has started cannot compute in a fork. The fake network computes without; only its device is asked for.
    mutants.everywhere("require_jax", forked.require_jax, lambda: None)
    photos = photo_folder(Path(scratch) / "warm", {"train/cat": 2, "train/dog": 2})
    extract(photos, Path(scratch) / "warm.h5")
    mutants.apply(mutant)


def main(text: str) -> None:
    """Do what a document in JSON orders; lines of JSON on standard output say how far it is, and how it ended."""
    order = json.loads(text)
    with ExitStack() as stack:
        stack.enter_context(surroundings(order["unreadable"], order["years"]))
        _promise_rows()
        writer.FSYNC_EVERY_S = order["sync_every"]
        if order.get("room") is not None:
            stack.enter_context(_small_disk(order))
        _begin_to_fail(order)
        try:
            done = _COMMANDS[order["command"]](order)
        except FeatcacheError as error:
            _stop_failing()
            done = {"error": type(error).__name__, "code": error.exit_code, "text": str(error)}
        else:
            _mark(PUBLISHED)
            _stop_failing()
        _say(end=done)


def _extract(order: dict[str, Any]) -> dict[str, Any]:
    def report(progress: Progress) -> None:
        _say(stage=progress.stage, done=progress.done)
        if progress.stage == order["wait_at"]:
            sys.stdin.readline()
            order["wait_at"] = ""

    done = extract(order["photos"], Path(order["target"]), on_progress=report, **order["options"])
    return {"computed": done.computed, "reused": done.reused, "resumed": done.resumed}


def _repair(order: dict[str, Any]) -> dict[str, Any]:
    return {"ok": repair(order["target"]).ok}


def _verify(order: dict[str, Any]) -> dict[str, Any]:
    return {"ok": verify(order["target"]).ok}


def _gc(order: dict[str, Any]) -> dict[str, Any]:
    return {"removed": [left.path.name for left in gc(Path(order["target"]).parent)]}


def _command_line(order: dict[str, Any]) -> dict[str, Any]:
    from featcache.cli import main

    sys.argv = ["featcache", *order["options"]["arguments"]]
    # Those of the process that forked were made for what it was given, and not for the pipe that has their number now.
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    try:
        return {"code": main() or 0}
    except SystemExit as end:
        return {"code": end.code or 0}


_COMMANDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "extract": _extract,
    "repair": _repair,
    "verify": _verify,
    "gc": _gc,
    "command line": _command_line,
}


def _say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


# Surroundings -----------------------------------------------------------------------------------------------


@contextmanager
def surroundings(unreadable: list[str], years: int) -> Iterator[None]:
    """Files that the disk refuses to read, and a clock that is wrong by some years."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in unreadable:
            refuse_reads(patch, Path(path), errno.EIO)
        if years:
            seconds, real, real_ns = years * 365 * 86400, time.time, time.time_ns
            patch.setattr(time, "time", lambda: real() + seconds)
            patch.setattr(time, "time_ns", lambda: real_ns() + seconds * 10**9)
        yield


def _promise_rows() -> None:
    """After every fsync, mark in the record of calls how many rows survive whatever happens then."""
    rows: set[int] = set()
    begun, done, write, quarantine, sync = (
        CacheWriter.__init__, CacheWriter.done, CacheWriter.write, CacheWriter.quarantine, CacheWriter.sync,
    )  # fmt: skip

    def init_(self: CacheWriter, target: Path) -> None:
        rows.clear()
        begun(self, target)

    def done_(self: CacheWriter) -> np.ndarray:
        found = done(self)
        rows.update(np.flatnonzero(found).tolist())
        return found

    def write_(self: CacheWriter, indices: Any, features: Any) -> None:
        # The method may sync at its end: its own rows then count from the next one.
        write(self, indices, features)
        rows.update(np.asarray(indices).tolist())

    def quarantine_(self: CacheWriter, index: int, status: int) -> None:
        quarantine(self, index, status)
        rows.add(index)

    def sync_(self: CacheWriter) -> None:
        sync(self)
        _mark(len(rows))

    for name, method in (
        ("__init__", init_), ("done", done_), ("write", write_), ("quarantine", quarantine_), ("sync", sync_),
    ):  # fmt: skip
        setattr(CacheWriter, name, method)


def _mark(number: int) -> None:
    ctypes.CDLL(None).mark(number)


def survivors(target: Path) -> int:
    """Return how many rows of the unfinished cache of a target are there, quarantined ones included."""
    with featcache.FeatureCache(partial_path(target)) as cache:
        return int((cache.intact() & cache.written()).sum())


# Faults -----------------------------------------------------------------------------------------------------


def _begin_to_fail(order: dict[str, Any]) -> None:
    fault = order.get("fault")
    if fault == "a call of Python":
        _kill_at_event(order["at"])
    elif fault:
        chosen = FAULTS[fault]
        if order["full"] == "unreserved":
            _reserve_nothing()
        ctypes.CDLL(None).fail_calls(order["at"], int(chosen.forever), chosen.how, chosen.number)


def _stop_failing() -> None:
    sys.setprofile(None)
    ctypes.CDLL(None).stop_failing()


def _kill_at_event(count: int) -> None:
    """Let the process kill itself at the `count`-th call or return of a function, of C's or Python's."""
    left = [count]

    def seen(frame: FrameType, event: str, argument: Any) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(seen)


def _reserve_nothing() -> None:
    """As on file systems that cannot: room is missing when rows are written."""

    def unsupported(*arguments: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    files.os.posix_fallocate = unsupported  # type: ignore[assignment]
    storage.free_bytes = lambda folder: None


@contextmanager
def _small_disk(order: dict[str, Any]) -> Iterator[None]:
    """Let the disk be a real file system that has `room` bytes more than what lies on it.

    Mounted in a namespace of this process alone; what lies there at the end is copied to the folder `left`.
    """
    disk, before, after = Path(order["disk"]), Path(order["left"] + ".before"), Path(order["left"])
    shutil.copytree(disk, before)
    libc = ctypes.CDLL(None, use_errno=True)
    pages = sum(-(-path.stat().st_size // 4096) + 1 for path in before.rglob("*"))
    size = b"size=%d" % (4096 * (pages + 8) + order["room"])
    for failed in (
        libc.unshare(_NEW_NAMESPACE),
        libc.mount(b"none", b"/", None, _PRIVATE, None),
        libc.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", 0, size),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), "cannot mount a small disk")
    shutil.copytree(before, disk, dirs_exist_ok=True)
    if order["full"] == "unreserved":
        _reserve_nothing()
    try:
        yield
    finally:
        shutil.copytree(disk, after)
        shutil.rmtree(before)
