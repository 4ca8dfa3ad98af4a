"""What a search finds: for each photo the nearest ones, as records, tables, JSON and a contact sheet."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from featcache.cache import FeatureCache
from featcache.core.display import counted, data_frame, escaped, html_table
from featcache.core.documents.csv_text import csv_row
from featcache.pages.written_file import written

if TYPE_CHECKING:
    import pandas

    from featcache.datasets import Dataset

COLUMNS = ("photo", "rank", "id", "label", "split", "similarity", "same_bytes")
"""Of the table of a search."""


@dataclass(frozen=True)
class SimilarPhoto:
    """A photo of the cache that is near another one.

    Parameters
    ----------
    row, id
        Its row in the cache and its name in the dataset.
    label
        Its class, labels or numbers in words; empty without.
    split
        Its split.
    similarity
        Cosine similarity of the features: 1 for the same direction.
    same_bytes
        Whether it is a copy, byte for byte.
    """

    row: int
    id: str
    label: str
    split: str
    similarity: float
    same_bytes: bool = False


@dataclass(frozen=True)
class Neighbourhood:
    """A photo, and those that are nearest to it.

    Parameters
    ----------
    id
        Its name in the dataset, its path, or its position among those given.
    found
        The nearest first.
    row, label, split
        What it is in the cache; ``None``, ``""`` and ``""`` for a photo that the cache does not hold.
    error
        Why it cannot be read; then nothing is found.
    """

    id: str
    found: tuple[SimilarPhoto, ...] = ()
    row: int | None = None
    label: str = ""
    split: str = ""
    error: str | None = None


@dataclass(frozen=True, repr=False)
class SimilarPhotos:
    """The photos of a cache that are nearest to others.

    Parameters
    ----------
    photos
        One entry for each photo that was asked about, in that order.
    cache
        The cache that was searched.
    layer
        The layer whose features were compared.
    split
        The split or slice that was searched; ``"all"`` for every row.
    searched
        Number of rows that were compared.
    notes
        What else is to be known, as sentences.
    """

    photos: tuple[Neighbourhood, ...]
    cache: FeatureCache = field(compare=False)
    layer: str
    split: str
    searched: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"SimilarPhotos({counted(len(self.photos), 'photo')} among {self.searched} rows of {self.cache.path})"

    def _repr_html_(self) -> str:
        rows = [(escaped(str(cell)) for cell in list(row.values())[:-1]) for row in self._rows()]
        return html_table("Nearest photos", [list(row) for row in rows], COLUMNS[:-1])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "cache": str(self.cache.path),
            "layer": self.layer,
            "split": self.split,
            "searched": self.searched,
            "notes": list(self.notes),
            "photos": [_json(each) for each in self.photos],
        }

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each photo found.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        return data_frame(list(self._rows()))

    def to_csv(self, output: str | os.PathLike[str] | None = None) -> str:
        """Return a table with a row for each photo found, as CSV; with `output`, it is also written there.

        Raises
        ------
        UsageError
            If something else than a file is there.
        StorageError
            If it cannot be written.
        """
        text = csv_row(COLUMNS) + b"".join(csv_row(list(row.values())) for row in self._rows())
        return written(text, output).decode("utf-8")

    def to_html(
        self,
        output: str | os.PathLike[str] | None = None,
        *,
        photos: "str | os.PathLike[str] | Dataset | None" = None,
    ) -> str:
        """Return a contact sheet, one page that needs no network; with `output`, it is also written there.

        Parameters
        ----------
        output
            The file.
        photos
            Where the cache's photos are, as for `featcache.extract`, if they have moved.

        Raises
        ------
        MissingExtraError
            If the extra ``report`` is not installed.
        StorageError
            If it cannot be written.
        """
        from featcache.retrieval.page import page_of

        text = page_of(self, photos)
        written(text.encode(), output)
        return text

    def _rows(self) -> Iterator[dict[str, Any]]:
        for each in self.photos:
            for rank, near in enumerate(each.found, start=1):
                values = (each.id, rank, near.id, near.label, near.split, near.similarity, near.same_bytes)
                yield dict(zip(COLUMNS, values, strict=True))


def _json(each: Neighbourhood) -> dict[str, Any]:
    values = asdict(each) | {"id": escaped(each.id)}
    return values | {"found": [asdict(near) | {"id": escaped(near.id)} for near in each.found]}
