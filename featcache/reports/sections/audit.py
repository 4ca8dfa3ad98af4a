"""What an audit found: a section for each of its lists, the suspects as photos with what they resemble beside them."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from featcache.auditing.ranked import RankedList, Resembled, Suspect
from featcache.auditing.written import WrittenAudit
from featcache.core.display import counted, percent, percents
from featcache.pages.sprites import Thumbnail
from featcache.reports.material import Material
from featcache.reports.section import Section

SHOWN = 24
"""Suspects of a list with their photos."""
BESIDE = 4
"""Photos beside one suspect."""
LISTED = 200
"""Further suspects of a list, in a table without photos."""


@dataclass(frozen=True)
class Beside:
    """A photo beside a suspect: its name and thumbnail, what it is labelled, and how the two are alike."""

    name: str
    thumbnail: Thumbnail | None
    caption: str


@dataclass(frozen=True)
class Card:
    """A suspect as the page shows it.

    Parameters
    ----------
    name, thumbnail
        Its file, and its picture where there is one.
    label, suggested
        Its class in words, and the one that it seems to have, or an empty text.
    why, score
        What speaks against it, and how much.
    certain
        Whether the list's own measure calls it wrong.
    left_out
        What is said of leaving it out, or an empty text.
    beside, more
        What it resembles, and how many more photos that is than are shown.
    """

    name: str
    thumbnail: Thumbnail | None
    label: str
    suggested: str
    why: str
    score: str
    certain: bool
    left_out: str
    beside: tuple[Beside, ...]
    more: int


def sections(material: Material) -> tuple[Section, ...]:
    """Return a section for each list of the audit; none without one."""
    if material.audit is None:
        return ()
    told = {} if material.classifier is None else material.classifier.training.get("selection", {})
    gone = frozenset(told.get("exclude", ()))
    return tuple(_section(material, material.audit, each, gone) for each in material.audit.lists)


def _section(material: Material, audit: WrittenAudit, found: RankedList, gone: Collection[str]) -> Section:
    cards = [_card(material, entry, gone) for entry in found.entries[:SHOWN]]
    others = found.entries[SHOWN : SHOWN + LISTED]
    return Section(
        key=f"audit-{found.kind}",
        title=found.title,
        headline=found.finding,
        template="audit.html",
        content={
            "stats": _stats(found, gone),
            "meaning": found.meaning,
            "cards": cards,
            "count": len(found.entries),
            "pictured": any(card.thumbnail for card in cards),
            "moved": material.moved,
            "others": [_row(entry) for entry in others],
            "unlisted": len(found.entries) - len(cards) - len(others),
            "effect": audit.effect if found is audit.lists[0] else "",
            "skipped": list(audit.skipped.items()) if found is audit.lists[-1] else [],
        },
        data={
            "kind": found.kind,
            "entries": len(found.entries),
            "certain": found.certain,
            "figures": found.figures,
            "shown": [entry.to_json() for entry in found.entries[:SHOWN]],
        },
    )


def _stats(found: RankedList, gone: Collection[str]) -> list[tuple[str, str, str]]:
    """Return the numbers of a list, with what they are and what they mean."""
    stats = [
        (
            f"{found.certain:,}",
            "certain",
            f"What the list's own measure calls wrong, of {len(found.entries):,} listed.",
        )
    ]
    share, interval = found.figures.get("share"), found.figures.get("interval")
    match share, interval:
        case (int() | float(), [int() | float() as low, int() | float() as high]):
            rows = found.figures.get("rows")
            of = f" Of {counted(rows, 'photo')}." if isinstance(rows, int) else ""
            stats.append((percent(share), "estimated share", f"95 % interval {percents(low, high)}.{of}"))
    out = {row for entry in found.entries if entry.certain for row in entry.leave_out}
    if out:
        stats.append(
            (f"{len(out):,}", "to leave out", "Photos that featcache audit --exclude-list FILE would name.")
        )
    if already := sum(entry.id in gone for entry in found.entries):
        stats.append(
            (
                f"{already:,}",
                "left out already",
                "Suspects that a list left out of this classifier's training.",
            )
        )
    return stats


def _card(material: Material, entry: Suspect, gone: Collection[str]) -> Card:
    return Card(
        name=entry.id,
        thumbnail=material.sprites.of(entry.id),
        label=entry.label,
        suggested=entry.suggested or "",
        why=entry.why,
        score=_score(entry.score),
        certain=entry.certain,
        left_out=_left_out(entry, gone),
        beside=tuple(_beside(material, own) for own in entry.resembles[:BESIDE]),
        more=max(0, len(entry.resembles) - BESIDE),
    )


def _left_out(entry: Suspect, gone: Collection[str]) -> str:
    if entry.id in gone:
        return "left out of this classifier's training"
    if not entry.certain or not entry.leave_out:
        return ""
    if entry.leave_out == (entry.row,):
        return "would be left out"
    others = "1 copy" if len(entry.leave_out) == 1 else f"{len(entry.leave_out):,} copies"
    return f"stays; {others} would be left out"


def _beside(material: Material, own: Resembled) -> Beside:
    near = f" · {own.similarity:.3f}" if math.isfinite(own.similarity) else ""
    what = ", ".join(filter(None, [own.label or "no label", own.split]))
    return Beside(own.id, material.sprites.of(own.id), f"{what}: {own.relation}{near}")


def _row(entry: Suspect) -> tuple[Any, ...]:
    number = {"text": _score(entry.score), "value": entry.score if math.isfinite(entry.score) else ""}
    return entry.id, entry.label, entry.suggested or "", number, "yes" if entry.certain else "no", entry.why


def _score(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"
