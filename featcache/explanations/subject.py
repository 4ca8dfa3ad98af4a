"""What is explained: a network, the layer that a head reads, and the head."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from featcache.backbones.layer import Layer
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.nn.basic import Dense
from featcache.core.tasks import MULTICLASS
from featcache.heads.model import HeadArchitecture, as_arrays, form_of, head_kind
from featcache.heads.probabilities import softmax
from featcache.heads.settings import FITTED
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.colour_statistics import image_statistics
from featcache.images.transforms import Transforms

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier
    from featcache.classifier.prediction import Predictor


@dataclass(frozen=True)
class HeadFunction:
    """A head that can be differentiated.

    Parameters
    ----------
    form
        Its architecture; the last layer is ``kernel``, ``bias``.
    parameters
        Its arrays.
    single
        Whether its one output is the second class's, and minus that the first's.
    """

    form: HeadArchitecture
    parameters: Mapping[str, np.ndarray]
    single: bool = False

    @property
    def linear(self) -> bool:
        """Whether its outputs are a linear function of the features, or of the features at length 1."""
        return not self.form.hidden

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Return kernel float32 ``[D, C]`` and bias ``[C]`` of a linear head, a column for each class."""
        kernel, bias = (np.asarray(self.parameters[name], np.float32) for name in ("kernel", "bias"))
        if self.single:
            return np.concatenate([-kernel, kernel], axis=1), np.concatenate([-bias, bias])
        return kernel, bias


def head_outputs(form: HeadArchitecture, single: bool, parameters: Any, features: jax.Array) -> jax.Array:
    """Return a head's raw outputs ``[B, C]`` for features ``[B, …]``, one for each class."""
    flat = features.reshape(features.shape[0], -1)
    raw = jax.vmap(partial(head_kind(form.head).logits, form, parameters))(flat)
    return jnp.concatenate([-raw, raw], axis=1) if single else raw


@dataclass(frozen=True)
class Subject:
    """A network with a head, ready to be explained.

    Parameters
    ----------
    network, transforms, compute_dtype
        The backbone, and how it is run.
    layer
        What the head reads; ``None`` for the colour statistics of the image, which no network computes.
    head
        The head; ``None`` for one without a gradient, such as nearest neighbours.
    raw, values
        Features float32 ``[N, …]`` to raw outputs, and to probabilities or numbers, ``[N, C]`` each.
    classes, task
        Of the outputs.
    classifier
        Where it comes from one.
    """

    network: LoadedBackbone
    transforms: Transforms
    compute_dtype: str
    layer: Layer | None
    head: HeadFunction | None
    raw: Callable[[np.ndarray], np.ndarray]
    values: Callable[[np.ndarray], np.ndarray]
    classes: tuple[str, ...]
    task: str = MULTICLASS
    classifier: "Classifier | None" = None

    def features(self, images: np.ndarray, *also: Layer) -> dict[str, np.ndarray]:
        """Return float32 features of pictures uint8 ``[B, H, W, 3]``: of the head's layer and `also`, by name."""
        if self.layer is None:
            return {STATISTICS: image_statistics(images)}
        layers = tuple(dict.fromkeys([self.layer, *also]))
        run = self.network.function(layers, transforms=self.transforms, compute_dtype=self.compute_dtype)
        return {name: np.asarray(value) for name, value in run(self.network.state, images).items()}

    @property
    def layer_name(self) -> str:
        """Name of the head's layer."""
        return STATISTICS if self.layer is None else str(self.layer)


def of_classifier(classifier: "Classifier") -> Subject:
    """Return what a classifier is: its backbone is loaded and verified.

    Raises
    ------
    WeightsError
        If the weights cannot be loaded.
    IdentityError
        If the loaded backbone is not the one that the head was trained on.
    """
    predictor = classifier._predictor
    single = classifier.task == MULTICLASS and len(classifier.classes) == 2 and _outputs(classifier) == 1
    statistics = classifier.layer == STATISTICS
    return Subject(
        network=predictor.network,
        transforms=predictor.transforms,
        compute_dtype=predictor.extraction.compute_dtype,
        layer=None if statistics else predictor.network.layers([classifier.layer], predictor.transforms)[0],
        head=_head_of(classifier, single),
        raw=lambda features: _by_class(classifier.logits(features), single),
        values=classifier.values,
        classes=classifier.classes,
        task=classifier.task,
        classifier=classifier,
    )


def _outputs(classifier: "Classifier") -> int:
    kernel = classifier.parameters.get("kernel")
    return len(classifier.classes) if kernel is None else int(kernel.shape[1])


def _by_class(raw: np.ndarray, single: bool) -> np.ndarray:
    return np.concatenate([-raw, raw], axis=1) if single else raw


def _head_of(classifier: "Classifier", single: bool) -> HeadFunction | None:
    settings = classifier.settings
    if settings.head not in (*FITTED, "prototype"):
        return None
    return HeadFunction(form_of(settings, classifier.parameters), classifier.parameters, single)


def of_backbone(predictor: "Predictor") -> Subject:
    """Return what a backbone with its own classes is.

    Parameters
    ----------
    predictor
        Of `featcache.classifier.prediction.backbone_predictor`.
    """
    network, transforms = predictor.network, predictor.transforms
    before, kernel, bias = _last_dense(network)
    form = HeadArchitecture("linear", kernel.shape[1])
    head = HeadFunction(form, {"kernel": kernel, "bias": bias})

    def raw(features: np.ndarray) -> np.ndarray:
        return np.asarray(features.reshape(len(features), -1) @ kernel + bias, np.float32)

    return Subject(
        network=network,
        transforms=transforms,
        compute_dtype=predictor.extraction.compute_dtype,
        layer=network.layers([before], transforms)[0],
        head=head,
        raw=raw,
        values=lambda features: softmax(raw(features)),
        classes=predictor.classes,
    )


def _last_dense(network: LoadedBackbone) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the stage before the network's own classifier, and the kernel and bias of that.

    A classifier that is no single dense layer is read as it comes out, by a head that changes nothing.
    """
    chain = network.network
    last = chain.stages[chain.order[-1]]
    if chain.order[-1] == "logits" and isinstance(last, Dense) and last.activation is None:
        kernel = np.asarray(network.tensors["logits.kernel"], np.float32)
        bias = network.tensors.get("logits.bias", np.zeros(kernel.shape[1], np.float32))
        return chain.order[-2], kernel, np.asarray(bias, np.float32)
    classes = network.pretrained.config.classes
    return "logits", np.eye(classes, dtype=np.float32), np.zeros(classes, np.float32)


def head_arrays(subject: Subject) -> dict[str, jax.Array]:
    """Return the parameters of the subject's head on the device."""
    assert subject.head is not None
    return as_arrays(subject.head.parameters)
