"""Photos suggested for labelling: a ranked list, and what becomes of it: a table, a folder, a contact sheet."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.core.disk.names import resolved
from featcache.core.display import counted, data_frame, escaped, html_table
from featcache.datasets.file_bytes import file_behind
from featcache.datasets.found_photos import FoundPhotos
from featcache.errors import DataError, UsageError
from featcache.labelling.label_table import AskedPhoto, add_to_table
from featcache.labelling.photo_folder import PutPhotos, put_photos
from featcache.pages.contact_sheet import SheetGroup, SheetPhoto, sheet
from featcache.pages.written_file import written

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Suggestion:
    """A photo whose label would help.

    Parameters
    ----------
    rank
        From 1: the first stands for most of what is not known.
    id, row, split
        Its name in the dataset, its row in the cache, and its split.
    why
        Why it is suggested, in words and numbers.
    guess
        What the classifier takes it for; ``""`` without one, or of numbers.
    probabilities
        The likeliest classes with their probabilities; the labels that the classifier is least sure of; its numbers.
    unsure
        How unsure the classifier is, 0..1 (`featcache.labelling.uncertainty.uncertainty`); ``None`` without one.
    stands_for
        How many photos without labels are like it, itself included.
    """

    rank: int
    id: str
    row: int
    split: str
    why: str
    guess: str
    probabilities: tuple[tuple[str, float], ...]
    unsure: float | None
    stands_for: int


@dataclass(frozen=True, repr=False)
class Suggestions:
    """The photos to label next, the most helpful first.

    Parameters
    ----------
    photos
        The suggestions.
    cache
        Path of the cache.
    method
        ``"unsure"`` where a classifier said how sure it is, else ``"typical"``.
    words
        How they were chosen, as a sentence.
    unlabelled
        How many photos there were to choose from.
    labelled, copies
        How many photos were left out because they are labelled, and because the same image stands among the others.
    notes
        What else is to be known, as sentences.
    backbone
        Name of the network that computed the features, with which labelled photos are extracted.
    find
        Opens the photos themselves.
    """

    photos: tuple[Suggestion, ...]
    cache: str
    method: str
    words: str
    unlabelled: int
    labelled: int
    copies: int
    notes: tuple[str, ...] = ()
    backbone: str = ""
    find: Callable[[], FoundPhotos] = field(default=FoundPhotos, compare=False)

    def __repr__(self) -> str:
        return f"Suggestions({len(self.photos)} of {self.unlabelled} unlabelled photos of {self.cache}, {self.method})"

    def __len__(self) -> int:
        return len(self.photos)

    def _repr_html_(self) -> str:
        rows = [(str(each.rank), escaped(each.id), each.why) for each in self.photos]
        return html_table("What to label next", rows, ("", "photo", "why"), note=self.words)

    @property
    def headline(self) -> str:
        """How many of how many, in one line."""
        return f"{counted(len(self.photos), 'photo')} to label, of {self.unlabelled:,} without a label"

    @cached_property
    def found(self) -> FoundPhotos:
        """The photos themselves, as far as they are where they were."""
        return self.find()

    @cached_property
    def _files(self) -> Mapping[str, str]:
        """Absolute paths of the photos that are files of their own."""
        return files_of(self.found)

    def to_csv(self, path: str | os.PathLike[str]) -> int:
        """Write a table with an empty column for labels, to be filled in and read as ``csv:PATH?no_label=skip``.

        Where such a table is there, photos that are not in it are added below, and all labels stay.

        Parameters
        ----------
        path
            Ends in ``.csv``.

        Returns
        -------
        int
            How many photos are new in it.

        Raises
        ------
        UsageError
            If something else is there.
        StorageError
            If it cannot be written.
        """
        rows = [AskedPhoto(self._files.get(each.id, each.id), each.guess, each.why) for each in self.photos]
        return add_to_table(path, rows)

    def to_folder(self, folder: str | os.PathLike[str]) -> PutPhotos:
        """Put the photos into an empty or new folder, as hard links or copies, named by their rank.

        Raises
        ------
        DataError
            If the photos have moved.
        UsageError
            If the folder holds anything, or lies among the photos.
        StorageError
            If a photo cannot be written.
        """
        if self.found.read is None:
            raise DataError(f"{folder}: no photo was put there. {self.found.moved}")
        self._require_outside(Path(folder))
        names = [each.id for each in self.photos]
        return put_photos(folder, names, read=self.found.read, file_of=self._files.get)

    def _require_outside(self, folder: Path) -> None:
        """Refuse a folder among the photos: the next extraction would take both."""
        kind, _, root = (self.found.dataset.location if self.found.dataset else "").partition(":")
        if kind == "folder" and resolved(folder).is_relative_to(resolved(root)):
            raise UsageError(
                f"{folder} lies in {root}, whose photos are to be labelled: the next extraction would take the chosen "
                "ones twice; name a folder outside"
            )

    def to_html(self, output: str | os.PathLike[str] | None = None) -> str:
        """Return a contact sheet as one self-contained page; with `output`, it is also written there.

        Raises
        ------
        MissingExtraError
            If the extra ``report`` is not installed.
        StorageError
            If it cannot be written.
        """
        shown = [
            SheetPhoto(each.id, f"{each.rank}. {each.guess}".rstrip(), (each.why,)) for each in self.photos
        ]
        text = sheet(
            "What to label next",
            [SheetGroup(f"{self.words[:1].upper()}{self.words[1:]}", shown, title="Photos")],
            read=self.found.read,
            headline=self.headline,
            facts={"cache": self.cache},
            notes=[*self.notes, *filter(None, [self.found.moved])],
            generator="featcache suggest",
        )
        written(text.encode(), output)
        return text

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each photo.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        return data_frame(
            [asdict(each) | {"probabilities": dict(each.probabilities)} for each in self.photos]
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "cache": self.cache,
            "method": self.method,
            "words": self.words,
            "unlabelled": self.unlabelled,
            "labelled": self.labelled,
            "copies": self.copies,
            "notes": list(self.notes),
            "photos": [
                asdict(each) | {"id": escaped(each.id), "probabilities": dict(each.probabilities)}
                for each in self.photos
            ],
        }


def files_of(found: FoundPhotos) -> dict[str, str]:
    """Return the absolute path of each photo that is a file of its own, by its name in the dataset."""
    records = [] if found.dataset is None else found.dataset.records
    pairs = [(record.id, file_behind(record.read)) for record in records]
    return {name: os.path.abspath(file) for name, file in pairs if file is not None}
