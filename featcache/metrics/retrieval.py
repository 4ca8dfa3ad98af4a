"""How well the nearest rows of a row are of its kind: mean average precision and recall at k."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featcache.metrics.ranking import rank

CUTS = (1, 5, 10)
"""The numbers k of nearest rows of which recall is given."""

BLOCK_BYTES = 1 << 26
"""Similarities of one block of queries: 64 MiB."""


@dataclass(frozen=True)
class RetrievalScores:
    """Scores of features as a search, each row in turn being the query and all others what is searched.

    Leave-one-out among the scored rows, as metric learning is scored: what it was trained on plays no part.

    Parameters
    ----------
    mean_average_precision
        Mean over queries of the average precision of the whole ranking: the precision at the place of each relevant
        row, averaged over these. Rows of equal similarity share one place.
    recall
        k to recall at k as in Song et al., "Deep metric learning via lifted structured feature embedding" (CVPR 2016,
        https://arxiv.org/abs/1511.06452): the share of queries with a relevant row among their k nearest.
    queries
        Number of queries: rows for which some other one is relevant.
    alone
        Number of rows for which none is; they are searched, but ask nothing.
    """

    mean_average_precision: float
    recall: dict[int, float]
    queries: int
    alone: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"recall": {str(cut): share for cut, share in self.recall.items()}}


def with_retrieval(values: dict[str, Any], scores: RetrievalScores | None) -> dict[str, Any]:
    """Return an evaluation's JSON values with these scores; without a word of them where they were not asked for."""
    others = {name: value for name, value in values.items() if name != "retrieval"}
    return others if scores is None else {**others, "retrieval": scores.to_json()}


def retrieval_scores(
    features: np.ndarray,
    known: np.ndarray,
    *,
    same: np.ndarray | None = None,
    cuts: Sequence[int] = CUTS,
    block_bytes: int = BLOCK_BYTES,
) -> RetrievalScores | None:
    """Score features as a search by cosine similarity.

    Parameters
    ----------
    features
        float ``[N, D]``, finite.
    known
        int ``[N]`` classes: rows of one class are relevant to each other; or bool ``[N, C]`` labels: rows are relevant
        that share a label, as in hashing for multilabel images (Lai et al., CVPR 2015).
    same
        int ``[N]``: rows of one number are copies of one picture, which are not searched for each other; by default
        every row is a picture of its own.
    cuts
        The numbers k.
    block_bytes
        Similarities that are held at a time.

    Returns
    -------
    RetrievalScores or None
        ``None`` where no row has a relevant one.
    """
    norms = np.linalg.norm(features.astype(np.float32), axis=1, keepdims=True)
    unit = features.astype(np.float32) / np.where(norms > 0, norms, 1.0)
    count = len(unit)
    pictures = np.arange(count) if same is None else same
    precisions: list[float] = []
    hits = dict.fromkeys(cuts, 0)
    size = max(1, block_bytes // (4 * max(1, count)))
    for start in range(0, count, size):
        block = np.arange(start, min(start + size, count))
        near = unit[block] @ unit.T
        relevant = _relevant(known, block)
        other = pictures[block, None] != pictures
        for line in np.flatnonzero((relevant & other).any(axis=1)):
            right, close = relevant[line, other[line]], near[line, other[line]]
            precisions.append(rank(right, close).average_precision or 0.0)
            order = np.argsort(-close, kind="stable")[: max(cuts)]
            first = int(np.argmax(right[order])) if right[order].any() else max(cuts)
            for cut in cuts:
                hits[cut] += first < cut
    if not precisions:
        return None
    queries = len(precisions)
    recall = {cut: found / queries for cut, found in hits.items()}
    return RetrievalScores(float(np.mean(precisions)), recall, queries, count - queries)


def _relevant(known: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Return which rows are relevant to those of a block, bool ``[B, N]``."""
    if known.ndim == 1:
        return known[block, None] == known
    labels = known.astype(np.float32)
    return labels[block] @ labels.T > 0
