"""Cells of a report's tables."""

from typing import Any

from featcache.core.display import percent, percents

Interval = tuple[float, float] | None
"""Ends of a 95 % interval; ``None`` where no row tells."""


def share_cell(value: float | None, interval: Interval) -> dict[str, Any] | None:
    """Return a cell with a share and its interval, sorted by the share; ``None``, shown as –, where no row tells."""
    if value is None or interval is None:
        return None
    return {"value": value, "text": f"{percent(value)} ({percents(*interval)})"}
