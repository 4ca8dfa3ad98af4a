"""A classifier or a backbone as one JAX function of pictures, by the code that predictions are made with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from featcache.backbones.imagenet_classes import class_names
from featcache.backbones.layer import Layer
from featcache.backbones.loaded import LoadedBackbone
from featcache.classifier.known.familiarity import distance_function
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION, TASK_NAMES
from featcache.errors import ExportError
from featcache.heads.nearest import nearest_rows
from featcache.heads.probabilities import softmax
from featcache.heads.task_types import TASK_TYPES
from featcache.heads.traceable import logits_function
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.transforms import Transforms

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier

INPUT = "images"
"""Name of the one input: uint8 ``[N, H, W, 3]``, red first, as `featcache.images.resizing.prepare` gives them."""

PROBABILITIES, LOGITS, FEATURES, DISTANCE, VALUES = (
    "probabilities",
    "logits",
    "features",
    "distance",
    "values",
)
"""Names of outputs."""

OWN_CLASSES = "logits"
"""The stage of a backbone's own classes."""

DEFAULT_LAYER = "pool"
"""The layer of a backbone, if none is asked for."""

BATCH = 8
"""Pictures in one call of the network, where an export is compared with it."""

ROUNDING = 1e-5
"""Neighbours whose nearness differs by less may change places with the order in which a sum is taken."""

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Program:
    """A model as it is exported.

    Parameters
    ----------
    words
        What it is, for people.
    function
        JAX function of pictures uint8 ``[N, H, W, 3]`` to the outputs by name, ``[N, …]`` each, in their order.
    reference
        The same from numpy arrays by featcache's own programs, which predictions are made with.
    outputs
        Name of each output to what it holds, one sentence.
    network, transforms, layers
        The backbone, its preprocessing, and the layers of features.
    task
        ``"multiclass"``, ``"multilabel"``, ``"regression"`` or ``"features"``.
    classes
        Names of the columns of the first output; none of features.
    fingerprint
        Of the features of the first layer.
    below_probability, beyond_distance
        A photo is "unknown" below the one or beyond the other; ``None`` where there is no such bound.
    notes
        What else a user has to know, in sentences.
    undecided
        Function from features ``[N, …]`` to bool ``[N]``: photos whose neighbours are so close to changing places that
        rounding decides who votes; ``None`` for heads that have none.
    """

    words: str
    function: Callable[[Any], dict[str, jax.Array]]
    reference: Callable[[np.ndarray], Outputs]
    outputs: Mapping[str, str]
    network: LoadedBackbone
    transforms: Transforms
    layers: tuple[Layer, ...]
    task: str
    classes: tuple[str, ...]
    fingerprint: str
    below_probability: float | None = None
    beyond_distance: float | None = None
    notes: tuple[str, ...] = ()
    undecided: Callable[[np.ndarray], np.ndarray] | None = None


