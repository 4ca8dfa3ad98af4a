"""What an audit would leave out, as a list that people edit and ``train-head --exclude`` reads."""

from collections.abc import Iterable

from featcache.auditing.ranked import RankedList, Suspect


def exclude_entries(lists: Iterable[RankedList]) -> list[tuple[str, str]]:
    """Return the id and the reason of every photo that some lists leave out, in the order of the lists.

    Only entries that are certain count: what is only worth a look is for people to judge. A photo that several lists
    leave out is there once for each, as `featcache.datasets.exclude_list.write_exclude` joins their reasons.

    Parameters
    ----------
    lists
        What the parts of an audit found. A row that an entry leaves out is its own, or among those that it resembles.
    """
    return [
        (name, f"{found.kind}: {why}")
        for found in lists
        for entry in found.entries
        if entry.certain
        for name, why in _left_out(entry)
    ]


def _left_out(entry: Suspect) -> Iterable[tuple[str, str]]:
    """Yield the photos that an entry leaves out: itself, with what speaks against it, or copies of what stays."""
    out = set(entry.leave_out)
    if entry.row in out:
        suggested = f"; probably {entry.suggested}" if entry.suggested else ""
        yield entry.id, f"{entry.why}{suggested}"
    for own in entry.resembles:
        if own.row in out:
            labelled = f", {entry.label}" if entry.label else ""
            yield own.id, f"{own.relation}: {entry.id} ({entry.split}{labelled}) stays"
