"""Discriminative learning rates: which parameter learns how fast, by patterns of stage names."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from featcache.errors import UsageError, did_you_mean


def learning_rates(
    names: Iterable[str], rates: Sequence[tuple[str, float]], *, default: float
) -> dict[str, float]:
    """Return the learning rate of each parameter.

    Parameters
    ----------
    names
        Parameters that train, such as ``"block_13.expand.conv.kernel"`` or ``"head.bias"``.
    rates
        Pattern (``*``, ``?``, ``[…]``) and learning rate; the first that matches decides. A pattern without a dot is
        one of stages, with a dot one of whole parameter names.
    default
        Everybody's, where there are no `rates`.

    Raises
    ------
    UsageError
        If a parameter is matched by no pattern, or a pattern matches none: neither can be meant.
    """
    names = list(names)
    if not rates:
        return dict.fromkeys(names, default)
    decided = {
        name: next((pattern for pattern, _ in rates if _matches(name, pattern)), None) for name in names
    }
    if unmatched := [name for name, pattern in decided.items() if pattern is None]:
        stages = list(dict.fromkeys(name.partition(".")[0] for name in unmatched))
        raise UsageError(
            f"{len(unmatched)} of {len(names)} parameters have no learning rate, in {', '.join(stages[:8])}"
            f"{', …' if len(stages) > 8 else ''}; end with a rate for the others, such as '*=1e-5'"
        )
    for pattern, _ in rates:
        if not any(_matches(name, pattern) for name in names):
            stages = dict.fromkeys(name.partition(".")[0] for name in names)
            raise UsageError(f"rate {pattern!r} matches nothing that trains; {did_you_mean(pattern, stages)}")
    known = dict(reversed(rates))
    return {name: known[str(pattern)] for name, pattern in decided.items()}


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name if "." in pattern else name.partition(".")[0], pattern)
