"""What a classifier knows beside its head: how far is unlike anything it has seen, and how sure right classes are.

Both are learnt after the head, from rows that had no part in what they judge.
"""

from dataclasses import dataclass

import numpy as np

from featcache.classifier.known.conformal import prediction_sets
from featcache.classifier.known.familiarity import KNOWN_SHARE, Familiarity
from featcache.classifier.known.thresholds import HeldOutScores, require_share, rows_needed
from featcache.core.argument_types import spelled
from featcache.core.display import percent
from featcache.errors import UsageError

EARLIER = "it was made before featcache learnt this; train it again"
NOT_ASKED = "it was not asked for"


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What is known of photos like those that were seen; the default is nothing.

    Parameters
    ----------
    familiarity
        How far photos lie from what was seen; ``None`` if that was not learnt.
    right
        How sure right classes were on held-out rows, see `featcache.classifier.known.conformal`; ``None`` without.
    no_familiarity, no_sets
        Reason why either is missing.
    """

    familiarity: Familiarity | None = None
    right: HeldOutScores | None = None
    no_familiarity: str = NOT_ASKED
    no_sets: str = NOT_ASKED

    def farthest(self, known_share: float | None = None) -> float | None:
        """Return the distance above which a photo is unlike anything seen; ``None`` if none is.

        Parameters
        ----------
        known_share
            Share of photos like those seen that are to be within; by default `KNOWN_SHARE`, where there are enough
            held-out rows for it.

        Raises
        ------
        UsageError
            If this share was asked for and cannot be promised.
        """
        share = KNOWN_SHARE if known_share is None else known_share
        require_share("known_share", share)
        if self.familiarity is None:
            if known_share is None:
                return None
            raise UsageError(
                f"{spelled('known_share')} {share}: how far photos lie from what this classifier has seen was not "
                f"learnt: {self.no_familiarity}"
            )
        bound = self.familiarity.distances.bound(share)
        if bound is None and known_share is not None:
            raise too_few("known_share", share, self.familiarity.distances.count)
        return bound

    def sets(self, probabilities: np.ndarray, level: float) -> np.ndarray:
        """Return the smallest sets of classes that hold the right one in a share `level` of photos, bool ``[N, C]``.

        Raises
        ------
        UsageError
            If there are none, or too few rows were held out for this level.
        """
        found = prediction_sets(probabilities, self.require_sets(level), level)
        assert found is not None  # as `require_sets` has looked at the rows
        return found

    def require_sets(self, level: float) -> HeldOutScores:
        """Return the scores that sets are made with.

        Raises
        ------
        UsageError
            As `sets`.
        """
        require_share("set_level", level)
        if self.right is None:
            raise UsageError(f"this classifier gives no sets of classes: {self.no_sets}")
        if self.right.bound(level) is None:
            raise too_few("set_level", level, self.right.count)
        return self.right

    def why_never_unlike(self) -> str | None:
        """Return why no photo is called unlike anything seen by default; ``None`` if photos may be."""
        if self.familiarity is None:
            return self.no_familiarity
        count = self.familiarity.distances.count
        if self.familiarity.distances.bound(KNOWN_SHARE) is not None:
            return None
        return (
            f"{count} held-out photos are too few to promise that {percent(KNOWN_SHARE)} of photos like them are "
            f"recognised; {rows_needed(KNOWN_SHARE)} would do"
        )


def too_few(name: str, share: float, count: int) -> UsageError:
    """Return the error for a share that so many held-out rows cannot promise; `name` is that of the argument."""
    # Rounded down to four digits, so that what is named can be asked for.
    most = int(10_000 * count / (count + 1)) / 10_000
    return UsageError(
        f"{spelled(name)} {share:g}: that needs {rows_needed(share)} held-out photos, and this classifier has "
        f"{count}; ask for at most {most:g}, or train it with more"
    )
