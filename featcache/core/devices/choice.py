"""Which devices this process computes on: those that JAX finds, or those that a user names.

JAX's own settings are the only place where the choice is kept, so that whoever sets them decides as well:
``jax_platforms`` and ``jax_cuda_visible_devices`` before JAX starts, ``jax_default_device`` afterwards.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featcache.core.argument_types import checked_types, spelled
from featcache.core.forked import jax_has_started
from featcache.errors import UsageError, did_you_mean, first_line

AUTO, CPU, CUDA, TPU = KINDS = ("auto", "cpu", "cuda", "tpu")

_SAME = {CPU: {"cpu"}, CUDA: {"cuda", "gpu"}, TPU: {"tpu"}}
"""What ``JAX_PLATFORMS`` may call each kind."""

CUDA_HIDDEN = ("", "-1", "none", "NoDevFiles")
"""Values of ``CUDA_VISIBLE_DEVICES`` that hide every card."""


@dataclass(frozen=True)
class Wanted:
    """The devices that were asked for.

    Parameters
    ----------
    kind
        One of `KINDS`.
    numbers
        Of cards, as CUDA counts those that the process may see; none for all.
    """

    kind: str
    numbers: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.kind + (f":{','.join(map(str, self.numbers))}" if self.numbers else "")


@checked_types()
def use_device(device: str) -> None:
    """Choose the devices that this process computes on; the option ``--device`` of commands.

    Call it first in the process: once JAX has computed something, it has taken its devices, and only one of those can
    be chosen, or all. All devices that are chosen are used together: batches of photos and fine-tuning's batches are
    shared out among them, and so are the heads of a sweep.

    Parameters
    ----------
    device
        ``"cpu"``; ``"cuda"`` (all cards), ``"cuda:1"`` or ``"cuda:0,2"`` (these cards, and nothing is taken of others'
        memory; numbers count those that ``CUDA_VISIBLE_DEVICES`` leaves); ``"tpu"``; or ``"auto"``, which leaves JAX
        its choice: an accelerator, if there is one.

    Raises
    ------
    UsageError
        If there is no such device; it names those that were found. If ``JAX_PLATFORMS``, ``CUDA_VISIBLE_DEVICES`` or
        ``JAX_CUDA_VISIBLE_DEVICES`` say otherwise, or allow JAX nothing that is there. If JAX has started already, and
        what it started with cannot serve.

    Examples
    --------
    >>> use_device("cpu")
    """
    wanted = parsed(device)
    if wanted.kind == AUTO:
        _require_start(os.environ)
        return
    _refuse_contradiction(wanted, os.environ)
    if jax_has_started():
        _choose_among_started(wanted)
    else:
        _start_with(wanted)


def parsed(device: str) -> Wanted:
    """Read what was asked for, such as ``"cuda:0,1"``; raises `UsageError` if it is no such text."""
    kind, colon, rest = device.strip().lower().partition(":")
    if kind == "gpu" or kind.isdecimal():  # JAX's name, and torch's numbers
        card = f"{CUDA}{colon}{rest}" if kind == "gpu" else f"{CUDA}:{kind}"
        raise UsageError(
            f"no {spelled('device')} {device!r}; NVIDIA's cards are called cuda: say {card}, or auto for whatever "
            "card JAX finds"
        )
    if kind not in KINDS:
        raise UsageError(f"no {spelled('device')} {device!r}; {did_you_mean(kind, KINDS)}")
    if not colon:
        return Wanted(kind)
    if kind != CUDA:
        instead = "set TPU_VISIBLE_CHIPS to use some of its chips" if kind == TPU else f"say {kind}"
        raise UsageError(f"{spelled('device')} {device!r}: only cuda takes numbers, as cuda:0,1; {instead}")
    if not re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", rest):
        raise UsageError(
            f"{spelled('device')} {device!r}: expected numbers of cards after the colon, as cuda:0 or cuda:0,1"
        )
    numbers = tuple(map(int, rest.split(",")))
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"{spelled('device')} {device!r} names a card twice; name each once")
    return Wanted(kind, numbers)


def _platforms(environment: Mapping[str, str]) -> list[str]:
    """Return what ``JAX_PLATFORMS`` allows; nothing where it is not set."""
    return [name.strip().lower() for name in environment.get("JAX_PLATFORMS", "").split(",") if name.strip()]


def _require_start(environment: Mapping[str, str]) -> None:
    """Raise where the environment allows JAX nothing that starts here: JAX itself fails later, and wordless."""
    platforms = _platforms(environment)
    if not platforms or CPU in platforms:
        return
    import jax

    try:
        jax.local_devices()
    except (
        Exception
    ) as error:  # RuntimeError of a name that is unknown, AssertionError where a plugin is missing
        allowed = environment["JAX_PLATFORMS"]
        why = f" ({first_line(error)})" if str(error).strip() else ""
        raise UsageError(
            f"JAX_PLATFORMS={allowed} allows JAX nothing but {' and '.join(platforms)}, and none of it starts "
            f"here{why}; unset it to compute on what is there. featcache doctor says more"
        ) from None


def _refuse_contradiction(wanted: Wanted, environment: Mapping[str, str]) -> None:
    """Raise where the environment says something else than what was asked for."""
    platforms = _platforms(environment)
    if platforms and not _SAME[wanted.kind].intersection(platforms):
        raise _contradiction(
            wanted, "JAX_PLATFORMS", environment, f"allows JAX nothing but {' and '.join(platforms)}"
        )
    if wanted.kind != CUDA:
        return
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in CUDA_HIDDEN:
        raise _contradiction(wanted, "CUDA_VISIBLE_DEVICES", environment, "hides every card")
    if visible is not None and max(wanted.numbers, default=0) >= len(visible.split(",")):
        left = len(visible.split(","))
        raise _contradiction(
            wanted,
            "CUDA_VISIBLE_DEVICES",
            environment,
            f"leaves {left} of the cards, which are counted anew: {CUDA}:{','.join(map(str, range(left)))}",
        )
    own = environment.get("JAX_CUDA_VISIBLE_DEVICES", "all").strip()
    if wanted.numbers and own != "all" and own != ",".join(map(str, wanted.numbers)):
        raise _contradiction(wanted, "JAX_CUDA_VISIBLE_DEVICES", environment, f"allows JAX the cards {own}")


def _contradiction(wanted: Wanted, name: str, environment: Mapping[str, str], meaning: str) -> UsageError:
    return UsageError(
        f"{spelled('device')} {wanted} and {name}={environment[name]} contradict each other: the variable {meaning}; "
        f"leave out {spelled('device')}, or unset {name}"
    )


def _start_with(wanted: Wanted) -> None:
    """Have JAX start with these devices and no others, and see that they are there."""
    import jax

    settings: Any = jax.config  # whose values no type names
    before = settings.jax_platforms
    # The CPU stays beside an accelerator, for arrays that are kept out of its memory.
    jax.config.update("jax_platforms", CPU if wanted.kind == CPU else f"{wanted.kind},{CPU}")
    if wanted.kind == CPU:
        return
    if wanted.numbers:
        jax.config.update("jax_cuda_visible_devices", ",".join(map(str, wanted.numbers)))
    try:
        found = _of_kind(jax.devices(), wanted.kind)
        reason = ""
    except RuntimeError as error:
        found, reason = [], f" ({first_line(error)})"
    if len(found) < max(1, len(wanted.numbers)):
        # Nobody is left with a choice that failed.
        jax.config.update("jax_platforms", before)
        jax.config.update("jax_cuda_visible_devices", os.environ.get("JAX_CUDA_VISIBLE_DEVICES", "all"))
        raise _missing(wanted, reason)


def _choose_among_started(wanted: Wanted) -> None:
    """Choose one of the devices that JAX has started with, or all of them."""
    import jax

    try:
        found = jax.local_devices(backend=wanted.kind)
    except RuntimeError as error:
        raise _missing(wanted, f" ({first_line(error)})") from None
    # CUDA's numbers: those of a process that sees some of the cards only start from 0 in JAX, too.
    places = wanted.numbers or range(len(found))
    if max(places) >= len(found):
        raise _missing(wanted, "")
    chosen = [found[place] for place in places]
    if len(chosen) == len(found) and found[0].platform == jax.default_backend():
        jax.config.update(
            "jax_default_device", None
        )  # as it is: another value would have programs compiled anew
    elif len(chosen) == 1:
        jax.config.update("jax_default_device", chosen[0])
    elif wanted.kind == CPU:
        jax.config.update("jax_default_device", found[0])
    else:
        raise UsageError(
            f"{spelled('device')} {wanted}: JAX has started already in this process, on {_named(found)}, and several "
            "of its devices can be chosen only before; call featcache.use_device before anything is computed, or set "
            f"CUDA_VISIBLE_DEVICES={','.join(map(str, places))}"
        )


def _missing(wanted: Wanted, reason: str) -> UsageError:
    import jax

    try:
        found = _named(jax.local_devices())
    except RuntimeError as error:
        found = f"nothing that starts ({first_line(error)})"
    extra = {CUDA: "cuda12", TPU: "tpu"}.get(wanted.kind)
    install = f"; for it JAX needs: pip install 'featcache[{extra}]'" if extra else ""
    return UsageError(
        f"{spelled('device')} {wanted}: JAX does not find it{reason}; it finds {found}. Name one of these, or leave "
        f"{spelled('device')} out{install}; featcache doctor says more"
    )


def _named(devices: Sequence[Any]) -> str:
    """Return how many devices of which kind there are."""
    kinds = [f"{device.platform} ({device.device_kind})" for device in devices]
    return ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))


def _of_kind(devices: Sequence[Any], kind: str) -> list[Any]:
    return [device for device in devices if device.platform in _SAME[kind]]


def used_devices() -> list[Any]:
    """Return the local devices that this process computes on; several are used together."""
    import jax

    settings: Any = jax.config
    chosen = settings.jax_default_device
    if chosen is None:
        return jax.local_devices()
    return jax.local_devices(backend=chosen) if isinstance(chosen, str) else [chosen]


def platform() -> str:
    """Return JAX's name of what this process computes on: ``"cpu"``, ``"gpu"`` or ``"tpu"``."""
    return used_devices()[0].platform


def on_cpu() -> bool:
    """Return whether this process computes on the CPU."""
    return platform() == CPU


def why_not_started(error: BaseException) -> str:
    """Return what a user is told if JAX could not start on what ``JAX_PLATFORMS`` names; ``""`` of other errors."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    # Of a platform that it knows and does not find, JAX only asserts that there is one.
    known = isinstance(error, RuntimeError) and str(error).startswith("Unable to initialize backend")
    alone = isinstance(error, AssertionError) and not str(error) and "jax" in sys.modules
    if not platforms or not (known or alone) or jax_has_started():
        return ""
    reason = f" ({first_line(error)})" if known else ""
    return (
        f"JAX_PLATFORMS={platforms}: JAX does not start on it{reason}; unset it, or set cpu; featcache doctor says "
        "more"
    )
