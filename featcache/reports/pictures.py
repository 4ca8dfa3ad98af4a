"""Photos as a report shows them: a thumbnail, the file's name, what was said of it, and the nearest training photos."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.scored.nearest_photos import nearest_photos, training_cache, training_rows
from featcache.core.display import escaped, percent
from featcache.core.tasks import MULTICLASS
from featcache.errors import FeatcacheError
from featcache.pages.sprites import Thumbnail
from featcache.reports.material import Material
from featcache.reports.scored import Scored

Kind = Literal["right", "wrong", "plain"]

NEAR = 3
"""Training photos shown beside a photo."""

LIKELY = 3
"""Classes whose probabilities are given for a photo."""


@dataclass(frozen=True)
class Neighbour:
    """A training photo that is near another: its name, its class, the cosine similarity, and its thumbnail."""

    name: str
    label: str
    similarity: float
    thumbnail: Thumbnail | None

    @property
    def caption(self) -> str:
        """Its class and how near it is."""
        return f"{self.label} · {self.similarity:.3f}" if self.label else f"{self.similarity:.3f}"


@dataclass(frozen=True)
class Picture:
    """A photo on a page.

    Parameters
    ----------
    name
        Of its file, printable.
    thumbnail
        ``None`` without a picture.
    kind
        Whether the answer is right.
    caption
        What was said of it, and what is true.
    probabilities
        The likeliest classes, in descending order.
    near
        The nearest training photos, the nearest first.
    row
        Its place among the scored rows.
    """

    name: str
    thumbnail: Thumbnail | None
    kind: Kind
    caption: str
    probabilities: tuple[tuple[str, float], ...] = ()
    near: tuple[Neighbour, ...] = ()
    row: int = -1

    @property
    def lines(self) -> list[str]:
        """The other likely classes with their probabilities, a line each."""
        return [f"{name} {percent(share)}" for name, share in self.probabilities[1:]]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without the pictures."""
        return {
            "file": self.name,
            "kind": self.kind,
            "caption": self.caption,
            "probabilities": dict(self.probabilities),
            "nearest": [
                {name: value for name, value in asdict(each).items() if name != "thumbnail"}
                for each in self.near
            ],
        }


def pictures(
    material: Material,
    rows: Scored,
    places: Iterable[int],
    near: "Mapping[int, tuple[Neighbour, ...]] | None" = None,
) -> list[Picture]:
    """Return classified photos as a page shows them.

    Parameters
    ----------
    material, rows
        The report's material and its scored rows.
    places
        Which rows to show, as places among them.
    near
        Of `neighbours`.
    """
    return [_picture(material, rows, place, (near or {}).get(place, ())) for place in map(int, places)]


def _picture(material: Material, rows: Scored, place: int, near: "tuple[Neighbour, ...]") -> Picture:
    values = rows.values[place]
    order = np.argsort(-values, kind="stable")[:LIKELY]
    guess, truth = rows.classes[rows.guesses[place]], rows.classes[rows.labels[place]]
    right = bool(rows.right[place])
    said = f"{escaped(guess)} {percent(float(rows.confidence[place]))}"
    return Picture(
        name=escaped(rows.names[place]),
        thumbnail=material.sprites.of(rows.names[place]),
        kind="right" if right else "wrong",
        caption=said if right else f"{said}, truly {escaped(truth)}",
        probabilities=tuple((escaped(rows.classes[c]), float(values[c])) for c in order),
        near=near,
        row=place,
    )


def neighbours(material: Material, places: Sequence[int]) -> dict[int, tuple[Neighbour, ...]]:
    """Return the nearest training photos of scored rows, by their place.

    A row that was trained on is not its own neighbour. Empty, with a sentence in the material's notes, if the training
    cache is gone or damaged: a page comes without neighbours then.
    """
    classifier, cache = material.classifier, material.cache
    if classifier is None or cache is None or material.rows is None or not len(places):
        return {}
    found = training_cache(classifier, cache)
    if found is None:
        trained_on = escaped(str(classifier.provenance["cache"]))
        material.notes.append(
            f"No nearest training photos are shown: the cache that the classifier was trained on, {trained_on}, is "
            "gone or holds other features."
        )
        return {}
    asked = np.asarray(material.rows)[np.asarray(places, np.int64)]
    own = found is cache
    try:
        similarity, numbers = nearest_photos(
            found,
            classifier.layer,
            training_rows(classifier, found),
            cache.features(asked, classifier.layer),
            most=NEAR,
            not_these=asked if own else None,
        )
    except FeatcacheError as error:
        material.notes.append(f"No nearest training photos are shown: {escaped(str(error))}")
        return {}
    return {
        int(place): _near(material, found, similarity[i], numbers[i], pictured=own)
        for i, place in enumerate(places)
    }


def _near(
    material: Material, cache: FeatureCache, similarity: np.ndarray, rows: np.ndarray, *, pictured: bool
) -> tuple[Neighbour, ...]:
    """Return rows of a training cache as neighbours; of another dataset without pictures.

    That may have another photo of the same name.
    """
    known = cache.task == MULTICLASS
    return tuple(
        Neighbour(
            escaped(cache.ids[row]),
            escaped(cache.classes[cache.labels[row]]) if known else "",
            near,
            material.sprites.of(cache.ids[row]) if pictured else None,
        )
        for near, row in zip(similarity.tolist(), rows.tolist(), strict=True)
        if np.isfinite(near)
    )
