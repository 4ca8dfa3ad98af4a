"""What a report is to be made with."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featcache.auditing.audit import Audit
    from featcache.core.progress import OnProgress
    from featcache.datasets import Dataset

Given = str | os.PathLike[str]


@dataclass(frozen=True)
class Wishes:
    """What a report is to be made with.

    Parameters
    ----------
    cache
        The cache to score a classifier on, in the place of the one it was trained on.
    photos
        The photos, where they have moved; a classifier whose cache is gone is scored on them.
    split
        The rows to score a classifier on; ``None`` for its test rows.
    pictures
        Most pictures.
    side
        Longest side of a thumbnail in pixels.
    seed, tsne
        See `featcache.reports.material.Material`.
    audit
        An audit to show: its file, its result, or ``"run"``; see `featcache.reports.audited.audit_of`.
    on_progress
        Called as features are computed.
    """

    cache: Given | None = None
    photos: "Given | Dataset | None" = None
    split: str | None = None
    pictures: int = 3000
    side: int = 96
    seed: int = 0
    tsne: bool = False
    audit: "Given | Audit | None" = None
    on_progress: "OnProgress | None" = None
