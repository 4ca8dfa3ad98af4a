"""What a classifier's folder must hold beyond `featcache.core.documents.classifier_document`: settings and parameters.

Both depend on the kind of head, which only this package knows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.classifier.calibration import Calibration
from featcache.classifier.known.stored import (
    PREFIX,
    SAMPLE,
    check_known,
    known_document,
    known_tensors,
    read_known,
)
from featcache.classifier.own_backbone import tuned_name
from featcache.classifier.scored.seen import NAME as SEEN
from featcache.core.classifier_folder import DOCUMENT, TENSORS, own_weights, read_folder
from featcache.core.documents.classifier_document import CLASSIFIER
from featcache.core.documents.document_format import DocumentFormat
from featcache.core.documents.kinds import Flag, Items, Kind, Maybe, Number, Record, Text, Whole
from featcache.core.tasks import MULTICLASS
from featcache.errors import IntegrityError, UsageError
from featcache.heads.fitted_head import FittedHead
from featcache.heads.probabilities import outputs_for
from featcache.heads.settings import HEADS, SETTINGS, Settings, loss_of
from featcache.heads.shapes import WHOLE_NUMBERS, layer_shapes, remembered_shapes

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

REMEDY = "restore it from a copy, or train the head again"

_KINDS: Mapping[type, Kind] = {
    str: Text(0, 200),
    bool: Flag(),
    int: Whole(),
    float: Number(),
    tuple: Items(Whole(1, 2**31 - 1), most=1000),
}

SETTINGS_CONTENT = Record(
    {},  # those that an older featcache did not have are at their default
    {
        name: Maybe(_KINDS[setting.kind]) if setting.optional else _KINDS[setting.kind]
        for name, setting in SETTINGS.items()
    }
    | {"standardize": Flag(), "class_weights": Text(0, 10_000_000)},  # which may name every class
)
"""Types of a head's settings; `featcache.heads.settings.Settings` knows their limits."""

HEAD = DocumentFormat(
    Record({"head": Text(choices=HEADS), "training": SETTINGS_CONTENT}), what=CLASSIFIER.what, remedy=REMEDY
)


def settings_of(document: Mapping[str, Any]) -> Settings:
    """Return the settings that a head was trained with; those that an older featcache did not have at their default.

    Parameters
    ----------
    document
        With ``head`` and ``training``.
    """
    told = {name: value for name, value in renamed(document["training"]).items() if name in SETTINGS}
    return Settings(**{**told, "hidden": tuple(told.get("hidden", (256,))), "head": document["head"]})


JUDGED = "judged."
"""Prefix of the parameters before they were fitted again; see `featcache.classifier.classifier.Classifier.judged`."""


def head_tensors(tensors: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
    """Return a head's parameters from a folder's tensors: the classifier's own, or those with a prefix."""
    if prefix:
        return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}
    return {n: value for n, value in tensors.items() if n != SEEN and not n.startswith((JUDGED, PREFIX))}


def read_classifier(folder: Path) -> dict[str, Any]:
    """Return the arguments of a `featcache.classifier.classifier.Classifier` that lies in a folder.

    Raises
    ------
    MissingFileError
        If there is none.
    IntegrityError
        If it is damaged or was edited by hand, of a newer version, or holds what no classifier does.
    """
    document, tensors = read_folder(folder)
    check_classifier(folder, document, tensors)
    plain = ("backbone", "recipe", "layer", "fingerprint", "head", "metrics", "training", "provenance")
    return {
        **{name: document[name] for name in plain},
        "weights": own_weights(folder, document),
        "classes": tuple(document["classes"]),
        "task": document.get("task", MULTICLASS),
        "layer_weights_sha256": document.get("layer_weights_sha256"),
        "calibration": Calibration.from_json(document.get("calibration")),
        "known": read_known(document, tensors),
        "seen": tensors.get(SEEN),
        "parameters": head_tensors(tensors),
        "judged": head_tensors(tensors, JUDGED) or None,
    }


def document_of(classifier: "Classifier") -> dict[str, Any]:
    """Return a classifier's document, as `featcache.core.classifier_folder.write_folder` takes it."""
    digest = classifier.layer_weights_sha256
    return {
        "backbone": classifier.backbone if classifier.network is None else tuned_name(classifier),
        "weights": classifier.weights,
        "recipe": dict(classifier.recipe),
        "layer": classifier.layer,
        "fingerprint": classifier.fingerprint,
        **({"layer_weights_sha256": digest} if digest else {}),
        "head": classifier.head,
        "task": classifier.task,
        "classes": list(classifier.classes),
        "calibration": classifier.calibration.to_json(),
        "known": known_document(classifier.known),
        "metrics": dict(classifier.metrics),
        "training": dict(classifier.training),
        "provenance": dict(classifier.provenance),
    }


