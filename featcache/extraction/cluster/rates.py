"""Images per second by actor."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Rates:
    """Images of each actor, by its name, and since when it has computed."""

    images: Counter[str] = field(default_factory=Counter)
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

    def take(self, name: str, images: int, now: float, *, since: float) -> None:
        """Count what an actor has computed by `now`; `since` is when it could begin."""
        self.images[name] += images
        self.began.setdefault(name, since)
        self.ended[name] = now

    def per_second(self) -> dict[str, float]:
        """Return images/s of each actor that has computed any."""
        return {
            name: count / max(1e-9, self.ended[name] - self.began[name])
            for name, count in sorted(self.images.items())
            if count
        }


def told_rates(rates: Mapping[str, float], most: int = 8) -> str:
    """Return images/s by actor as text.

    >>> told_rates({"actor 1 on a": 41.23, "actor 2 on b": 9.0})
    'actor 1 on a 41.2, actor 2 on b 9.0 images/s'
    """
    parts = [f"{name} {rate:,.1f}" for name, rate in rates.items()]
    more = [f"{len(parts) - most} more"] if len(parts) > most else []
    return ", ".join([*parts[:most], *more]) + " images/s" if parts else ""
