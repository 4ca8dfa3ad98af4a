"""Make the embedded demo images, ``data/textures/{train,test}/CLASS/NNN.jpg``.

Nine photographs that ship in scikit-image's wheel are cut into small square crops, a class a photograph.
Train crops come from one part of a photograph and test crops from the rest, so no pixel is in both.

    python data/make_textures.py            # write data/textures
    python data/make_textures.py --check    # write nothing, compare the digest of what is committed

Needs Pillow, and scikit-image for its picture files only (0.26.0 was used; the sha256 of each file is
checked). JPEG bytes depend on the encoder, so another Pillow may give another digest: 13.0.0 was used.
"""

import argparse
import hashlib
import importlib.util
import shutil
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image, ImageStat

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "textures"
DIGEST = "d5df6e0dbe76c9a0b080ad1484bc7246ad9515dfc4c1ca9276d6dc1001aec979"

SEED = 0
SIZE = 96
QUALITY = 85
COUNTS = {"train": 30, "test": 10}
TRAIN_FRACTION = 0.7
# Below this a crop (mean over its channels, 0 to 255) is blank: paper without a stroke, sky without a galaxy.
MIN_STD = 10.0

Box = tuple[int, int, int, int]


class Source(NamedTuple):
    """A photograph and how it is cut.

    Parameters
    ----------
    file
        Name in scikit-image's ``data`` folder.
    sha256
        Of that file.
    sides
        Smallest and largest window side in source pixels; a window is then resized to ``SIZE``.
    train_part
        ``left`` or ``top``: where the train region lies, test has the rest. ``top`` where the right of the
        photograph shows little of its subject.
    area
        Left, top, right, bottom of the part to use; all of the photograph if not given.
    """

    file: str
    sha256: str
    sides: tuple[int, int] = (64, 112)
    train_part: str = "left"
    area: Box | None = None


SOURCES = {
    "brick": Source("brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf"),
    # Right of column 350 is only blurred background.
    "cat": Source(
        "chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        train_part="top",
        area=(40, 0, 350, 300),
    ),
    "coffee": Source(
        "coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", train_part="top"
    ),
    "coins": Source("coins.png", "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba"),
    "galaxies": Source(
        "hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4"
    ),
    "grass": Source("grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89"),
    "gravel": Source("gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12"),
    "handwriting": Source("text.png", "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1"),
    # 1411 pixels wide: a larger window shows vessels, not only red; the corners are black.
    "retina": Source(
        "retina.jpg",
        "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        sides=(160, 288),
        area=(150, 150, 1261, 1261),
    ),
}


def pictures_folder() -> Path:
    """Folder of the pictures in the installed scikit-image, found without importing it."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("scikit-image is not installed: `pip install scikit-image`, or give --source FOLDER")
    return Path(spec.submodule_search_locations[0]) / "data"


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder_digest(folder: Path) -> str:
    r"""One sha256 over a folder: of ``"PATH\nSHA256\n"`` for every ``.jpg``, sorted by PATH.

    Parameters
    ----------
    folder
        PATH is relative to it and written with ``/``.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.jpg")}
    lines = "".join(f"{name}\n{sha256_of(paths[name])}\n" for name in sorted(paths))
    return hashlib.sha256(lines.encode()).hexdigest()


def open_source(folder: Path, source: Source) -> Image.Image:
    """Decode one photograph after checking that it is the expected file."""
    path = folder / source.file
    if not path.is_file():
        raise SystemExit(f"no {source.file} in {folder}: give --source, scikit-image's `skimage/data` folder")
    found = sha256_of(path)
    if found != source.sha256:
        raise SystemExit(f"{path} has sha256 {found}, expected {source.sha256}: use scikit-image 0.26.0")
    return Image.open(path)


def split_region(area: Box, train_part: str, split: str) -> Box:
    """Part of an area that a split may use: ``TRAIN_FRACTION`` of it for train, the rest for test."""
    left, top, right, bottom = area
    if train_part == "left":
        border = left + round((right - left) * TRAIN_FRACTION)
        return (left, top, border, bottom) if split == "train" else (border, top, right, bottom)
    border = top + round((bottom - top) * TRAIN_FRACTION)
    return (left, top, right, border) if split == "train" else (left, border, right, bottom)


def draw_window(random: Random, region: Box, sides: tuple[int, int]) -> Box:
    """Square window inside a region, uniform in side, then in position.

    Only ``Random.random`` is used, whose sequence Python promises to keep between versions.
    """
    left, top, right, bottom = region

    def draw(low: int, high: int) -> int:
        return low + int(random.random() * (high - low + 1))

    smallest, largest = sides
    side = draw(smallest, min(largest, right - left, bottom - top))
    x, y = draw(left, right - side), draw(top, bottom - side)
    return (x, y, x + side, y + side)


def is_blank(crop: Image.Image) -> bool:
    """Whether a crop has next to no contrast."""
    stddev = ImageStat.Stat(crop).stddev
    return sum(stddev) / len(stddev) < MIN_STD


def cut(picture: Image.Image, name: str, split: str) -> list[Image.Image]:
    """All crops of one class in one split.

    Parameters
    ----------
    picture
        The photograph; its mode is kept, so a grayscale photograph gives grayscale crops.
    name
        Class, a key of ``SOURCES``.
    split
        ``train`` or ``test``.

    Returns
    -------
    list of Image
        ``COUNTS[split]`` crops of ``SIZE`` × ``SIZE`` pixels.
    """
    source = SOURCES[name]
    random = Random(f"{SEED}/{split}/{name}")
    region = split_region(source.area or (0, 0, *picture.size), source.train_part, split)
    crops: list[Image.Image] = []
    while len(crops) < COUNTS[split]:
        crop = picture.crop(draw_window(random, region, source.sides))
        if not is_blank(crop):
            crops.append(crop.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    return crops


def make(pictures: Path, folder: Path) -> None:
    """Write every crop, after removing what the folder held of the same classes."""
    opened = {name: open_source(pictures, source) for name, source in SOURCES.items()}
    for split in COUNTS:
        for name, picture in opened.items():
            target = folder / split / name
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for number, crop in enumerate(cut(picture, name, split)):
                crop.save(target / f"{number:03d}.jpg", quality=QUALITY)


def check(folder: Path) -> list[str]:
    """Complaints about the committed set and README.md; an empty list when all agree."""
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    found = folder_digest(folder)
    complaints = [] if found == DIGEST else [f"{folder} has digest {found}, expected {DIGEST}"]
    quoted = {"the set": DIGEST} | {source.file: source.sha256 for source in SOURCES.values()}
    missing = [what for what, sha256 in quoted.items() if sha256 not in readme]
    return complaints + [f"README.md lacks the sha256 of {what}" for what in missing]


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the embedded demo images, data/textures.")
    parser.add_argument("--source", type=Path, help="folder of the photographs; default: scikit-image's")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder to replace or check")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a digest differs")
    arguments = parser.parse_args()
    if arguments.check:
        complaints = check(arguments.output)
        print("\n".join(complaints) or f"ok {DIGEST}")
        return 1 if complaints else 0
    make(arguments.source or pictures_folder(), arguments.output)
    print(folder_digest(arguments.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