def of_classifier(classifier: "Classifier") -> Program:
    """Return what a classifier computes of the plain view of a photo.

    Raises
    ------
    ExportError
        If it computes in bfloat16, or reads what no network computes.
    WeightsError
        If its backbone's weights cannot be loaded.
    IdentityError
        If the loaded backbone is not the one that it was trained on.
    """
    if classifier.layer == STATISTICS:
        raise ExportError(
            f"this classifier reads {STATISTICS}, the colours of a photo, which no network computes and no exported "
            "model has; train the head on a layer of a network (featcache train-head CACHE --layer)"
        )
    extraction = classifier._predictor.extraction
    _require_float32(extraction.compute_dtype, "this classifier")
    network, transforms = extraction.network, extraction.transforms
    (layer,) = extraction.layers
    known = classifier.known.familiarity
    features_of = _features_of(network, (layer,), transforms)
    logits_of = logits_function(classifier.settings, classifier.parameters, classes=len(classifier.classes))
    distance_of = None if known is None else distance_function(known.sample)
    values, first = TASK_TYPES[classifier.task].values, _FIRST[classifier.task]

    def function(images: Any) -> dict[str, jax.Array]:
        with jax.default_matmul_precision("highest"):
            features = features_of(images)[str(layer)]
            raw = logits_of(features.reshape(features.shape[0], -1))
            cooled = classifier.calibration.cooled(raw)
            found = {first: values(classifier.loss, cooled, len(classifier.classes), jnp)}
            found |= {} if first == VALUES else {LOGITS: raw}
            found[FEATURES] = features
            return found if distance_of is None else found | {DISTANCE: distance_of(features)}

    def reference(images: np.ndarray) -> Outputs:
        features = _run(network, (layer,), transforms, images)[str(layer)]
        found = {first: classifier.values(features)}
        found |= {} if first == VALUES else {LOGITS: classifier.logits(features)}
        found[FEATURES] = features
        return found if known is None else found | {DISTANCE: known.distance(features)}

    return Program(
        words=_words(classifier, layer, network),
        function=function,
        reference=reference,
        outputs=_sentences(classifier, layer),
        network=network,
        transforms=transforms,
        layers=(layer,),
        task=TASK_NAMES[classifier.task],
        classes=classifier.classes,
        fingerprint=classifier.fingerprint,
        below_probability=None if classifier.task == REGRESSION else classifier.calibration.threshold,
        beyond_distance=classifier.known.farthest(),
        notes=(_PLAIN_VIEW,) if classifier.tta else (),
        undecided=_undecided(classifier),
    )


_FIRST = {MULTICLASS: PROBABILITIES, MULTILABEL: PROBABILITIES, REGRESSION: VALUES}

_PLAIN_VIEW = (
    "this classifier averages over several views of a photo; the exported model is that of the plain view, whose "
    "probabilities may differ"
)


def of_backbone(
    network: LoadedBackbone, layers: Sequence[str] = (), *, transforms: Transforms | None = None
) -> Program:
    """Return the features of layers of a backbone; of the layer ``logits`` alone, the probabilities of its own classes.

    Parameters
    ----------
    network
        The backbone.
    layers
        Such as ``"block_13_expand_relu:avg"``; by default ``"pool"``.
    transforms
        Its preprocessing; by default the one that belongs to its weights.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    """
    transforms = transforms or network.transforms
    asked = tuple(network.layers(tuple(layers) or (DEFAULT_LAYER,), transforms))
    own = [str(layer) for layer in asked] == [OWN_CLASSES]
    names = {str(layer): FEATURES if len(asked) == 1 else str(layer) for layer in asked}
    features_of = _features_of(network, asked, transforms)

    def function(images: Any) -> dict[str, jax.Array]:
        found = features_of(images)
        if own:
            return {PROBABILITIES: softmax(found[OWN_CLASSES], jnp), LOGITS: found[OWN_CLASSES]}
        return {name: found[layer] for layer, name in names.items()}

    def reference(images: np.ndarray) -> Outputs:
        found = _run(network, asked, transforms, images)
        if own:
            return {PROBABILITIES: softmax(found[OWN_CLASSES]), LOGITS: found[OWN_CLASSES]}
        return {name: found[layer] for layer, name in names.items()}

    classes = class_names(network.pretrained.config.classes) if own else ()
    sentences = {name: f"The features of the layer {layer}." for layer, name in names.items()}
    if own:
        sentences = {
            PROBABILITIES: "The probability of each class; they sum to 1.",
            LOGITS: "The numbers whose softmax the probabilities are.",
        }
    told = f"its own {len(classes)} classes" if own else ", ".join(names)
    return Program(
        words=f"{network.name}, {told}",
        function=function,
        reference=reference,
        outputs=sentences,
        network=network,
        transforms=transforms,
        layers=asked,
        task=TASK_NAMES[MULTICLASS] if own else "features",
        classes=classes,
        fingerprint=network.recipe(transforms=transforms).fingerprint(str(asked[0])),
    )


