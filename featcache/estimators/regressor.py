"""A head as a scikit-learn regressor."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from featcache.errors import UsageError, did_you_mean
from featcache.estimators.base import HeadEstimator, check_rows, row_weights
from featcache.heads.settings import DESCENT
from featcache.heads.target_scaling import TargetScale

HEADS = ("ridge", *DESCENT)


@dataclass(kw_only=True, eq=False, repr=False)
class HeadRegressor(RegressorMixin, HeadEstimator):
    """A regression head on feature vectors, trained with squared error.

    Targets are scaled to mean 0 and deviation 1 for training, so that a learning rate means the same whatever their
    unit. That does not change the ridge solution.

    Parameters
    ----------
    head
        ``"ridge"`` (closed form, the default), or ``"linear"`` or ``"mlp"`` by gradient descent.
    l2, learning_rate, epochs and all others
        The settings of `featcache.heads.settings.Settings`, with its defaults. Gradient descent needs more steps
        than for classification: on a few hundred rows, try a learning rate of 1e-2.
    val_fraction
        As in `HeadClassifier`, but not stratified.

    Attributes
    ----------
    target_mean_, target_deviation_
        Of each target, float64 ``[T]``; `val_loss_` and `history_` are in units of the deviation.
    n_features_in_, feature_names_in_
        Number and names of the features it was fitted to.
    parameters_, settings_, n_iter_, best_epoch_, val_loss_, val_score_, history_
        See `featcache.estimators.base.HeadEstimator`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> round(HeadRegressor(l2=1.0).fit(X, y).score(X, y), 3)
    0.517
    """

    head: str = "ridge"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the head.

        Parameters
        ----------
        X
            float ``[N, D]``.
        y
            float ``[N]``, or ``[N, T]`` for T targets at once.
        sample_weight
            float ``[N]``: weight of each row; 0 ignores it.

        Raises
        ------
        UsageError
            If a parameter has an invalid value.
        DataError
            If training diverged at once.
        """
        if self.head not in HEADS:
            raise UsageError(f"no head {self.head!r} predicts numbers; {did_you_mean(self.head, HEADS)}")
        settings = self._settings(loss="squared")
        x, y = check_rows(self, X, y, y_numeric=True)
        weight = row_weights(sample_weight, x)
        self._one_number = y.ndim == 1
        targets = np.asarray(y, np.float64).reshape(len(x), -1)
        scale = TargetScale.of(targets, weight)
        self.target_mean_, self.target_deviation_ = scale.mean, scale.deviation
        self._fit_head(settings, x, scale.scale(targets), weight)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return predictions float64 ``[N]``, or ``[N, T]`` as `y` was."""
        outputs = self._outputs(X)  # first, because it also raises if the head is not fitted
        found = TargetScale(self.target_mean_, self.target_deviation_).unscale(outputs)
        return found[:, 0] if self._one_number else found


HeadRegressor.__module__ = "featcache"  # pickles name where it is imported from, not where it is kept
