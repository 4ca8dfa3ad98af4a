"""What a classifier knows, in its folder: tensors beside the head's parameters, and what they are in its document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featcache.classifier.known.familiarity import MOST_BYTES, MOST_ROWS, Familiarity
from featcache.classifier.known.knowledge import EARLIER, Knowledge
from featcache.classifier.known.thresholds import MOST_KEPT, HeldOutScores
from featcache.errors import IntegrityError

PREFIX = "known."
"""Prefix of the tensors' names in the classifier's file."""

SAMPLE, DISTANCES, RIGHT = (PREFIX + name for name in ("sample", "distances", "right"))

REMEDY = "restore it from a copy, or train the head again"


def known_tensors(known: Knowledge) -> dict[str, np.ndarray]:
    """Return what is known as tensors; at most 2 MiB of training rows and 40 kB of each kind of scores."""
    found = {}
    if known.familiarity is not None:
        found = {SAMPLE: known.familiarity.sample, DISTANCES: known.familiarity.distances.values}
    return found | ({} if known.right is None else {RIGHT: known.right.values})


def known_document(known: Knowledge) -> dict[str, Any]:
    """Return what a document says of it, as plain JSON values: `featcache.core.documents.classifier_document.KNOWN`."""
    familiar = known.familiarity
    return {
        "distances": None if familiar is None else familiar.distances.count,
        "right": None if known.right is None else known.right.count,
        "no_familiarity": known.no_familiarity,
        "no_sets": known.no_sets,
    }


def read_known(document: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Knowledge:
    """Return what a checked classifier knows: nothing if an earlier version made it."""
    told = document.get("known")
    if told is None:
        return Knowledge(no_familiarity=EARLIER, no_sets=EARLIER)
    familiar = right = None
    if told["distances"] is not None:
        distances = HeldOutScores(tensors[DISTANCES], told["distances"])
        familiar = Familiarity(tensors[SAMPLE], distances)
    if told["right"] is not None:
        right = HeldOutScores(tensors[RIGHT], told["right"])
    return Knowledge(familiar, right, told["no_familiarity"], told["no_sets"])


def check_known(path: Path, document: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Refuse tensors that do not fit the document, or hold what cannot be.

    Parameters
    ----------
    path
        Of the tensors' file, for messages.
    document, tensors
        Of a classifier's folder; the document's own form is checked.

    Raises
    ------
    IntegrityError
        Naming file and tensor.
    """
    nothing: dict[str, Any] = {"distances": None, "right": None}
    told: Mapping[str, Any] = document.get("known") or nothing
    wanted = set() if told["distances"] is None else {SAMPLE, DISTANCES}
    wanted |= set() if told["right"] is None else {RIGHT}
    given = {name for name in tensors if name.startswith(PREFIX)}
    if given != wanted:
        raise _damaged(path, f"it holds {_names(given)}, expected {_names(wanted)} of what is known")
    if told["distances"] is not None:
        _check_sample(path, tensors[SAMPLE])
        _check_scores(path, DISTANCES, tensors[DISTANCES], (0, 2), told["distances"])
    if told["right"] is not None:
        _check_scores(path, RIGHT, tensors[RIGHT], (-2, 0), told["right"])


def _check_sample(path: Path, sample: np.ndarray) -> None:
    if sample.dtype != np.float16 or sample.ndim != 2 or not sample.size:
        raise _damaged(path, f"{SAMPLE} is {_shape(sample)}, expected float16 P×D")
    if len(sample) > MOST_ROWS or (len(sample) > 1 and sample.nbytes > MOST_BYTES):
        raise _damaged(path, f"{SAMPLE} is {_shape(sample)}, more than {MOST_ROWS} or {MOST_BYTES} bytes")
    # Rounded to float16, a norm of 1 is off by 1e-3 at most; rows of zeros stay zeros.
    norms = np.linalg.norm(sample.astype(np.float64), axis=1)
    if not np.all((np.abs(norms - 1) < 1e-2) | (norms == 0)):
        raise _damaged(path, f"{SAMPLE} holds rows that are not of norm 1")


def _check_scores(path: Path, name: str, values: np.ndarray, limits: tuple[float, float], count: int) -> None:
    if values.dtype != np.float32 or values.shape != (min(count, MOST_KEPT),):
        raise _damaged(path, f"{name} is {_shape(values)}, expected float32 {min(count, MOST_KEPT)}")
    low, high = limits
    # Not the opposite comparison, which NaN would pass.
    if not (np.all(values >= low) and np.all(values <= high) and np.all(np.diff(values) >= 0)):
        raise _damaged(path, f"{name} holds what is not ascending from {low} to {high}")


def _shape(value: np.ndarray) -> str:
    return f"{value.dtype} {'×'.join(map(str, value.shape)) or 'one number'}"


def _names(names: set[str]) -> str:
    return ", ".join(sorted(map(ascii, names))[:8]) or "none"


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(f"{path} is damaged: {why}; {REMEDY}")
