"""Say of images what a classifier knows of them: how far they lie from what was seen, and which classes they may be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.tasks import MULTICLASS, TASK_NAMES
from featcache.errors import UsageError

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier
    from featcache.classifier.prediction import Prediction
    from featcache.classifier.scored.training_neighbours import TrainingNeighbours


@dataclass(frozen=True)
class Judge:
    """Judges features as a classifier was trained to; see `judge_of`.

    Parameters
    ----------
    classifier
        The classifier.
    tta
        Whether features are those of all views of each image.
    farthest
        The distance above which an image is unlike anything seen; ``None`` if none is.
    set_level
        Share of photos whose set is to hold the right class; ``None`` for no sets.
    near
        The photos that it was trained on; ``None`` if none are to be named.
    neighbours
        How many of them to name for each image.
    """

    classifier: "Classifier"
    tta: bool
    farthest: float | None
    set_level: float | None
    near: "TrainingNeighbours | None" = None
    neighbours: int = 0

    def __call__(
        self, features: np.ndarray, values: np.ndarray, hashes: Callable[[], Sequence[bytes | None]] = tuple
    ) -> list[dict[str, Any]]:
        """Return what is known of images, under the names of `featcache.classifier.prediction.Prediction`.

        Parameters
        ----------
        features
            ``[N, …]``, or ``[N, V, …]`` with `tta`.
        values
            The classifier's values of them ``[N, C]``, by which sets are ordered.
        hashes
            Returns the sha256 of each image's bytes, where it is known: a photo is no neighbour of itself. Called only
            where training photos are named.
        """
        distances, unlike = self.distances(features)
        found: list[dict[str, Any]] = [
            {"unlike": bool(far), "distance": None if distances is None else float(distances[row])}
            for row, far in enumerate(unlike)
        ]
        if self.set_level is not None:
            probabilities = self.classifier.before_refit().values(features, tta=self.tta)
            sets = self.classifier.known.sets(probabilities, self.set_level)
            order = np.argsort(-values, axis=1, kind="stable")
            for each, own, places in zip(found, sets, order, strict=True):
                each["set"] = tuple(self.classifier.classes[place] for place in places if own[place])
        if self.near is not None:
            nearest = self.near.nearest(self._plain(features), self.neighbours, hashes())
            for each, photos in zip(found, nearest, strict=True):
                each["neighbours"] = photos
        return found

    def distances(self, features: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Return how far images lie from what was seen, ``[N]``, ``None`` if not known; and which are unlike it."""
        known = self.classifier.known
        if known.familiarity is None:
            return None, np.zeros(len(features), bool)
        distance = known.familiarity.distance(self._plain(features))
        return distance, distance > (np.inf if self.farthest is None else self.farthest)

    def _plain(self, features: np.ndarray) -> np.ndarray:
        """Return features of the first view, the plain one, by which the distances of what was seen were measured."""
        return features[:, 0] if self.tta else features


def judge_of(
    classifier: "Classifier",
    *,
    tta: bool | None = None,
    known_share: float | None = None,
    set_level: float | None = None,
) -> Judge:
    """Return what judges a classifier's images.

    Parameters
    ----------
    classifier
        The classifier.
    tta
        Whether features are those of all views of each image; ``None`` for the setting of its training.
    known_share, set_level
        See `featcache.classifier.classifier.Classifier.predict`.

    Raises
    ------
    UsageError
        If a share was asked for that the classifier cannot promise, or sets of what is not classes.
    """
    averaged = classifier.tta if tta is None else tta
    farthest = classifier.known.farthest(known_share)
    if set_level is not None:
        if classifier.task != MULTICLASS:
            raise UsageError(
                f"sets hold the one right class, and this classifier's task is {TASK_NAMES[classifier.task]}; leave "
                "them out"
            )
        classifier.known.require_sets(set_level)
        if averaged != classifier.tta:
            raise UsageError(
                f"sets keep their promise for what this classifier was calibrated on, {_said(classifier.tta)}; they "
                f"were asked for with {_said(averaged)}"
            )
    return Judge(classifier, averaged, farthest, set_level)


def told(prediction: "Prediction", known: Mapping[str, Any]) -> "Prediction":
    """Return a prediction with what is known beside its values; one unlike anything seen is unknown."""
    return replace(prediction, unknown=prediction.unknown or known.get("unlike", False), **known)


def _said(tta: bool) -> str:
    return "the mean of several views" if tta else "the plain image"