def layers_of_classifier(classifier: "Classifier", layers: Sequence[str]) -> Program:
    """Return features alone: layers of a classifier's backbone, for photos that are prepared as its are."""
    extraction = classifier._predictor.extraction
    return of_backbone(extraction.network, layers, transforms=extraction.transforms)


def _require_float32(dtype: str, what: str) -> None:
    if dtype != "float32":
        raise ExportError(
            f"{what} has learnt from features that were computed in {dtype}, and other runtimes compute in float32, "
            "which gives other numbers; extract again without --compute-dtype, and train the head on that"
        )


def _features_of(
    network: LoadedBackbone, layers: tuple[Layer, ...], transforms: Transforms
) -> Callable[[Any], Any]:
    traced = network.uncompiled(layers, transforms=transforms)
    return lambda images: traced(network.state, images)


def _run(
    network: LoadedBackbone, layers: tuple[Layer, ...], transforms: Transforms, images: np.ndarray
) -> dict[str, np.ndarray]:
    """Return features of pictures by the compiled network, which takes `BATCH` at a time."""
    run = network.function(layers, transforms=transforms)
    parts: list[dict[str, np.ndarray]] = []
    for first in range(0, len(images), BATCH):
        part = images[first : first + BATCH]
        filled = np.concatenate([part, np.repeat(part[-1:], BATCH - len(part), axis=0)])
        found = run(network.state, filled)
        parts.append({name: np.asarray(value)[: len(part)] for name, value in found.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _undecided(classifier: "Classifier") -> Callable[[np.ndarray], np.ndarray] | None:
    if classifier.settings.head != "knn":
        return None
    parameters, metric = classifier.parameters, classifier.settings.metric
    many = int(np.ravel(parameters["neighbours"])[0])

    def undecided(features: np.ndarray) -> np.ndarray:
        flat = features.reshape(len(features), -1)
        found = nearest_rows(
            parameters["features"], flat, most=many + 1, metric=metric, weight=parameters["weight"]
        )
        near = np.concatenate([closeness for _, closeness, _ in found])
        # Who votes is decided between the last of the k and the next. Where all votes count the same, a tie between
        # classes is decided by the order, too.
        scale = 1.0 if metric == "cosine" else np.abs(near[:, 0]).max()
        with np.errstate(invalid="ignore"):  # no row beside no row
            close = -np.diff(near, axis=1) < ROUNDING * scale
        return np.any(close[:, -1:] if classifier.settings.temperature else close, axis=1)

    return undecided


def _words(classifier: "Classifier", layer: Layer, network: LoadedBackbone) -> str:
    what = {MULTICLASS: "classes", MULTILABEL: "labels", REGRESSION: "numbers"}[classifier.task]
    return f"{classifier.head} head of {len(classifier.classes)} {what} on {layer} of {network.name}"


def _sentences(classifier: "Classifier", layer: Layer) -> dict[str, str]:
    first = {
        MULTICLASS: (PROBABILITIES, "The probability of each class, calibrated; they sum to 1."),
        MULTILABEL: (PROBABILITIES, "The probability of each label, by itself: above 0.5 the answer is yes."),
        REGRESSION: (VALUES, "The predicted numbers."),
    }[classifier.task]
    found = dict([first])
    if classifier.task != REGRESSION:
        single = classifier.loss == "sigmoid" and classifier.task == MULTICLASS
        kernel = classifier.parameters.get("kernel")
        one = single and kernel is not None and kernel.shape[-1] == 1
        columns = "one column, of the second class" if one else "a column for each of `classes`"
        found[LOGITS] = f"The head's raw outputs, before the temperature: {columns}."
    found[FEATURES] = f"The features that the head reads: the layer {layer}."
    if classifier.known.familiarity is not None:
        found[DISTANCE] = (
            "How far the photo lies from the training photos: one minus the cosine to the third nearest of a sample."
        )
    return found
