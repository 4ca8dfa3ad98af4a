"""An exported model compared with JAX on photos; what differs by more than rounding is never written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from featcache.errors import ExportError
from featcache.exporting.check_photos import CheckPhotos
from featcache.exporting.program import DISTANCE, FEATURES, LOGITS, PROBABILITIES, Outputs, Program

Run = Callable[[np.ndarray], Outputs]
"""An exported model: pictures uint8 ``[N, H, W, 3]`` to outputs by name, whatever N."""

BATCH = 8


@dataclass(frozen=True)
class Tolerance:
    """How much an exported model may differ.

    Parameters
    ----------
    relative
        Of features, logits and numbers: share of the largest of the output's values on these photos.
    probability
        Of probabilities and distances, whose range is known.
    """

    relative: float
    probability: float


# float32: measured between XLA and onnxruntime below 3e-6 of the largest value on photos, in convolutional networks and
# in the transformers that were tried; these, whose sums are longer, are given more room. float16 keeps 11 bits of each
# number, of which a hundred layers leave six.
TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(1e-4, 1e-4),
    "float32 transformer": Tolerance(5e-4, 1e-4),
    "float16": Tolerance(2e-2, 2e-2),
}


@dataclass(frozen=True)
class Parity:
    """How far an exported model and JAX are apart.

    Parameters
    ----------
    photos, origin
        How many photos were compared, and which.
    differences
        Output to the largest difference: of probabilities and distances as it is, of others as a share of the output's
        largest value.
    undecided
        Photos whose votes rounding decides, so that their probabilities were not compared; where those are all, no
        difference of probabilities is told.
    """

    photos: int
    origin: str
    differences: Mapping[str, float]
    undecided: int = 0

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {gap:.1e}" for name, gap in self.differences.items())
        relative = [name for name in self.differences if not _is_bounded(name)]
        told = f" ({', '.join(relative)} relative to the largest)" if relative else ""
        return f"on {self.origin}, largest differences from JAX: {parts}{told}"


def tolerance_of(program: Program, dtype: str = "float32") -> Tolerance:
    """Return how much a model may differ that computes in `dtype`."""
    tokens = dtype == "float32" and program.network.network.prefix_tokens > 0
    return TOLERANCES["float32 transformer" if tokens else dtype]


def compare(
    program: Program, run: Run, photos: CheckPhotos, tolerance: Tolerance, *, kind: str = "ONNX"
) -> Parity:
    """Run a model and JAX on the same photos.

    Parameters
    ----------
    program
        What was exported.
    run
        The exported model.
    photos
        What to compare on.
    tolerance
        How far they may be apart.
    kind
        Of the model, for messages.

    Raises
    ------
    ExportError
        Naming the output, the photo, and by how much they differ.
    """
    expected = program.reference(photos.images)
    found = _by_batches(run, photos.images)
    if list(found) != list(expected):
        raise ExportError(
            f"the {kind} model gives {', '.join(found)}, expected {', '.join(expected)}; please report it"
        )
    unsure = np.zeros(len(photos.images), bool)
    if program.undecided is not None:
        unsure = program.undecided(expected[FEATURES])
    differences = {}
    for name, values in expected.items():
        counted = ~unsure if name in (PROBABILITIES, LOGITS) else np.ones(len(unsure), bool)
        gap = _compared(
            name, found[name][counted], values[counted], np.flatnonzero(counted), photos, tolerance, kind
        )
        if counted.any():  # of none there is no difference to tell
            differences[name] = gap
    if PROBABILITIES in expected and program.task == "multiclass":
        _require_same_class(found, expected, ~unsure, photos, tolerance, kind)
    return Parity(len(photos.images), photos.origin, differences, int(unsure.sum()))


def _by_batches(run: Run, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run the first picture by itself and the others in batches: the batch size is open."""
    cuts = [0, *range(1, len(images), BATCH), len(images)]
    parts = [run(images[first:last]) for first, last in pairwise(cuts) if last > first]
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def _compared(
    name: str,
    found: np.ndarray,
    expected: np.ndarray,
    numbers: np.ndarray,
    photos: CheckPhotos,
    tolerance: Tolerance,
    kind: str,
) -> float:
    """Return the largest difference of one output; raise if it is more than rounding."""
    if found.shape != expected.shape:
        raise ExportError(
            f"the {kind} model's {name} are {found.shape}, expected {expected.shape}; please report it"
        )
    if not expected.size:
        return 0.0
    # A class without training rows has a logit of minus infinity, in both.
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    finite = expected[np.isfinite(expected)]
    largest = float(np.abs(finite).max(initial=0.0))
    scale = 1.0 if _is_bounded(name) else max(largest, np.finfo(np.float32).tiny)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.where(same, 0.0, np.abs(found.astype(np.float64) - expected.astype(np.float64))) / scale
    gaps = np.where(np.isnan(gaps), np.inf, gaps).reshape(len(gaps), -1).max(axis=1)
    worst = int(gaps.argmax())
    most = tolerance.probability if _is_bounded(name) else tolerance.relative
    if gaps[worst] > most:
        unit = "" if _is_bounded(name) else " of the largest value"
        raise ExportError(
            f"nothing was written: on {photos.names[numbers[worst]]} the {kind} model's {name} differ from JAX's by "
            f"{gaps[worst]:.1e}{unit}, and {most:.0e} is rounding; {_REPORT}"
        )
    return float(gaps[worst])


_REPORT = (
    "the model here cannot be exported exactly. Please report it with the name of the backbone; `featcache predict` "
    "is not affected"
)


def _require_same_class(
    found: Outputs,
    expected: Outputs,
    counted: np.ndarray,
    photos: CheckPhotos,
    tolerance: Tolerance,
    kind: str,
) -> None:
    ours, theirs = expected[PROBABILITIES], found[PROBABILITIES]
    line = np.arange(len(ours))
    first, other = ours.argmax(axis=1), theirs.argmax(axis=1)
    ahead = ours[line, first] - ours[line, other]
    for number in np.flatnonzero(counted & (ahead > tolerance.probability)):
        raise ExportError(
            f"nothing was written: the {kind} model takes {photos.names[number]} for another class than JAX, which is "
            f"{ahead[number]:.1e} surer of its own; {_REPORT}"
        )


def _is_bounded(name: str) -> bool:
    return name in (PROBABILITIES, DISTANCE)
