"""What is known of an explained photo, and how it is said."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from featcache.core.display import percent
from featcache.core.tasks import REGRESSION
from featcache.explanations.training_photos import Neighbour


@dataclass(frozen=True, repr=False)
class Heat:
    """Where in a photo something speaks for a class.

    Parameters
    ----------
    name
        The class, label or number; empty for a map of no class (attention rollout).
    value
        Its probability, or the number.
    logit
        The head's raw output for it.
    map
        float32 ``[h, w]``; where it is exact, its mean plus the head's bias is `logit`.
    remark
        Why the map means nothing, as a sentence; empty where it may be drawn.
    """

    name: str
    value: float
    logit: float
    map: np.ndarray
    remark: str = ""

    def __repr__(self) -> str:
        size = "×".join(map(str, self.map.shape))
        return f"Heat({self.name!r}, {self.value:.3g}, map {size}{', ' + self.remark if self.remark else ''})"


@dataclass(frozen=True, repr=False)
class ExplainedPhoto:
    """A photo, its heat maps and its neighbours.

    Parameters
    ----------
    id
        Its path, or its position among those given.
    picture
        uint8 ``[H, W, 3]``: what the network saw; ``None`` where it cannot be read.
    heats
        A map for each of the first classes.
    neighbours
        The nearest training photos, the nearest first.
    trained_on
        Whether it is a training photo itself.
    error
        Why it cannot be read, or explained.
    unlike
        Whether it lies farther from what the classifier has seen than photos like those do.
    """

    id: str
    picture: np.ndarray | None = None
    heats: tuple[Heat, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    trained_on: bool = False
    error: str | None = None
    unlike: bool = False

    def __repr__(self) -> str:
        return f"ExplainedPhoto({self.id!r}, {self.error or ', '.join(map(repr, self.heats))})"


def told_names(ids: Sequence[str]) -> list[str]:
    """Return the names of photos as they are told: without the folder that all of them are in.

    Examples
    --------
    >>> told_names(["/data/flowers/daisy/1.jpg", "/data/flowers/tulips/1.jpg"])
    ['daisy/1.jpg', 'tulips/1.jpg']
    >>> told_names(["/data/flowers/daisy/1.jpg"])
    ['1.jpg']
    """
    parts = [PurePath(name).parts for name in ids]
    shared = 0
    while all(len(own) > shared + 1 for own in parts) and len({own[shared] for own in parts}) == 1:
        shared += 1
    return [str(PurePath(*own[shared:])) if shared else name for name, own in zip(ids, parts, strict=True)]


def score_text(value: float, task: str) -> str:
    """Return a class's probability, or a number, in words."""
    return f"{value:.6g}" if task == REGRESSION else percent(value)


def heat_title(heat: Heat, task: str) -> str:
    """Return what stands below a heat map: its class and how probable that is."""
    return f"{heat.name} {score_text(heat.value, task)}" if heat.name else "attention, of no class"


def caption_of(photo: ExplainedPhoto, task: str) -> str:
    """Return what a photo was taken for, as a sentence."""
    if photo.error:
        return f"cannot be explained: {photo.error}"
    named = [heat for heat in photo.heats if heat.name]
    taken = ", ".join(heat_title(heat, task) for heat in named) or "no class asked for"
    taken = f"unknown (unlike anything seen), else {taken}" if photo.unlike else taken
    return f"{taken}{'; it is one of the training photos' if photo.trained_on else ''}"
