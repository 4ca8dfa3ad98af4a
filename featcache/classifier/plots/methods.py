"""The plots of a classifier."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from featcache.classifier.plots.figures import (
    chosen_rows,
    confusion_figure,
    predictions_figure,
    reliability_figure,
)
from featcache.classifier.plots.pictures import pictures_of
from featcache.classifier.scored.rows import Photos
from featcache.core.argument_types import checked_types, require_seed
from featcache.core.tasks import MULTICLASS, TASK_NAMES
from featcache.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from featcache.classifier.evaluation import ClassifierEvaluation


class ClassifierPlots:
    """The plots of a classifier; see `featcache.classifier.classifier.Classifier`."""

    task: str

    evaluate: Callable[..., Any]

    @checked_types()
    def plot_confusion(
        self, cache: Photos = None, split: str | None = None, *, tta: bool | None = None
    ) -> "Figure":
        """Return the confusion matrix as a figure; of more than 30 classes, the most frequent confusions.

        Parameters
        ----------
        cache, split, tta
            What is scored, as of `evaluate`: by default the test rows of its training.

        Raises
        ------
        UsageError
            If the task is not multiclass.
        MissingExtraError
            If matplotlib is not installed; the extra ``report`` brings it.
        """
        return confusion_figure(self._scored(cache, split, tta))

    @checked_types()
    def plot_reliability(
        self, cache: Photos = None, split: str | None = None, *, tta: bool | None = None, bins: int = 15
    ) -> "Figure":
        """Return a reliability diagram: how often it is right where it is how certain.

        Parameters
        ----------
        cache, split, tta
            What is scored, as of `evaluate`.
        bins
            Bins of equal width between 0 and 1.

        Raises
        ------
        UsageError, MissingExtraError
            As of `plot_confusion`.
        """
        if bins < 1:
            raise UsageError(f"bins={bins}: expected a whole number of at least 1, such as 15")
        return reliability_figure(self._scored(cache, split, tta), bins)

    @checked_types()
    def plot_predictions(
        self,
        cache: Photos = None,
        split: str | None = None,
        *,
        tta: bool | None = None,
        which: Literal["random", "mistakes"] = "random",
        count: int = 12,
        seed: int = 0,
    ) -> "Figure":
        """Return a grid of photos with what they are taken for: blue and ✓ what is right, red and ✗ what is wrong.

        Parameters
        ----------
        cache, split, tta
            What is scored, as of `evaluate`. The photos are read from the dataset.
        which
            ``"random"`` photos, or the ``"mistakes"`` that it is surest of.
        count
            How many.
        seed
            Of the random choice.

        Raises
        ------
        UsageError
            If the task is not multiclass, `which` is neither, or the dataset has moved; then give it as `cache`.
        MissingExtraError
            As of `plot_confusion`.
        """
        if which not in ("random", "mistakes") or count < 1:
            raise UsageError(
                f"which={which!r}, count={count}: expected 'random' or 'mistakes', and a count of at least 1"
            )
        require_seed(seed)
        scored = self._scored(cache, split, tta)
        rows = chosen_rows(scored, which, count, seed)
        names = [scored.images.files[row] for row in rows.tolist()] if scored.images else []
        return predictions_figure(scored, rows, pictures_of(self, cache, names))

    def _scored(self, cache: Photos, split: str | None, tta: bool | None) -> "ClassifierEvaluation":
        from featcache.pages.notebook import new_figure

        if self.task != MULTICLASS:
            raise UsageError(
                f"this plot is of classes, and this classifier's task is {TASK_NAMES[self.task]}; evaluate() gives its "
                "scores"
            )
        new_figure(1, 1)  # refused before anything is computed
        return self.evaluate(cache, split, tta=tta)
