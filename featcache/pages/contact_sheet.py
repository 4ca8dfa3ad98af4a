"""A contact sheet: photos in groups, each with what is said of it, as one self-contained page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from featcache.core.display import counted
from featcache.pages.page import PageSection, render
from featcache.pages.sprites import Sprites

SIDE = 176
"""Longest side of a photo in pixels."""


@dataclass(frozen=True)
class SheetPhoto:
    """A photo on a contact sheet.

    Parameters
    ----------
    id
        Its name in the dataset: what it is read by, and what stands below it.
    caption
        What is said of it first.
    lines
        Further lines.
    kind
        ``"right"`` and ``"wrong"`` are marked as such.
    """

    id: str
    caption: str = ""
    lines: tuple[str, ...] = ()
    kind: Literal["plain", "right", "wrong"] = "plain"


@dataclass(frozen=True)
class SheetGroup:
    """Photos under one heading.

    Parameters
    ----------
    heading
        What the photos have in common, as a sentence or a name.
    photos
        In the order in which they are shown.
    title
        One or two words for the table of contents; by default the heading.
    note
        What is to be known beside it.
    """

    heading: str
    photos: Sequence[SheetPhoto]
    title: str = ""
    note: str = ""


def sheet(
    title: str,
    groups: Sequence[SheetGroup],
    *,
    read: Callable[[str], bytes] | None,
    headline: str = "",
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    generator: str = "featcache",
    side: int = SIDE,
) -> str:
    """Return a contact sheet as HTML.

    Parameters
    ----------
    title
        Of the page.
    groups
        Its photos; a photo that stands in several groups is embedded once.
    read
        Returns the encoded bytes of the photo with an id; raises `ImageError` or ``OSError`` where it cannot be
        read. ``None``: there are no pictures, which `notes` should explain.
    headline
        The finding, as a sentence.
    facts
        Names and values for the head of the page.
    notes
        Sentences that stand above the photos.
    generator
        What made the page.
    side
        Longest side of a photo in pixels.

    Raises
    ------
    MissingExtraError
        If the extra ``report`` is not installed.
    """
    sprites = Sprites(read, side=side)
    sections = [_section(number, group, sprites) for number, group in enumerate(groups, start=1)]
    return render(
        "page.html",
        title=title,
        headline=headline,
        facts=dict(facts or {}),
        notes=[*notes, *_unread(sprites)],
        sections=sections,
        sheets=sprites.sheets(),
        generator=generator,
    )


def _section(number: int, group: SheetGroup, sprites: Sprites) -> PageSection:
    photos = [
        {
            "thumbnail": sprites.of(photo.id),
            "name": photo.id,
            "caption": photo.caption,
            "kind": photo.kind,
            "lines": photo.lines,
        }
        for photo in group.photos
    ]
    content = {"photos": photos, "note_text": group.note}
    return PageSection(f"group-{number}", group.title or group.heading, group.heading, "sheet.html", content)


def _unread(sprites: Sprites) -> list[str]:
    """Return how many photos have no picture, and why the first has none."""
    if not sprites.missing:
        return []
    name, why = next(iter(sprites.missing.items()))
    return [
        f"{counted(len(sprites.missing), 'photo')} without a picture, the first is {name}: {why.splitlines()[0]}."
    ]
