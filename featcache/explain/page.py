"""An explanation as one self-contained page."""

from dataclasses import dataclass
from typing import Any

from featcache.core.display import escaped, html_table
from featcache.explain.explanation import ExplainedPhoto, Explanation, caption_of, heat_title
from featcache.explain.overlay import data_url
from featcache.explain.sheet import tiles_of
from featcache.pages.page import render

PACKAGE = "featcache.explain"


@dataclass(frozen=True)
class PhotoSection:
    """The section of one photo, as the pages' shell takes it: see `featcache.pages.page.render`."""

    key: str
    title: str
    headline: str
    template: str
    content: dict[str, Any]


def page_of(shown: Explanation) -> str:
    """Return an explanation as HTML."""
    read = sum(photo.error is None for photo in shown.photos)
    facts = {"explained": shown.subject, "method": shown.method}
    if shown.stage:
        facts["map"] = shown.stage
    if shown.gap is not None:
        facts["exact to"] = f"{shown.gap:.0e} of the score"
    if shown.from_cache:
        facts["from the cache"] = f"{shown.from_cache} maps, for which the network did not run"
    return render(
        "page.html",
        packages=(PACKAGE,),
        title="Why these photos were taken for what",
        headline=f"{read} of {len(shown.photos)} photos. {shown.words}",
        facts=facts,
        notes=shown.notes,
        sections=[_section(number, photo, shown) for number, photo in enumerate(shown.photos, start=1)],
    )


def _section(number: int, photo: ExplainedPhoto, shown: Explanation) -> PhotoSection:
    tiles = tiles_of(photo, shown)
    count = 1 + len(photo.heats)
    pictures = [
        {
            "url": None if tile.picture is None else data_url(tile.picture),
            "lines": tile.lines,
            "remark": tile.over,
        }
        for tile in tiles
    ]
    content = {
        "name": photo.id,
        "error": photo.error,
        "seen": pictures[:count],
        "near": [
            picture | {"label": near.label, "name": near.id, "similarity": f"{near.similarity:.3f}"}
            for picture, near in zip(pictures[count:], photo.neighbours, strict=False)
        ],
    }
    title = photo.id.replace("\\", "/").rsplit("/", 1)[-1] or photo.id
    return PhotoSection(
        f"photo-{number}", title, _headline(photo, shown.task), "explained_photo.html", content
    )


def _headline(photo: ExplainedPhoto, task: str) -> str:
    said = caption_of(photo, task)
    return f"{said[:1].upper()}{said[1:]}" if photo.error else said


def notebook_html(shown: Explanation) -> str:
    """Return an explanation for a notebook: a table, and the photos as one picture."""
    rows = [
        (escaped(photo.id), caption_of(photo, shown.task), "; ".join(_remarks(photo, shown.task)))
        for photo in shown.photos
    ]
    return html_table("Explanation", rows, ("photo", "taken for", "of the maps"), note=shown.words)


def _remarks(photo: ExplainedPhoto, task: str) -> list[str]:
    return [f"{heat_title(heat, task)}: {heat.remark}" for heat in photo.heats if heat.remark]
