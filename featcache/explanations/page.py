"""An explanation as one self-contained page."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featcache.core.display import escaped, html_table
from featcache.core.tasks import REGRESSION
from featcache.explanations.overlay import data_url
from featcache.explanations.records import ExplainedPhoto, caption_of, heat_title
from featcache.explanations.sheet import tiles_of
from featcache.pages.page import PageSection, render

if TYPE_CHECKING:
    from featcache.explanations.explanation import Explanation


PACKAGE = "featcache.explanations"

_TITLE = 18
"""Characters of a name in the table of contents."""
_COUNTED = 8
"""Classes that are counted by name."""


def page_of(shown: "Explanation") -> str:
    """Return an explanation as HTML."""
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
        headline=_finding(shown),
        facts=facts,
        notes=[shown.words, *shown.notes],
        sections=[
            _section(number, title, photo, shown)
            for number, (title, photo) in enumerate(
                zip(short_names([photo.id for photo in shown.photos]), shown.photos, strict=True), start=1
            )
        ],
    )


def _section(number: int, title: str, photo: ExplainedPhoto, shown: "Explanation") -> PageSection:
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
    return PageSection(
        f"photo-{number}", title, _headline(photo, shown.task), "explained_photo.html", content
    )


def short_names(names: Sequence[str]) -> list[str]:
    """Return the last parts of photos' paths, short enough for the table of contents; those alike are numbered.

    Examples
    --------
    >>> short_names(["daisy/1.jpg", "tulips/1.jpg", "a-photo-of-a-dandelion.jpg"])
    ['1.jpg (1)', '1.jpg (2)', 'a-photo-o…lion.jpg']
    """
    short = [_short(name) for name in names]
    alike, met = Counter(short), Counter[str]()
    for place, name in enumerate(short):
        if alike[name] > 1:
            met[name] += 1
            short[place] = f"{name} ({met[name]})"
    return short


def _short(name: str) -> str:
    """Return the last part of a path, cut in its middle where it is long."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or name
    return last if len(last) <= _TITLE else f"{last[: _TITLE // 2]}…{last[-(_TITLE // 2 - 1) :]}"


def _finding(shown: "Explanation") -> str:
    """Return how many photos were taken for what, as a headline."""
    read = [photo for photo in shown.photos if photo.error is None]
    count = f"{len(read)} photos" if len(read) != 1 else "1 photo"
    unread = len(shown.photos) - len(read)
    more = f"; {unread} cannot be explained" if unread else ""
    firsts = [
        "unlike anything seen" if photo.unlike else next((heat.name for heat in photo.heats if heat.name), "")
        for photo in read
    ]
    if shown.task == REGRESSION or not any(firsts):
        return f"{count}{more}"
    counts = Counter(firsts).most_common()
    said = ", ".join(name if len(read) == 1 else f"{name} {number}" for name, number in counts[:_COUNTED])
    others = f", {len(counts) - _COUNTED} other classes" if len(counts) > _COUNTED else ""
    return f"{count}: {said}{others}{more}"


def _headline(photo: ExplainedPhoto, task: str) -> str:
    said = caption_of(photo, task)
    return f"{said[:1].upper()}{said[1:]}" if photo.error else said


def notebook_html(shown: "Explanation") -> str:
    """Return an explanation for a notebook: a table, and the photos as one picture."""
    rows = [
        (escaped(photo.id), caption_of(photo, shown.task), "; ".join(_remarks(photo, shown.task)))
        for photo in shown.photos
    ]
    return html_table("Explanation", rows, ("photo", "taken for", "of the maps"), note=shown.words)


def _remarks(photo: ExplainedPhoto, task: str) -> list[str]:
    return [f"{heat_title(heat, task)}: {heat.remark}" for heat in photo.heats if heat.remark]
