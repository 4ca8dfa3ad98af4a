"""What is told while a sweep runs: heads that are done, the best so far, and where streamed features are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from featcache.solvers.epoch_progress import EpochProgress, OnEpoch
from featcache.sweeps.comparable import cache_names
from featcache.sweeps.data import SweepData
from featcache.sweeps.leaderboard import LeaderboardEntry, leaderboard_entries
from featcache.sweeps.results import Results
from featcache.sweeps.trials import Trial


@dataclass(frozen=True)
class SweepProgress:
    """Progress of a sweep.

    Parameters
    ----------
    done, total
        Heads fitted, and heads asked for.
    now
        The kind that was fitted last, or is being fitted where there is an `epoch`.
    leaderboard, caches
        The best so far, and the backbones' names.
    epoch
        Of features that do not fit in memory: where the heads are that train now. When `done` is `total`, these are the
        chosen ones on all rows.
    """

    done: int
    total: int
    now: str
    leaderboard: Sequence[LeaderboardEntry]
    caches: Sequence[str]
    epoch: EpochProgress | None = None


OnProgress = Callable[[SweepProgress], None]


class Reporter:
    """Tells `on_progress` where a sweep is.

    Parameters
    ----------
    names
        The sweep's trials, and the names of their results.
    data, results
        Its caches, and the lines so far.
    on_progress
        ``None`` to tell nobody.
    """

    def __init__(
        self,
        names: Mapping[Trial, str],
        data: Sequence[SweepData],
        results: Results,
        on_progress: OnProgress | None,
    ) -> None:
        self._names, self._results, self._on_progress = names, results, on_progress
        self._caches = cache_names([own.cache for own in data])

    def tell(self, head: str) -> None:
        """Tell how many heads are done, and which kind was fitted last."""
        if self._on_progress is not None:
            self._on_progress(self._now(head))

    def epochs_of(self, head: str) -> OnEpoch | None:
        """Return what is to be told of the epochs of a kind of head; no other head is done meanwhile."""
        if (on_progress := self._on_progress) is None:
            return None
        now = self._now(head)
        return lambda epoch: on_progress(replace(now, epoch=epoch))

    def _now(self, head: str) -> SweepProgress:
        rows = [
            (t.configuration, self._results.rows[n])
            for t, n in self._names.items()
            if n in self._results.rows
        ]
        board = leaderboard_entries(rows)[:5]
        return SweepProgress(len(rows), len(self._names), head, board, self._caches)
