"""A head as a scikit-learn classifier."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from featcache.errors import DataError, UsageError, did_you_mean
from featcache.estimators.base import HeadEstimator, check_rows, row_weights
from featcache.heads.probabilities import class_probabilities, sigmoid
from featcache.heads.settings import DESCENT, loss_of
from featcache.heads.weights_by_class import named_weights


@dataclass(kw_only=True, eq=False, repr=False)
class HeadClassifier(ClassifierMixin, HeadEstimator):
    """A head that classifies feature vectors.

    Parameters
    ----------
    head, loss, learning_rate, epochs and all others
        The settings of `featcache.heads.settings.Settings`, with its defaults. With ``loss="sigmoid"``, ``"linear"``
        and ``"mlp"`` also take multilabel targets: ``y [N, C]`` of 0 and 1.
    class_weights
        ``"none"``, ``"balanced"``, or a weight for each class, ``{"cat": 2, "dog": 1}``: keys are classes of `y`, as of
        scikit-learn's ``class_weight``.
    val_fraction
        Share of the rows held out, stratified, to stop gradient descent early; 0 for none. ``None``: 0.2 where
        that makes at least 50 rows, otherwise none. Only ``"linear"`` and ``"mlp"`` hold out rows.

    Attributes
    ----------
    classes_
        Sorted classes ``[C]``; for multilabel targets the column numbers.
    n_features_in_, feature_names_in_
        Number and names of the features it was fitted to.
    parameters_, settings_, n_iter_, best_epoch_, val_loss_, val_score_, history_
        See `featcache.estimators.base.HeadEstimator`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> float(HeadClassifier(head="logistic").fit(X, y).score(X, y))
    0.9733333333333334
    """

    head: str = "linear"
    loss: str = "softmax"
    label_smoothing: float = 0.0
    class_weights: str | Mapping[Any, float] = "none"
    c: float = 1.0
    neighbours: int = 20
    temperature: float | None = None
    metric: str = "cosine"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self._supports_multilabel
        return tags

    @property
    def _supports_multilabel(self) -> bool:
        """Whether head and loss can learn multilabel targets."""
        return self.head in DESCENT and self.loss == "sigmoid"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the head.

        Parameters
        ----------
        X
            float ``[N, D]``.
        y
            Classes ``[N]`` (text, integers or booleans), or multilabel targets ``[N, C]`` of 0 and 1.
        sample_weight
            float ``[N]``: weight of each row; 0 ignores it.

        Raises
        ------
        UsageError
            If a parameter has an invalid value, or the head cannot learn such a `y`.
        DataError
            If fewer than two classes have rows, or training diverged at once.
        """
        by_class = isinstance(self.class_weights, Mapping)  # which are read once the classes are known
        settings = self._settings(**({"class_weights": "none"} if by_class else {}))
        x, y = check_rows(self, X, y)
        check_classification_targets(y)
        weight = row_weights(sample_weight, x)
        self.multilabel_ = type_of_target(y) == "multilabel-indicator"
        if self.multilabel_:
            labels = self._multilabel_targets(y)
        else:
            self.classes_, numbers = np.unique(column_or_1d(y, warn=True), return_inverse=True)
            labels = numbers.astype(np.int32)
            self._require_two(labels[weight > 0])
        names = list(map(str, self.classes_.tolist()))
        settings = replace(settings, class_weights=named_weights(self._weights_by_name(), names))
        self._fit_head(settings, x, labels, weight, names)
        return self

    def _weights_by_name(self) -> str | dict[str, float]:
        """Return weights by what the classes are called: keys are classes, as in scikit-learn, not their numbers."""
        given, classes = self.class_weights, self.classes_.tolist()
        if isinstance(given, str):
            return given
        if unknown := [key for key in given if key not in classes]:
            raise UsageError(
                f"class_weights: no class {unknown[0]!r}; {did_you_mean(str(unknown[0]), map(str, classes))}"
            )
        return {str(classes[classes.index(key)]): weight for key, weight in given.items()}

    def _multilabel_targets(self, y: Any) -> np.ndarray:
        if not self._supports_multilabel:
            raise UsageError(
                f"y [N, {y.shape[1]}] holds multilabel targets, and HeadClassifier(head={self.head!r}, "
                f"loss={self.loss!r}) learns one class per row; use head='linear' or 'mlp' with loss='sigmoid'"
            )
        self.classes_ = np.arange(y.shape[1])
        return np.asarray(y.toarray() if issparse(y) else y, np.float32)

    def _require_two(self, labels: np.ndarray) -> None:
        present = self.classes_[np.unique(labels)]
        if len(present) < 2:
            raise DataError(
                f"the rows of weight above 0 have {'one class' if len(present) else 'no class'} "
                f"({', '.join(map(str, present))}); a classifier needs two or more"
            )

    def decision_function(self, X: Any) -> np.ndarray:
        """Return log-odds of the second of two classes float32 ``[N]``, or scores of all ``[N, C]``.

        The largest score is the predicted class; for multilabel targets, labels with scores above 0 are predicted.
        """
        raw = self._outputs(X)
        if self.multilabel_ or len(self.classes_) > 2:
            return raw
        return raw[:, -1] if raw.shape[1] == 1 else raw[:, 1] - raw[:, 0]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities float32 ``[N, C]``; they sum to 1, except for multilabel targets."""
        raw = self._outputs(X)
        if self.multilabel_:
            return sigmoid(raw)
        return class_probabilities(loss_of(self.settings_), raw, len(self.classes_))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable classes ``[N]``, or multilabel predictions int ``[N, C]`` of 0 and 1."""
        scores = self.decision_function(X)
        if self.multilabel_:
            return (scores > 0).astype(int)
        return self.classes_[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)]


HeadClassifier.__module__ = "featcache"  # pickles name where it is imported from, not where it is kept
