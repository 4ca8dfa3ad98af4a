"""The entries of a leaderboard, as summaries hold them: what they are called, and how each compares with the choice."""

from collections.abc import Mapping, Sequence
from typing import Any

from featcache.core.identity import canonical_json
from featcache.sweeps.lines import value_text

CHOSEN, FIRST, ALIKE, APART, OTHER = "chosen", "highest, not taken", "not told apart", "worse", "not compared"
"""Verdicts."""

Entry = Mapping[str, Any]


def judged_entries(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the leaderboard with places, names and verdicts; the chosen one is always among them.

    Parameters
    ----------
    sweep
        The content of ``summary.json``.
    """
    chosen = sweep["chosen"]
    entries = list(sweep.get("leaderboard") or [chosen])
    if not any(is_same(entry, chosen) for entry in entries):
        entries.append(chosen)
    return [
        {"place": place, "name": entry_name(entry, entries), **plain_entry(entry), **_verdict(entry, chosen)}
        for place, entry in enumerate(entries, 1)
    ]


def is_same(first: Entry, second: Entry) -> bool:
    """Return whether two entries are of one configuration."""
    return first.get("cache") == second.get("cache") and same_head(first, second)


def plain_entry(entry: Entry) -> dict[str, Any]:
    """Return what tells of an entry wherever it stands: what it is of, and its scores."""
    names = ("cache", "layer", "head", "settings", "shots", "val_accuracy", "deviation", "val_loss", "trials")
    return {name: entry.get(name) for name in names}


def _verdict(entry: Entry, chosen: Entry) -> dict[str, Any]:
    """Return an entry's verdict, and the interval of its score relative to the chosen one's."""
    if is_same(entry, chosen):
        return {"verdict": CHOSEN, "interval": None}
    for other in chosen.get("contenders") or ():
        if is_same(entry, other):
            # The interval is of the chosen minus this one.
            low, high, score = *other["interval"], chosen["val_accuracy"]
            ends = None if None in (low, high, score) else [score - high, score - low]
            return {"verdict": APART if other["told_apart"] else ALIKE, "interval": ends}
    first = chosen.get("instead_of")
    taken = first is not None and is_same(entry, first)
    return {"verdict": FIRST if taken else OTHER, "interval": None}


def same_head(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether two entries are of one layer, head, settings and number of shots, whatever their cache is."""
    names = ("layer", "head", "settings", "shots")
    return all(canonical_json(first.get(name)) == canonical_json(second.get(name)) for name in names)


def setting_name(name: str) -> str:
    """Return a setting's name in words."""
    return name.replace("_", " ")


def differing(entries: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the settings that differ between entries of one kind of head, by kind."""
    found: dict[str, dict[str, set[bytes]]] = {}
    for entry in entries:
        for name, value in entry["settings"].items():
            found.setdefault(entry["head"], {}).setdefault(name, set()).add(canonical_json(value))
    return {
        head: {name for name, values in settings.items() if len(values) > 1}
        for head, settings in found.items()
    }


def entry_name(entry: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> str:
    """Return what tells an entry apart from others in a list: head, settings, and cache and layer where several are.

    Parameters
    ----------
    entry
        With ``cache``, ``layer``, ``head`` and ``settings``.
    entries
        All entries of the list, this one included.
    """
    named = differing(entries).get(entry["head"], set())
    settings = [f"{setting_name(k)} {value_text(v)}" for k, v in entry["settings"].items() if k in named]
    places = [
        str(entry[name])
        for name in ("cache", "layer")
        if len({canonical_json(other.get(name)) for other in entries}) > 1
    ]
    return ", ".join([entry["head"], *settings]) + (f" on {' '.join(places)}" if places else "")
