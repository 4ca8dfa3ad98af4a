"""The dataset folder that the soak works on, and what a cache of it must hold: the model's first half."""

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from helpers.fake_network import TRANSFORMS, features_of
from PIL import Image

from featcache.images.colour_statistics import image_statistics
from featcache.images.resizing import prepare

CLASSES = ("cat", "dog", "owl")
SPLITS = ("train", "val", "test")
UNREADABLE = bytes(32)
"""The hash of a file that could not be read, as ``docs/reference/cache-format.md`` has it."""

_YEAR_NS = 365 * 86400 * 10**9
_MOST = 45


@dataclass(frozen=True)
class Truth:
    """What the fake network gives for a photo: of the plain view, of its mirror image; and its colour statistics."""

    plain: np.ndarray
    mirrored: np.ndarray
    statistics: np.ndarray


@dataclass(frozen=True)
class Row:
    """What a cache must say of one photo.

    Parameters
    ----------
    label, split
        By name.
    digests
        The sha256 that it may carry: more than one where the photo could not be read, or changed meanwhile.
    features
        Whether there must be some; ``None`` where there may.
    """

    label: str
    split: str
    digests: frozenset[bytes]
    features: bool | None


Expected = Mapping[str, Row]
"""The row of every photo's id."""


def picture(number: int) -> bytes:
    """A photo of noise; all are files of one size, so that one can take another's place unseen."""
    pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


