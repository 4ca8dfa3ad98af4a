"""The lines of a sweep's results, one for each head: what stands in them, and which of them cannot be believed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featcache.cache import FeatureCache
from featcache.classifier.loading import SETTINGS_CONTENT, renamed
from featcache.core.documents.classifier_document import SELECTION
from featcache.core.documents.json_text import plain
from featcache.core.documents.kinds import (
    PATH,
    PRINTABLE,
    SHA256,
    Flag,
    Maybe,
    Misfit,
    Number,
    Record,
    Text,
    Whole,
)
from featcache.core.identity import canonical_json
from featcache.core.tasks import REGRESSION
from featcache.heads.settings import HEADS, Settings
from featcache.solvers.fit import Fit
from featcache.splits.left_out import left_out_record
from featcache.sweeps.data import Protocol
from featcache.sweeps.trials import RELEVANT, Trial

FORMAT = 1

_COUNT = Whole(0)
_NAME = Text(1, 200, pattern=PRINTABLE.pattern, means="a name without control characters")
_ROUNDING = 1e-3
"""Scores are means of float32 numbers."""

LINE = Record(
    {
        "id": _NAME,
        "val_accuracy": Maybe(Number(most=1 + _ROUNDING)),  # null of a head that diverged
        "val_loss": Maybe(Number(-_ROUNDING)),
        "best_epoch": _COUNT,
        "settings": SETTINGS_CONTENT,
        "protocol": SELECTION,
    },
    {
        "format": Whole(1, FORMAT),
        "cache": PATH,
        "backbone": _NAME,
        "layer": _NAME,
        "fingerprint": SHA256,
        "rows_sha256": SHA256,
        "head": Text(choices=HEADS),
        "seed": _COUNT,
        "fold": Maybe(_COUNT),
        "shots": Maybe(_COUNT),
        "epochs_run": _COUNT,
        "converged": Flag(),
        "featcache": PRINTABLE,
    },
)
"""A line of the results: a head that was fitted."""

EARLIER_LINE = Record(
    {
        **LINE.required,
        "settings": Record({}, SETTINGS_CONTENT.optional, closed=True),
        "protocol": Record({}, SELECTION.optional, closed=True),
    },
    LINE.optional,
    closed=True,
)
"""A line of an earlier featcache, without a checksum: every key is known."""


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that matter for this kind of head, as plain JSON values."""
    values = {name: getattr(settings, name) for name in RELEVANT[settings.head]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def varied_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that matter for this kind of head and are not at their default."""
    usual = describe_settings(Settings(head=settings.head))
    return {name: value for name, value in describe_settings(settings).items() if value != usual[name]}


def value_text(value: Any) -> str:
    """Return a setting's value as it is shown: three digits of a number are enough to tell it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        # Up to ten million, a number is read more easily than its power of ten.
        return f"{float(f'{value:.3g}'):.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
    return "×".join(map(value_text, value)) if isinstance(value, list | tuple) else str(value)


def row(trial: Trial, fit: Fit, cache: FeatureCache, protocol: Protocol, identity: str) -> dict[str, Any]:
    """Return a head's result line: everything that is needed to fit it again, and its validation scores."""
    from featcache.core.version import __version__

    return {
        "format": FORMAT,
        "id": identity,
        "cache": str(Path(cache.path).resolve()),
        "backbone": cache.backbone,
        **_description(trial, cache),
        "protocol": _rows_of(protocol),
        "val_accuracy": finite(fit.val_accuracy),
        "val_loss": finite(fit.val_loss),
        "best_epoch": fit.best_epoch,
        "epochs_run": fit.epochs_run,
        "converged": fit.converged,
        "featcache": __version__,
    }


def _rows_of(protocol: Protocol) -> dict[str, Any]:
    """Return the request for rows; of ids that are left out their number and digest, as there are many lines."""
    own = protocol.to_json()
    ids = own.pop("exclude", ())
    return {**own, "left_out": left_out_record(ids)} if ids else own


def _description(trial: Trial, cache: FeatureCache) -> dict[str, Any]:
    """Return what a line says of the head and its features: the same in every line of this trial."""
    return {
        "layer": trial.layer,
        "fingerprint": cache.layers[trial.layer].fingerprint,
        "rows_sha256": cache.identity["rows"]["sha256"],
        "head": trial.settings.head,
        "settings": describe_settings(trial.settings),
        "seed": trial.settings.seed,
        "fold": trial.fold,
        "shots": trial.shots,
    }


def finite(value: float) -> float | None:
    """Return a score as lines and summaries hold it: seven digits, ``None`` where it is infinite or NaN."""
    return float(f"{value:.7g}") if abs(value) < float("inf") else None


def _comparable(line: Mapping[str, Any]) -> dict[str, Any]:
    # One view and all of them are the same where a cache has none: such heads have one name.
    told = renamed(line["settings"])
    settings = {name: value for name, value in told.items() if (name, value) not in _PLAIN}
    return {**line, "settings": settings}


_PLAIN = (("views", None), ("views", 1))


def require_row_of(trial: Trial, cache: FeatureCache, line: Mapping[str, Any]) -> None:
    """Refuse a line that has a trial's name and is of another, or whose score is none of the cache's task.

    Raises
    ------
    Misfit
        Saying what does not fit.
    """
    told, found = _comparable(plain(_description(trial, cache))), _comparable(line)
    for name, value in told.items():
        if name in found and canonical_json(found[name]) != canonical_json(value):
            raise Misfit("is not that of the head whose name it has", name)
    score = line["val_accuracy"]
    if cache.task != REGRESSION and score is not None and score < -_ROUNDING:
        raise Misfit(f"is {score:g}, expected a share of 0 to 1", "val_accuracy")
    if line["best_epoch"] > line.get("epochs_run", line["best_epoch"]):
        raise Misfit(f"is {line['best_epoch']}, expected at most epochs_run", "best_epoch")
