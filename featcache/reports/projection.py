"""Features in two dimensions: principal components, or t-SNE by the extra ``tsne``; and how far classes are apart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.errors import MissingExtraError
from featcache.pages.principal_components import principal_components

NEIGHBOURS = 5
"""How many nearest points on the map say whose place it is."""

TSNE_WIDTH = 50
"""Principal components that t-SNE starts from, as its authors advise."""

LEAST_FOR_TSNE = 5


@dataclass(frozen=True)
class Projection:
    """Points in two dimensions.

    Parameters
    ----------
    points
        float64 ``[n, 2]``.
    method
        ``"pca"`` or ``"tsne"``.
    explained
        Share of the variance along each of the two axes; empty of t-SNE, which has none.
    """

    points: np.ndarray
    method: str
    explained: tuple[float, ...] = ()


def project(features: np.ndarray, *, tsne: bool = False, seed: int = 0) -> Projection:
    """Return features in two dimensions.

    Parameters
    ----------
    features
        float ``[n, …]``; what lies behind the first axis is one vector.
    tsne
        Whether t-SNE does it (van der Maaten and Hinton, JMLR 9, 2008, in openTSNE's implementation), from `TSNE_WIDTH`
        principal components. Of fewer than `LEAST_FOR_TSNE` rows, or of rows that are all alike, principal components
        always do.
    seed
        Of t-SNE.

    Raises
    ------
    MissingExtraError
        If openTSNE is asked for and not installed.
    """
    flat = np.asarray(features).reshape(len(features), math.prod(np.shape(features)[1:]))
    if tsne:
        embed = _open_tsne()
        start, shares = principal_components(flat, TSNE_WIDTH)
        if len(flat) >= LEAST_FOR_TSNE and any(shares):  # of rows that are all alike it gives NaN
            perplexity = min(30.0, (len(flat) - 1) / 3)
            found = embed(perplexity=perplexity, random_state=seed, n_jobs=1).fit(start)
            return Projection(np.asarray(found, np.float64), "tsne")
    points, explained = principal_components(flat, 2)
    return Projection(points, "pca", explained)


def _open_tsne() -> Any:
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise MissingExtraError(
            "a map by t-SNE needs openTSNE, which is not installed: pip install 'featcache[tsne]'; or leave out the "
            "choice of t-SNE for a map by principal components, which needs nothing more"
        ) from error
    return TSNE


@dataclass(frozen=True)
class Surroundings:
    """What lies about the points of one class on a map.

    Parameters
    ----------
    number, name, count
        The class's place in the list of names, its name, and how many points it has.
    own
        Mean share of a point's nearest points that are of its class.
    other, share
        The class that most of the others are of, and the share of all nearest points that are; ``None`` and 0 where
        all are of its own.
    """

    number: int
    name: str
    count: int
    own: float
    other: str | None
    share: float


def surroundings(points: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> list[Surroundings]:
    """Return for each class what lies about its points: the map in words.

    Parameters
    ----------
    points
        float ``[n, 2]``.
    labels
        int ``[n]``, places in `names`.
    """
    near = min(NEIGHBOURS, len(points) - 1)
    if near < 1:
        return []
    from scipy.spatial import KDTree

    _, found = KDTree(points).query(points, k=near + 1)
    # Of points at one place any may come first, the point itself included; it is never its own neighbour.
    found = np.array(
        [
            [other for other in row if other != own][:near]
            for own, row in enumerate(np.asarray(found).tolist())
        ]
    )
    told = []
    for number, name in enumerate(names):
        mine = labels == number
        if not mine.any():
            continue
        counts = np.bincount(labels[found[mine]].ravel(), minlength=len(names)) / (near * mine.sum())
        own, counts[number] = float(counts[number]), 0.0
        most = int(counts.argmax())
        other = names[most] if counts[most] > 0 else None
        told.append(Surroundings(number, name, int(mine.sum()), own, other, float(counts[most])))
    return told
