"""What ``featcache doctor`` says of the devices: what JAX computes on, what its memory is, and what is odd.

The facts are gathered in one place, and what follows from them is a function of them alone.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from featcache.core.devices.choice import CUDA_HIDDEN

OK, NOTE, BAD = "ok", "note", "bad"

PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")
LIBRARIES = ("jax", "jaxlib", *PLUGINS, "libtpu")

NVIDIA = ("/dev/nvidia0", "/dev/nvidiactl", "/proc/driver/nvidia/version")
"""What a driver of NVIDIA's shows where there is a card."""

PREALLOCATE, FRACTION = "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION"
ALLOCATOR = "XLA_PYTHON_CLIENT_ALLOCATOR"
SETTINGS = (
    "JAX_PLATFORMS",
    "CUDA_VISIBLE_DEVICES",
    "JAX_CUDA_VISIBLE_DEVICES",
    PREALLOCATE,
    FRACTION,
    ALLOCATOR,
    "XLA_FLAGS",
)
"""Variables that decide what JAX computes on, and how much of a card's memory it takes."""

USUAL_FRACTION = 0.75
"""What JAX takes of a card's memory when it starts, unless told otherwise."""


@dataclass(frozen=True)
class Facts:
    """What is known of this machine's devices.

    Parameters
    ----------
    platform
        JAX's name of what it computes on; empty where JAX does not start.
    kinds
        The kind of each device.
    memory
        Bytes that JAX may take of each; empty where it does not say.
    versions
        Of those of `LIBRARIES` that are installed.
    environment
        Those of `SETTINGS` that are set.
    card
        Where a card of NVIDIA's was seen; empty if none was.
    cores
        Of the processor.
    failure
        Why JAX does not start.
    """

    platform: str
    kinds: Sequence[str] = ()
    memory: Sequence[int] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    card: str = ""
    cores: int = 1
    failure: str = ""


def gathered() -> Facts:
    """Gather the facts; starts JAX's devices."""
    common: dict[str, Any] = {
        "versions": dict(_versions()),
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "card": next((path for path in NVIDIA if Path(path).exists()), ""),
        "cores": os.cpu_count() or 1,
    }
    try:
        from featcache.core.devices.choice import used_devices

        devices = used_devices()
    except Exception as error:  # whatever a plugin raises
        return Facts("", failure=f"{type(error).__name__}: {error}".strip(": "), **common)
    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in devices]
    return Facts(
        devices[0].platform,
        kinds=[device.device_kind for device in devices],
        memory=limits if all(limits) else (),
        **common,
    )


def _versions() -> Iterator[tuple[str, str]]:
    for name in LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def findings(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Yield topic, state (`OK`, `NOTE` or `BAD`) and a sentence for each thing to say, the devices first."""
    if facts.failure:
        allowed = facts.environment.get("JAX_PLATFORMS", "")
        instead = f"; JAX_PLATFORMS={allowed} allows it nothing else: unset it" if allowed else ""
        yield "devices", BAD, f"JAX cannot start: {facts.failure}{instead}"
    else:
        kinds = ", ".join(sorted(set(facts.kinds)))
        cores = f", {facts.cores} cores" if facts.platform == "cpu" else ""
        yield "devices", OK, f"{len(facts.kinds)} × {facts.platform} ({kinds}{cores})"
    if facts.platform == "gpu":
        yield "memory", OK, _memory(facts)
    if facts.environment:
        yield "settings", OK, ", ".join(f"{name}={value}" for name, value in facts.environment.items())
    for state, sentence in _oddities(facts):
        yield "devices", state, sentence


def _memory(facts: Facts) -> str:
    """Say how much of each card's memory JAX takes, and how that is changed."""
    limits = sorted({f"{limit / 1e9:.1f}" for limit in facts.memory}, key=float)
    most = f"at most {' or '.join(limits)} GB of each, " if limits else ""
    environment = facts.environment
    if environment.get(ALLOCATOR, "").lower() == "platform":
        return f"{most}taken and given back for each array ({ALLOCATOR}=platform), which is slow"
    if environment.get(PREALLOCATE, "").lower() in ("false", "0"):
        return f"{most}taken as it is needed ({PREALLOCATE}=false)"
    share = environment.get(FRACTION, f"{USUAL_FRACTION}")
    return (
        f"{most}the share {share} taken at the start; {FRACTION}=.5 or {PREALLOCATE}=false leave others more"
    )


def _oddities(facts: Facts) -> Iterator[tuple[str, str]]:
    plugins = [name for name in PLUGINS if name in facts.versions]
    yield from _mismatches(facts, plugins)
    if facts.platform in ("gpu", "tpu") or facts.failure:
        return
    allowed = facts.environment.get("JAX_PLATFORMS", "").lower()
    if allowed and not any(name in allowed for name in ("cuda", "gpu", "tpu", "rocm")):
        hidden = plugins or (["libtpu"] if "libtpu" in facts.versions else [])
        if hidden:
            yield (
                NOTE,
                f"{hidden[0]} is installed, and JAX_PLATFORMS={allowed} keeps JAX from using it; unset it",
            )
    elif plugins and facts.environment.get("CUDA_VISIBLE_DEVICES", "0").strip() in CUDA_HIDDEN:
        yield (
            NOTE,
            (
                f"{plugins[0]} is installed, and CUDA_VISIBLE_DEVICES={facts.environment['CUDA_VISIBLE_DEVICES']} "
                "hides every card; unset it"
            ),
        )
    elif plugins and facts.card:
        yield (
            NOTE,
            (
                f"an NVIDIA card is here ({facts.card}) and {plugins[0]} is installed, and JAX computes on the "
                "CPU all the same; JAX_PLATFORMS=cuda featcache doctor says why"
            ),
        )
    elif plugins:
        yield NOTE, f"{plugins[0]} is installed, and no NVIDIA card is seen (no {NVIDIA[0]})"
    if facts.card and not plugins:
        yield (
            NOTE,
            (
                f"an NVIDIA card is here ({facts.card}), and JAX has no CUDA: pip install 'featcache[cuda12]', or "
                "[cuda13] with a driver of version 580 or newer"
            ),
        )
    if "libtpu" in facts.versions and not allowed:
        yield NOTE, "libtpu is installed, and JAX finds no TPU"


def _mismatches(facts: Facts, plugins: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Tell of libraries that are not of one release; JAX then leaves a plugin out with a warning at most."""
    jax, jaxlib = facts.versions.get("jax"), facts.versions.get("jaxlib")
    if len(plugins) > 1:
        yield NOTE, f"{' and '.join(plugins)} are both installed; uninstall the one of the older CUDA"
    if jax is None or jaxlib is None:  # said among the packages
        return
    if jax.split(".")[:2] != jaxlib.split(".")[:2]:
        yield NOTE, f"jax {jax} and jaxlib {jaxlib} are of two releases; pip install -U jax jaxlib"
    for name in plugins:
        if facts.versions[name] != jaxlib:
            extra = name.split("-")[1]
            yield (
                NOTE,
                (
                    f"{name} {facts.versions[name]} and jaxlib {jaxlib} are of two releases, so JAX may leave "
                    f"the cards out; pip install -U 'featcache[{extra}]'"
                ),
            )
