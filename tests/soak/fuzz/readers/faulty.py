"""Readers with a fault each, by which the fuzzer itself is tested; no run takes one that it does not name."""

import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from featcache.errors import DataError

from ..reader import Reader, Subject

_SEED = b"valid"
_held: list[object] = []


def _hang(data: bytes) -> None:
    while data != _SEED:
        pass


def _grow(data: bytes) -> None:
    _held[:] = [b"x" * (1 << 28)]


FAULTS: dict[str, Callable[[bytes], object]] = {
    "no-fault": lambda data: None,
    "raises": lambda data: int("x"),
    "recurses": lambda data: FAULTS["recurses"](data),
    "aborts": lambda data: os.abort(),
    "hangs": _hang,
    "starts": lambda data: subprocess.run(["true"], check=True),
    "writes": lambda data: Path("/dev/shm/featcache-fuzz-outside").write_bytes(b""),
    "removes": lambda data: Path("/dev/shm/featcache-fuzz-outside").unlink(missing_ok=True),
    "grows": _grow,
    "leaves": lambda data: _held.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(30)),
}


def _prepare(fault: str, folder: Path) -> Subject:
    def use(data: bytes) -> None:
        if data == _SEED:
            return
        if len(data) % 2:
            raise DataError("no such text; expected 'valid'")
        FAULTS[fault](data)

    return Subject([_SEED], use)


READERS = tuple(Reader(fault, partial(_prepare, fault)) for fault in FAULTS)
