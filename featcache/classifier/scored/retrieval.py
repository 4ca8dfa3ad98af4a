"""The features that a classifier reads, scored as a search: how well the nearest photos are of the right class."""

from typing import TYPE_CHECKING

import numpy as np

from featcache.classifier.scored.rows import ScoredRows
from featcache.core.argument_types import spelled
from featcache.core.tasks import MULTICLASS, REGRESSION
from featcache.errors import DataError, UsageError
from featcache.heads.streamed_nearest import one_vector
from featcache.metrics.retrieval import RetrievalScores, retrieval_scores

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier


def require_searchable(classifier: "Classifier") -> None:
    """Refuse a classifier of numbers, before anything is computed: no photo is of the same number as another.

    Raises
    ------
    UsageError
        If its task is regression.
    """
    if classifier.task == REGRESSION:
        raise UsageError(
            f"{spelled('retrieval')} asks whether the nearest photos are of the same class or share a label, and this "
            "classifier's task is regression; leave it out"
        )


def retrieval_of(classifier: "Classifier", scored: ScoredRows) -> RetrievalScores:
    """Return the scores of the scored rows' features, of their plain views.

    Parameters
    ----------
    classifier
        Whose layer it is.
    scored
        The rows, with their labels.

    Raises
    ------
    DataError
        If no two of them are of one class.
    """
    features = one_vector(scored.cache.features(scored.rows, classifier.layer))
    _, same = np.unique(scored.cache.sha256[scored.rows], axis=0, return_inverse=True)
    known = scored.labels if classifier.task == MULTICLASS else scored.labels > 0.5
    found = retrieval_scores(features, known, same=same.reshape(-1))
    if found is None:
        raise DataError(
            f"no two of the {len(features)} scored photos are of one class, so {spelled('retrieval')} has nothing to "
            "find; score more of them, or leave it out"
        )
    return found
