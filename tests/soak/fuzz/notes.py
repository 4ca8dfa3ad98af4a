"""What a process that fuzzes leaves for the one that watches it: its counts, and the input that it is at."""

import mmap
import struct
import time
from dataclasses import dataclass
from pathlib import Path

_HEAD = struct.Struct("<dQQQQQ")
_SIZE = 1 << 20


@dataclass
class Counts:
    """Numbers of inputs.

    Parameters
    ----------
    tried, used, refused, findings
        All of them, and what came of them.
    """

    tried: int = 0
    used: int = 0
    refused: int = 0
    findings: int = 0


class Notes:
    """A file in shared memory, which outlives the process that writes it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_SIZE))
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), _SIZE)
        self.counts = Counts()

    def begin(self, data: bytes) -> None:
        """Note an input before it is tried."""
        self.counts.tried += 1
        room = _SIZE - _HEAD.size
        self._map[_HEAD.size : _HEAD.size + min(len(data), room)] = data[:room]
        self._write(time.monotonic(), len(data))

    def end(self, outcome: str) -> None:
        """Note what came of it."""
        self.counts.used += outcome == "used"
        self.counts.refused += outcome == "refused"
        self.counts.findings += outcome == "finding"
        self._write(0.0, 0)

    def _write(self, began: float, size: int) -> None:
        own = self.counts
        self._map[: _HEAD.size] = _HEAD.pack(began, own.tried, own.used, own.refused, own.findings, size)

    def read(self) -> tuple[Counts, float, bytes]:
        """Return the counts, since when an input is being tried (0 for none), and that input."""
        began, tried, used, refused, findings, size = _HEAD.unpack(self._map[: _HEAD.size])
        return Counts(tried, used, refused, findings), began, self._map[_HEAD.size : _HEAD.size + size]

    def close(self) -> None:
        self._map.close()
        self._file.close()