def tensors_of(classifier: "Classifier") -> dict[str, np.ndarray]:
    """Return all arrays of a classifier's folder by their names there."""
    seen = {} if classifier.seen is None else {SEEN: classifier.seen}
    judged = {JUDGED + name: value for name, value in (classifier.judged or {}).items()}
    return {**classifier.parameters, **seen, **judged, **known_tensors(classifier.known)}


def renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded settings under today's names: ``standardize`` was the only choice before ``scaling``."""
    told = dict(settings)
    standardize = told.pop("standardize", True)
    return {"scaling": "standard" if standardize else "none", **told}


def check_classifier(folder: Path, document: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Refuse a classifier whose document or parameters do not fit: behind this, both are relied on.

    Parameters
    ----------
    folder
        Of the classifier, for messages.
    document, tensors
        From `featcache.core.classifier_folder.read_folder`: as they were written, but perhaps by another program.

    Raises
    ------
    IntegrityError
        Naming file and key, or file and tensor.
    """
    path = folder / DOCUMENT
    HEAD.check(document, path)
    try:
        settings = settings_of(document)
    except UsageError as error:
        raise HEAD.damaged(path, f"training: {error}") from error
    _check_parameters(folder / TENSORS, settings, document, head_tensors(tensors))
    if judged := head_tensors(tensors, JUDGED):
        _check_parameters(folder / TENSORS, settings, document, judged)
    if SEEN in tensors:
        _require_shape(folder / TENSORS, SEEN, tensors[SEEN], (None, 2), np.int32)
    check_known(folder / TENSORS, document, tensors)
    if SAMPLE in tensors:
        head = FittedHead(
            settings, head_tensors(tensors), len(document["classes"]), document.get("task", MULTICLASS)
        )
        # Of maps, whose places the head reads one by one, the sample has one place.
        if head.width % (width := tensors[SAMPLE].shape[1]):
            why = f"{SAMPLE} is {width} wide, which no part of the head's {head.width} is"
            raise _damaged(folder / TENSORS, why)


Shape = tuple[int | None, ...]


def _check_parameters(
    path: Path, settings: Settings, document: Mapping[str, Any], parameters: Mapping[str, np.ndarray]
) -> None:
    classes = len(document["classes"])
    multiclass = document.get("task", MULTICLASS) == MULTICLASS
    outputs = outputs_for(loss_of(settings), classes) if multiclass else classes
    shapes = _shapes(settings, outputs, parameters)
    if shapes.keys() != parameters.keys():
        raise _damaged(
            path, f"it holds {_names(parameters)}, expected {_names(shapes)} of a {settings.head} head"
        )
    for name, shape in shapes.items():
        whole = name in WHOLE_NUMBERS
        _require_shape(path, name, parameters[name], shape, np.int32 if whole else np.float32)
        _require_finite(path, name, parameters[name], least=settings.head == "prototype" and name == "bias")
    if settings.head == "knn":
        _check_neighbours(path, parameters, classes)


def _shapes(settings: Settings, outputs: int, parameters: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    """Return the shape of each tensor; ``None`` for a length that the head alone knows."""
    if settings.head == "knn":
        count = len(parameters["labels"]) if "labels" in parameters and parameters["labels"].ndim else None
        return remembered_shapes(count, None)
    return layer_shapes(None, outputs, settings.hidden if settings.head == "mlp" else ())


def _require_shape(path: Path, name: str, value: np.ndarray, shape: Shape, dtype: type) -> None:
    fits = value.ndim == len(shape) and all(
        have == want or (want is None and have > 0) for have, want in zip(value.shape, shape, strict=True)
    )
    if not fits or value.dtype != dtype:
        wanted = "×".join("N" if side is None else str(side) for side in shape)
        given = "×".join(map(str, value.shape)) or "one number"
        raise _damaged(path, f"{name} is {value.dtype} {given}, expected {np.dtype(dtype)} {wanted}")


def _require_finite(path: Path, name: str, value: np.ndarray, *, least: bool) -> None:
    # A class without training rows has no mean: it is minus infinitely near.
    good = np.isfinite(value) | (least & np.isneginf(value)) if value.dtype.kind == "f" else True
    if not np.all(good):
        raise _damaged(path, f"{name} holds NaN or infinity, expected finite numbers")


def _check_neighbours(path: Path, parameters: Mapping[str, np.ndarray], classes: int) -> None:
    labels, weight = parameters["labels"], parameters["weight"]
    if (weight < 0).any() or not (weight > 0).any():
        raise _damaged(path, "weight holds no row that counts, or a negative one; expected 0 or above")
    if (labels < 0).any() or (labels >= classes).any():
        raise _damaged(path, f"labels are {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
    if parameters["neighbours"][0] < 1:
        raise _damaged(path, f"neighbours is {parameters['neighbours'][0]}, expected at least 1")


def _names(tensors: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(ascii, tensors))[:8]) or "none"


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(f"{path} is damaged: {why}; {REMEDY}")
