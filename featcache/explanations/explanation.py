"""Photos with heat over them, for the classes that they were taken for, and the training photos that they look like."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featcache.core.display import escaped
from featcache.core.documents.json_text import plain
from featcache.explanations.records import ExplainedPhoto, Heat
from featcache.explanations.training_photos import Neighbour
from featcache.pages.written_file import written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ExplainedPhoto", "Explanation", "Heat", "Neighbour"]


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why photos were taken for what, in heat maps and neighbours.

    Parameters
    ----------
    photos
        In the order in which they were given.
    method, stage, exact
        How the maps were made; see `featcache.explanations.method.Method`.
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
        from featcache.explanations.page import notebook_html

        return notebook_html(self)

    def to_png(self, output: str | os.PathLike[str] | None = None) -> bytes:
        """Return one picture with a row for each photo, as PNG; with `output`, it is also written there."""
        from featcache.explanations.sheet import png_of

        return written(png_of(self), output)

    def to_html(self, output: str | os.PathLike[str] | None = None) -> str:
        """Return one self-contained page, which needs no network; with `output`, it is also written there.

        Raises
        ------
        MissingExtraError
            If the extra ``report`` is not installed.
        """
        from featcache.explanations.page import page_of

        text = page_of(self)
        written(text.encode(), output)
        return text

    def plot(self) -> "Figure":
        """Return a figure of matplotlib with a row for each photo.

        Raises
        ------
        MissingExtraError
            If the extra ``report`` is not installed.
        """
        from featcache.explanations.plot import figure_of

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
        "unlike": photo.unlike,
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
