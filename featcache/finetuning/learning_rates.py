"""Discriminative learning rates: one for each parameter, by patterns of stage names."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from featcache.errors import UsageError, did_you_mean


def learning_rates(
    stages: Mapping[str, str], rates: Sequence[tuple[str, float]], *, default: float
) -> dict[str, float]:
    """Return the learning rate of each parameter.

    Parameters
    ----------
    stages
        Trained parameters, such as ``"block_13.expand.conv.kernel"`` or ``"head.bias"``, to their stages.
    rates
        Pattern (``*``, ``?``, ``[…]``) of stages or of parameters, and learning rate; the first that matches decides.
    default
        Learning rate of all parameters, where there are no `rates`.

    Raises
    ------
    UsageError
        If a parameter matches no pattern, or a pattern matches no parameter.
    """
    if not rates:
        return dict.fromkeys(stages, default)

    def matches(name: str, pattern: str) -> bool:
        return fnmatchcase(stages[name], pattern) or fnmatchcase(name, pattern)

    found = {name: next((rate for pattern, rate in rates if matches(name, pattern)), None) for name in stages}
    if unmatched := [name for name, rate in found.items() if rate is None]:
        where = list(dict.fromkeys(stages[name] for name in unmatched))
        raise UsageError(
            f"{len(unmatched)} of {len(stages)} parameters have no learning rate, in {', '.join(where[:8])}"
            f"{', …' if len(where) > 8 else ''}; end with a rate for the others, such as '*=1e-5'"
        )
    for pattern, _ in rates:
        if not any(matches(name, pattern) for name in stages):
            known = dict.fromkeys(stages.values())
            raise UsageError(f"rate {pattern!r} matches nothing that trains; {did_you_mean(pattern, known)}")
    return {name: rate for name, rate in found.items() if rate is not None}
