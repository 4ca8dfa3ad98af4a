"""Folders of small made-up photos: every one differs from all others, and its class can be learnt."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def photo(name: str, *, height: int = 40, width: int = 48) -> np.ndarray:
    """Noise over the colour of a class, uint8 ``[H, W, 3]``; `name` is ``CLASS/…`` and decides both."""
    colour = np.random.default_rng(zlib.crc32(name.split("/")[-2].encode())).integers(40, 200, 3)
    noise = np.random.default_rng(zlib.crc32(name.encode())).integers(-40, 41, (height, width, 3))
    return (colour + noise).clip(0, 255).astype(np.uint8)


def save_photo(path: Path, name: str | None = None) -> Path:
    """Write one photo; `name` decides its pixels, by default the last parts of its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(name or "/".join(path.parts[-3:]))).save(path)
    return path


def photo_folder(root: Path, tree: Mapping[str, int]) -> Path:
    """Write photos ``0.png``, ``1.png`` … into folders, such as ``{"train/cat": 3}``."""
    for folder, count in tree.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            save_photo(root / folder / f"{number}.png", f"{folder}/{number}.png")
    return root
