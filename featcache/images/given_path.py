"""What a given path is, and what to do with it where something else is expected.

Files and folders of featcache's own are known by the names in them and their first bytes, photos by their names. The
answers are sentences that name the command for what was given, so that a swapped or mistyped path is mended by reading.
"""

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from featcache.core.classifier_folder import DOCUMENT, is_classifier
from featcache.core.disk.contents import CACHE, HDF5, looks_like
from featcache.core.disk.names import read_file
from featcache.errors import DataError
from featcache.images.names import holds_images, is_image_name

CLASSIFIER = "a classifier"
PART = "a file of a classifier"
SWEEP = "the results of a sweep"
RUN = "the checkpoints of a fine-tuning"
PHOTOS = "a folder of photos"
PHOTO = "a photo"
WEIGHTS = "a file of a network's weights"
RECORD = "a record of an experiment"
UNKNOWN = ""

_MARKS = (((DOCUMENT,), CLASSIFIER), (("results.jsonl", "summary.json"), SWEEP), (("run.json",), RUN))
"""Files by which a folder is recognised."""
RECORD_FORMAT = b'"featcache-record"'
"""By this, a record that a script of ``pipelines/`` wrote is told from other JSON."""
_WEIGHTS = (".keras", ".safetensors", ".pth", ".pt", ".ckpt")


def what_is(path: str | os.PathLike[str]) -> str:
    """Return what a path is, in words, such as `CLASSIFIER` or `CACHE`; `UNKNOWN` of all that is none of these."""
    place = Path(path)
    try:
        if os.path.isdir(place):
            own = (kind for names, kind in _MARKS if any(os.path.isfile(place / name) for name in names))
            return next(own, PHOTOS if holds_images(place) else UNKNOWN)
        return _what_file(place) if os.path.isfile(place) else UNKNOWN
    except (OSError, ValueError):
        return UNKNOWN


def _what_file(file: Path) -> str:
    if is_classifier(file.parent) and file.name.startswith((DOCUMENT, "head.", "backbone.")):
        return PART
    start = read_file(file, 512)
    if looks_like(start) == CACHE:
        return CACHE
    if file.suffix.casefold() in _WEIGHTS or start.startswith(HDF5):
        return WEIGHTS
    if file.suffix.casefold() == ".json" and RECORD_FORMAT in start:
        return RECORD
    return PHOTO if is_image_name(file.name) else UNKNOWN


def refusal(path: str | os.PathLike[str], expected: str) -> str:
    """Return a message for a path that is plainly something else than expected; an empty text where it is not.

    Parameters
    ----------
    path
        As it was given.
    expected
        `CACHE`, `CLASSIFIER` or `PHOTOS`: of a dataset to extract.
    """
    kind = what_is(path)
    advice = _ADVICE[expected].get(kind)
    if advice is None:
        return ""
    wanted = {CACHE: "cache of features", CLASSIFIER: "classifier", PHOTOS: "dataset of photos"}[expected]
    return f"{path} is {kind}, no {wanted}; {advice(Path(path))}"


def require_classifier(folder: Path) -> None:
    """Raise `DataError` if a folder is plainly something else than a classifier; nothing at all is no matter here."""
    if not is_classifier(folder) and (said := refusal(folder, CLASSIFIER)):
        raise DataError(said)


def _best_of(sweep: Path) -> str:
    best = sweep / "classifier"
    return f"its best head is the classifier {best}" if is_classifier(best) else "it saved no classifier"


def _made_by(run: Path) -> str:
    made = run.with_suffix("")
    if is_classifier(made):
        return f"the classifier it made is {made}"
    return "it has made no classifier yet: go on with featcache finetune … --resume"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


_FOLDER = "name a folder of class folders, ROOT/CLASS/image.jpg"
_TRAIN = "name the cache, the .h5 file that featcache extract writes"

_ADVICE: Mapping[str, Mapping[str, Callable[[Path], str]]] = {
    CACHE: {
        CLASSIFIER: lambda path: f"{_TRAIN}; to score it: featcache evaluate {_quoted(path)}",
        PART: lambda path: _TRAIN,
        SWEEP: lambda path: f"{_TRAIN}; {_best_of(path)}",
        RUN: lambda path: f"{_TRAIN}; {_made_by(path)}",
        PHOTO: lambda path: "features are made of a folder of them: featcache extract FOLDER",
        WEIGHTS: lambda path: (
            f"make one with them: featcache extract DATASET --backbone NAME --weights {_quoted(path)}"
        ),
    },
    CLASSIFIER: {
        CACHE: lambda path: f"train one on it: featcache train-head {_quoted(path)}",
        PART: lambda path: f"name its folder, {path.parent}",
        SWEEP: _best_of,
        RUN: _made_by,
        PHOTOS: lambda path: f"train one: featcache extract {_quoted(path)}, then featcache train-head CACHE",
        PHOTO: lambda path: "name the folder that featcache train-head wrote",
        WEIGHTS: lambda path: (
            "name the folder that featcache train-head wrote; weights go with featcache extract --weights "
            f"{_quoted(path)}"
        ),
    },
    PHOTOS: {
        CACHE: lambda path: (
            f"it holds features already, so train on it: featcache train-head {_quoted(path)}"
        ),
        CLASSIFIER: lambda path: f"{_FOLDER}; its network is --backbone {_quoted(path)}",
        PART: lambda path: f"{_FOLDER}; its network is --backbone {_quoted(path.parent)}",
        SWEEP: _best_of,
        RUN: _made_by,
        PHOTO: lambda path: f"{_FOLDER}; to classify one photo: featcache predict CLASSIFIER {_quoted(path)}",
        WEIGHTS: lambda path: f"{_FOLDER}; weights go with --backbone NAME --weights {_quoted(path)}",
    },
}
"""What to do, by what is expected and what was given."""
