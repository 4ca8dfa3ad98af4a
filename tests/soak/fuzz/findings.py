"""Findings on disk: of each kind the shortest input, and its story beside it."""

import hashlib
import re
from pathlib import Path


class Findings:
    """A folder of what a reader did wrong.

    Parameters
    ----------
    folder
        Such as ``fuzz/findings/png``; it is made where something is found.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, kind: str, data: bytes, story: str) -> bool:
        """Keep an input, unless a shorter one of its kind is there; returns whether the kind is new."""
        self.folder.mkdir(parents=True, exist_ok=True)
        words = re.sub(r"[^A-Za-z0-9_.]+", "-", kind)[:60].strip("-")
        place = self.folder / f"{words}-{hashlib.sha256(kind.encode()).hexdigest()[:8]}.bin"
        new = not place.exists()
        if new or len(data) < place.stat().st_size:
            place.write_bytes(data)
            place.with_suffix(".txt").write_text(f"{kind}\n\n{story}\n", errors="backslashreplace")
        return new

    def kinds(self) -> list[str]:
        """Return the kinds that were found."""
        return sorted(path.read_text().splitlines()[0] for path in self.folder.glob("*.txt"))
