"""Which method explains a network: chosen from its head and its layers, and named in words."""

from dataclasses import dataclass

from featcache.errors import UnknownNameError, UsageError, did_you_mean
from featcache.explanations.places import averaged_map, block_stages, last_map, require_map
from featcache.explanations.subject import Subject

AUTO = "auto"
CAM, GRAD_CAM, GRADIENT, OCCLUSION, ROLLOUT = "cam", "grad-cam", "gradient", "occlusion", "rollout"
METHODS = (AUTO, CAM, GRAD_CAM, GRADIENT, OCCLUSION, ROLLOUT)


@dataclass(frozen=True)
class Method:
    """A method, and the map that it is taken at.

    Parameters
    ----------
    name
        One of `METHODS`, but for ``auto``.
    stage
        Point of the chain; empty for occlusion, and for rollout, which takes all blocks.
    exact
        Whether the mean of each map, plus the head's bias, is the logit.
    averaged
        Of an exact map: whether the head reads its average, or the map itself.
    words
        What it is, as a sentence.
    """

    name: str
    stage: str
    words: str
    exact: bool = False
    averaged: bool = True


def choose(subject: Subject, method: str = AUTO, stage: str | None = None) -> Method:
    """Return the method that was asked for, or the best that the subject allows.

    Raises
    ------
    UnknownNameError
        If there is no such method or stage.
    UsageError
        If the subject does not allow it; says which it does.
    """
    if method not in METHODS:
        raise UnknownNameError(f"no method {method!r}; {did_you_mean(method, METHODS)}")
    name = _auto(subject, stage) if method == AUTO else method
    if stage is not None and name in (CAM, OCCLUSION, ROLLOUT):
        where = "the map that the head averages" if name == CAM else "no single stage"
        raise UsageError(f"method {name} takes {where}; leave --stage out, or ask for --method {GRAD_CAM}")
    return _MAKE[name](subject, stage)


def _auto(subject: Subject, stage: str | None) -> str:
    if subject.head is None or subject.layer is None:
        return OCCLUSION
    if stage is None and subject.head.linear and _map_of_head(subject) is not None:
        return CAM
    tokens = bool(block_stages(subject.network, subject.layer))
    if stage is None and last_map(subject.network, subject.layer, subject.transforms) is None:
        return OCCLUSION
    return GRADIENT if tokens else GRAD_CAM


def _map_of_head(subject: Subject) -> str | None:
    assert subject.layer is not None
    if subject.layer.pooling in ("map", "flatten") and block_stages(subject.network, subject.layer):
        return None  # all tokens, of which the first stand for no place
    return averaged_map(subject.network, subject.layer, subject.transforms)


def _cam(subject: Subject, stage: str | None) -> Method:
    del stage
    reason = "its head has no weights" if subject.head is None else "its head is not linear"
    if subject.head is not None and subject.head.linear:
        reason = f"{subject.layer_name} is no average of a map"
    found = None
    if subject.layer is not None and subject.head is not None and subject.head.linear:
        found = _map_of_head(subject)
    if found is None:
        raise UsageError(
            f"method {CAM} needs a linear head on the average of a map, and {reason}; leave --method out: the best "
            "method that there is will be taken"
        )
    assert subject.layer is not None
    assert subject.head is not None
    averaged = subject.layer.pooling not in ("map", "flatten")
    reads = "the average of" if averaged else "all of"
    length = ", brought to length 1" if subject.head.form.unit_rows else ""
    return Method(
        CAM,
        found,
        f"Exact class-activation map at {found}: the head is linear and reads {reads} this map{length}, so that the "
        "mean of each heat map plus the head's bias is the score (logit) itself.",
        exact=True,
        averaged=averaged,
    )


def _gradient_stage(subject: Subject, stage: str | None, name: str) -> str:
    if subject.head is None or subject.layer is None:
        what = "the colours of the photo alone" if subject.layer is None else "the nearest training photos"
        raise UsageError(
            f"method {name} needs a head with a gradient, and this one goes by {what}; ask for --method {OCCLUSION}"
        )
    if stage is not None:
        return require_map(subject.network, stage, subject.transforms, subject.layer)
    found = last_map(subject.network, subject.layer, subject.transforms)
    if found is None:
        raise UsageError(
            f"method {name}: no stage before {subject.layer} is a map; ask for --method {OCCLUSION}"
        )
    return found


def _grad_cam(subject: Subject, stage: str | None) -> Method:
    place = _gradient_stage(subject, stage, GRAD_CAM)
    return Method(
        GRAD_CAM,
        place,
        f"Grad-CAM at {place}: each channel of this map counts by how the score changes with it on average. An "
        "estimate, not exact.",
    )


def _gradient(subject: Subject, stage: str | None) -> Method:
    place = _gradient_stage(subject, stage, GRADIENT)
    return Method(
        GRADIENT,
        place,
        f"Gradient times value at {place}: each place counts by how the score changes with what the network holds "
        "there. An estimate, not exact.",
    )


def _occlusion(subject: Subject, stage: str | None) -> Method:
    del subject, stage
    return Method(
        OCCLUSION,
        "",
        "Occlusion: how much the score falls where a square of the photo is hidden, averaged over the squares that "
        "cover a place. Measured, not computed from gradients; other things may be hidden with it.",
    )


def _rollout(subject: Subject, stage: str | None) -> Method:
    del stage
    if subject.layer is None or not block_stages(subject.network, subject.layer):
        raise UsageError(
            f"method {ROLLOUT} follows the attention of a transformer, and there is none before {subject.layer_name}; "
            "leave --method out"
        )
    return Method(
        ROLLOUT,
        "",
        "Attention rollout: how much of each patch reaches the head through the attention of all blocks. It knows of "
        "no class: where the network looks, not what for.",
    )


_MAKE = {
    CAM: _cam,
    GRAD_CAM: _grad_cam,
    GRADIENT: _gradient,
    OCCLUSION: _occlusion,
    ROLLOUT: _rollout,
}