class Photos:
    """A folder ``SPLIT/CLASS/NAME.png``, changed at random, and what is in it.

    Parameters
    ----------
    root
        The folder.
    chance
        What decides.
    """

    def __init__(self, root: Path, chance: np.random.Generator) -> None:
        self.root, self._chance = root, chance
        self.files: dict[str, bytes] = {}
        self.unreadable: set[str] = set()
        self.truths: dict[bytes, Truth | None] = {}
        self._made = 0
        # One photo of each class and split stays as it is: datasets without any are refused, which is another test's.
        self._fixed = {self._add(split, name) for split in SPLITS for name in CLASSES}
        for _ in range(int(chance.integers(0, 14))):
            self._add()

    def change(self) -> str:
        """Change something; says what."""
        kinds = (
            self._added, self._copied, self._removed, self._moved, self._moved, self._rewritten, self._rewritten,
            self._edited, self._spoiled, self._hidden, self._shown, self._touched,
        )  # fmt: skip
        return kinds[self._chance.integers(len(kinds))]()

    def expected(self, before: Mapping[str, bytes] | None = None) -> Expected:
        """Return what an extraction finds now; photos may still have had the contents `before` when it read them."""
        return {name: self._row(name, (before or {}).get(name)) for name in self.files}

    def truth(self, digest: bytes) -> Truth | None:
        """Return what the bytes of this sha256 must give; raises ``KeyError`` where no photo ever had them."""
        return self.truths[digest]

    def _row(self, name: str, earlier: bytes | None) -> Row:
        split, label, _ = name.split("/")
        contents = {self.files[name]} | ({earlier} if earlier is not None else set())
        digests = {hashlib.sha256(content).digest() for content in contents}
        if name in self.unreadable or len(digests) > 1:
            return Row(label, split, frozenset(digests | {UNREADABLE}), None)
        return Row(label, split, frozenset(digests), self.truths[next(iter(digests))] is not None)

    # Changes ------------------------------------------------------------------------------------------------

    def write(self, name: str, content: bytes, *, replace: bool = True) -> None:
        """Give a photo new bytes, in a new file or in its own; it can be read then."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if replace:
            fresh = path.with_name(f".{path.name}")
            fresh.write_bytes(content)
            os.replace(fresh, path)
        else:
            with path.open("r+b") as stream:
                stream.write(content)
                stream.truncate()
        self.files[name] = content
        self.unreadable.discard(name)
        digest = hashlib.sha256(content).digest()
        if digest not in self.truths:
            self.truths[digest] = _truth(content) if content.startswith(b"\x89PNG") else None

    def another(self) -> bytes:
        """Return a photo that has not been there yet."""
        self._made += 1
        return picture(self._made)

    def chosen(self, names: Iterable[str] | None = None) -> str | None:
        """Return one of the photos that may change, if there is any."""
        free = sorted(set(self.files if names is None else names) - self._fixed)
        return free[self._chance.integers(len(free))] if free else None

    def _name(self, split: str = "", label: str = "") -> str:
        self._made += 1
        split = split or SPLITS[self._chance.integers(3)]
        label = label or CLASSES[self._chance.integers(3)]
        odd = ("", "", "", " é", "~", "İ")[self._chance.integers(6)]
        return f"{split}/{label}/{self._made}{odd}.png"

    def _add(self, split: str = "", label: str = "") -> str:
        name = self._name(split, label)
        self.write(name, self.another())
        return name

    def _added(self) -> str:
        if len(self.files) >= _MOST:
            return self._removed()
        return f"add {self._add()}"

    def _copied(self) -> str:
        source = sorted(self.files)[self._chance.integers(len(self.files))]
        name = self._name()
        self.write(name, self.files[source])
        return f"copy {source} to {name}"

    def _removed(self) -> str:
        name = self.chosen()
        if name is None:
            return "nothing to remove"
        (self.root / name).unlink()
        del self.files[name]
        self.unreadable.discard(name)
        return f"remove {name}"

    def _moved(self) -> str:
        """Rename it, or move it to another class or split."""
        name = self.chosen()
        if name is None:
            return "nothing to move"
        split, label, _ = name.split("/")
        new = self._name(*(((split, label), ("", label), (split, ""))[self._chance.integers(3)]))
        os.rename(self.root / name, self.root / new)
        self.files[new] = self.files.pop(name)
        if name in self.unreadable:
            self.unreadable.remove(name)
            self.unreadable.add(new)
        return f"move {name} to {new}"

    def _rewritten(self) -> str:
        """Other bytes under the same name, of the same size and modification time."""
        name = self.chosen()
        if name is None:
            return "nothing to rewrite"
        times = (self.root / name).stat()
        replace = bool(self._chance.integers(2))
        self.write(name, self.another(), replace=replace)
        os.utime(self.root / name, ns=(times.st_atime_ns, times.st_mtime_ns))
        return f"rewrite {name} {'by another file' if replace else 'in place'}, of the same size and time"

    def _edited(self) -> str:
        name = self.chosen()
        if name is None:
            return "nothing to edit"
        self.write(name, self.another() + bytes(int(self._chance.integers(1, 9))))
        return f"edit {name}"

    def _spoiled(self) -> str:
        name = self.chosen()
        if name is None:
            return "nothing to spoil"
        # Of one text all spoiled photos would be copies.
        self.write(name, (b"", b"no photo", b"no photo %d" % self._made)[self._chance.integers(3)])
        return f"spoil {name}"

    def _hidden(self) -> str:
        name = self.chosen()
        if name is None:
            return "nothing to hide"
        self.unreadable.add(name)
        return f"let {name} be unreadable"

    def _shown(self) -> str:
        if not self.unreadable:
            return "nothing to show"
        name = sorted(self.unreadable)[0]
        self.unreadable.remove(name)
        return f"let {name} be readable again"

    def _touched(self) -> str:
        """Another modification time: of long ago, of the future, or no change of it."""
        name = self.chosen()
        if name is None:
            return "nothing to touch"
        time = int(self._chance.integers(-80, 200)) * _YEAR_NS
        os.utime(self.root / name, ns=(time, time))
        return f"touch {name} with the time {time}"


def _truth(content: bytes) -> Truth:
    pixels = prepare(content, TRANSFORMS)
    plain, mirrored = features_of(np.stack([pixels, pixels[:, ::-1]]))
    return Truth(plain, mirrored, np.asarray(image_statistics(pixels[None]))[0])
