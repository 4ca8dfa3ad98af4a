"""Photos with heat over them, for the classes that they were taken for, and the training photos that they look like."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.disk.files import replace_file
from featcache.core.disk.names import FILE, require_free
from featcache.core.disk.storage import storage_errors
from featcache.core.display import escaped, percent
from featcache.core.documents.json_text import plain
from featcache.core.tasks import REGRESSION
from featcache.explain.training_photos import Neighbour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ExplainedPhoto", "Explanation", "Heat", "Neighbour"]

_ANOTHER = "name another file"


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
    """

    id: str
    picture: np.ndarray | None = None
    heats: tuple[Heat, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    trained_on: bool = False
    error: str | None = None

    def __repr__(self) -> str:
        return f"ExplainedPhoto({self.id!r}, {self.error or ', '.join(map(repr, self.heats))})"


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why photos were taken for what, in heat maps and neighbours.

    Parameters
    ----------
    photos
        In the order in which they were given.
    method, stage, exact
        How the maps were made; see `featcache.explain.method.Method`.
    words
        The same as a sentence.
    subject
        What was explained: a classifier or a backbone, in words.
    task
        Its task.
    gap
        Of exact maps: how far mean plus bias is from the logit at most, relative to 1 and the logit's size.
    from_cache
        How many maps were read from the training cache, so that the network did not run.
    notes
        What else is to be known, as sentences.
    """

    photos: tuple[ExplainedPhoto, ...]
    method: str
    stage: str
    words: str
    subject: str
    task: str
    exact: bool = False
    gap: float | None = None
    from_cache: int = 0
    notes: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        read = sum(photo.error is None for photo in self.photos)
        at = f" at {self.stage}" if self.stage else ""
        return f"Explanation({read} of {len(self.photos)} photos, {self.method}{at} of {self.subject})"

    def _repr_html_(self) -> str:
        from featcache.explain.page import notebook_html

        return notebook_html(self)

    def to_png(self, output: str | os.PathLike[str] | None = None) -> bytes:
        """Return one picture with a row for each photo, as PNG; with `output`, it is also written there."""
        from featcache.explain.sheet import png_of

        return _written(png_of(self), output)

    def to_html(self, output: str | os.PathLike[str] | None = None) -> str:
        """Return one self-contained page, which needs no network; with `output`, it is also written there.

        Raises
        ------
        MissingExtraError
            If the extra ``report`` is not installed.
        """
        from featcache.explain.page import page_of

        text = page_of(self)
        _written(text.encode(), output)
        return text

    def plot(self) -> "Figure":
        """Return a figure of matplotlib with a row for each photo.

        Raises
        ------
        MissingExtraError
            If the extra ``report`` is not installed.
        """
        from featcache.explain.plot import figure_of

        return figure_of(self)

    def to_json(self, *, maps: bool = True) -> dict[str, Any]:
        """Return everything but the pictures as plain JSON values.

        Parameters
        ----------
        maps
            Whether the numbers of the maps belong to it.
        """
        values = {
            "subject": self.subject,
            "task": self.task,
            "method": self.method,
            "stage": self.stage,
            "exact": self.exact,
            "words": self.words,
            "gap": self.gap,
            "from_cache": self.from_cache,
            "notes": list(self.notes),
            "photos": [_photo_json(photo, maps=maps) for photo in self.photos],
        }
        return plain(values)


def _photo_json(photo: ExplainedPhoto, *, maps: bool) -> Mapping[str, Any]:
    return {
        "id": escaped(photo.id),
        "error": photo.error,
        "trained_on": photo.trained_on,
        "heats": [
            {"class": heat.name, "value": heat.value, "logit": heat.logit, "remark": heat.remark}
            | ({"map": heat.map.tolist()} if maps else {})
            for heat in photo.heats
        ],
        "neighbours": [
            {"id": escaped(near.id), "label": near.label, "similarity": near.similarity}
            for near in photo.neighbours
        ],
    }


def _written(content: bytes, output: str | os.PathLike[str] | None) -> bytes:
    if output is not None:
        path = Path(output)
        require_free(path, FILE, elsewhere=_ANOTHER)
        with storage_errors(path, elsewhere=_ANOTHER, needs=len(content)):
            replace_file(path, content)
    return content


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
    return f"{taken}{'; it is one of the training photos' if photo.trained_on else ''}"
