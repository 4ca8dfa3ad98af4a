"""The base class of the head estimators: parameters to settings, fitting, and outputs of a fitted head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import (
    _check_sample_weight,  # pyright: ignore[reportPrivateUsage] - third-party estimators have no other
    check_is_fitted,
    validate_data,
)

from featcache.errors import DataError, UsageError
from featcache.heads.settings import DESCENT, SETTINGS, Settings
from featcache.splits.stratified import draw_stratified

ENOUGH_HELD_OUT = 50
"""Fewest rows that the default share holds out: on fewer, the best epoch is chance, so none are held out."""

QUERIES = 256
"""Rows per call of the compiled program: other numbers of rows compile nothing anew."""

COMPILED_ROWS: Mapping[str, int] = {"logistic": 128}
"""Training rows are filled up to a multiple of this; for ``linear`` and ``mlp`` to one of the batch size."""


@dataclass(kw_only=True, eq=False, repr=False)
class HeadEstimator(BaseEstimator):
    """The base of `HeadClassifier` and `HeadRegressor`: a head on features, with the parameters they share.

    Attributes
    ----------
    parameters_
        The head's arrays, which take raw features.
    settings_
        How it was trained, as `featcache.heads.settings.Settings`.
    n_iter_
        Epochs of gradient descent, iterations of L-BFGS, or 1.
    best_epoch_
        The epoch whose parameters were kept.
    val_loss_, val_score_
        Loss and score on the held-out rows (see `featcache.solvers.fit.Fit`); NaN without any.
    history_
        Loss and score by epoch of gradient descent.
    """

    head: str
    hidden: tuple[int, ...] = (256,)
    activation: str = "relu"
    dropout: float = 0.0
    batch_norm: bool = False
    optimizer: str = "adam"
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "constant"
    end: float = 0.0
    power: float = 1.0
    warmup: float = 0.0
    clip: float | None = None
    mixup: float = 0.0
    noise: float = 0.0
    batch_size: int = 128
    epochs: int = 100
    monitor: str = "loss"
    patience: int = 10
    min_delta: float = 0.0
    val_fraction: float | None = None
    scaling: str = "standard"
    seed: int = 0
    l2: float = 1.0

    def _settings(self, **fixed: Any) -> Settings:
        """Return the parameters as settings; raises `UsageError` for a value that cannot work."""
        own = self.get_params(deep=False) | fixed
        share = Settings.val_fraction if own["val_fraction"] is None else own["val_fraction"]
        told = {name: value for name, value in own.items() if name in SETTINGS}
        return Settings.from_arguments(
            told | {"val_fraction": share, "hidden": np.atleast_1d(own["hidden"]).tolist()}
        )

    def _fit_head(
        self,
        settings: Settings,
        x: np.ndarray,
        labels: np.ndarray,
        weight: np.ndarray,
        names: Sequence[str] = (),
    ) -> None:
        """Fit the head to ``x [N, D]`` and labels ``[N]`` or ``[N, C]``; rows of weight 0 are ignored."""
        from featcache.solvers.fit import fit_heads

        held = self._held_out(settings, x, labels) & (weight > 0)
        train, val = (
            _part(settings, x, labels, weight, np.flatnonzero(chosen))
            for chosen in (~held & (weight > 0), held)
        )
        classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        (fit,) = fit_heads([settings], train, val, classes=classes, names=names)
        if not fit.best_epoch and settings.head in DESCENT:
            raise DataError(
                f"training diverged at once (learning_rate={settings.learning_rate:g}); try a tenth of it"
            )
        self.settings_ = settings
        self.parameters_ = {name: np.array(value) for name, value in fit.parameters.items()}
        self.n_iter_, self.best_epoch_ = fit.epochs_run, fit.best_epoch
        self.val_loss_, self.val_score_ = fit.val_loss, fit.val_accuracy
        self.history_ = {name: list(values) for name, values in fit.history.items()}
        self._outputs_count = classes

    def _held_out(self, settings: Settings, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return bool ``[N]``: validation rows, which decide when to stop.

        Only gradient descent stops early; other heads learn from every row. Rows are drawn by their content, as
        a cache's are (see `featcache.splits.stratified.draw_stratified`), so that equal rows are never split.
        """
        asked = self.val_fraction is not None or len(x) * settings.val_fraction >= ENOUGH_HELD_OUT
        if settings.head not in DESCENT or not asked:
            return np.zeros(len(x), bool)
        strata = labels if labels.ndim == 1 else np.zeros(len(x), int)
        keys = [row.tobytes() for row in x]
        return draw_stratified(keys, strata, fraction=settings.val_fraction, seed=settings.seed)

    def _outputs(self, X: Any) -> np.ndarray:
        """Return raw outputs float32 ``[N, C]``."""
        check_is_fitted(self)
        x = np.asarray(validate_data(self, X, dtype=np.float32, reset=False))
        from featcache.heads.inference import outputs

        single = {name: value[None] for name, value in self.parameters_.items()}
        found = []
        for start in range(0, len(x), QUERIES):
            block = x[start : start + QUERIES]
            # The last block is filled up: with one shape, a row's outputs do not depend on how many others there are.
            full = np.concatenate([block, np.repeat(block[-1:], QUERIES - len(block), axis=0)])
            raw = outputs(self.settings_, single, full, classes=self._outputs_count)[0]
            found.append(raw[: len(block)])
        return np.concatenate(found)


def check_rows(
    estimator: HeadEstimator, X: Any, y: Any, *, y_numeric: bool = False
) -> tuple[np.ndarray, Any]:
    """Return ``X`` as float32 ``[N, D]`` and `y`, validated by scikit-learn, which sets ``n_features_in_``."""
    x, y = validate_data(estimator, X, y, dtype=np.float32, multi_output=True, y_numeric=y_numeric)
    return np.asarray(x), y


def row_weights(sample_weight: Any, x: np.ndarray) -> np.ndarray:
    """Return how much each row counts, float64 ``[N]``.

    Raises
    ------
    UsageError
        If a weight is negative.
    """
    weight = _check_sample_weight(sample_weight, x, dtype=np.float64)
    if weight.min() < 0:
        raise UsageError(f"sample_weight holds {weight.min():g}: expected 0 (absent) or above")
    return weight


def _part(settings: Settings, x: np.ndarray, labels: np.ndarray, weight: np.ndarray, rows: np.ndarray) -> Any:
    """Return some rows, filled up with rows of weight 0.

    Programs are compiled for a number of rows. Folds differ by a row or two: filled up to a multiple they share a
    program, and descent takes the same number of steps.
    """
    from featcache.heads.feature_table import ArrayTable, FeatureRows

    size = settings.batch_size if settings.head in DESCENT else COMPILED_ROWS.get(settings.head, 1)
    absent = -len(rows) % size if len(rows) else 0
    # Filled with copies, not zeros: zeros far from a large mean would cost precision.
    taken = np.concatenate([rows, np.repeat(rows[:1], absent)])
    counts = np.concatenate([weight[rows], np.zeros(absent)]).astype(np.float32)
    return FeatureRows(ArrayTable(x[taken]), labels[taken], counts[None])
