"""What this machine has for featcache, and what is wrong with it: collected, not fixed."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from featcache import __version__
from featcache.paths import home, offline

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "h5py", "pillow", "safetensors", "scikit-learn")

LOW_SPACE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Parameters
    ----------
    topic
        What was looked at.
    state
        ``"ok"``, ``"note"`` (worth knowing) or ``"bad"`` (featcache cannot work like this).
    detail
        What was found, and what to do about it.
    """

    topic: str
    state: str
    detail: str


def examine(folder: str | os.PathLike[str] = ".") -> list[Finding]:
    """Examine the machine and the caches in a folder.

    Parameters
    ----------
    folder
        Where to look for caches, unfinished extractions and locks.
    """
    found: list[Finding] = []
    for examination in (_python, _packages, _devices, _home, _weights):
        found += examination()
    return [*found, *_folder(Path(folder))]


def _python() -> Iterator[Finding]:
    good = sys.version_info >= (3, 11)
    yield Finding(
        "python",
        "ok" if good else "bad",
        f"featcache {__version__}, Python {platform.python_version()}, {platform.platform()}"
        + ("" if good else "; Python 3.11 or newer is needed"),
    )


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "bad", f"not installed; pip install {name}")


def _devices() -> Iterator[Finding]:
    try:
        import jax

        devices = jax.devices()
    except Exception as error:
        yield Finding("devices", "bad", f"JAX cannot start: {type(error).__name__}: {error}")
        return
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    cores = f", {os.cpu_count()} cores" if devices[0].platform == "cpu" else ""
    yield Finding("devices", "ok", f"{len(devices)} × {devices[0].platform} ({kinds}{cores})")


def _home() -> Iterator[Finding]:
    place = home()
    existing = next(p for p in (place, *place.absolute().parents) if p.exists())
    if not os.access(existing, os.W_OK):
        yield Finding(
            "home", "note", f"{place} cannot be written: downloads have nowhere to go; set FEATCACHE_HOME"
        )
    else:
        yield Finding("home", "ok", f"{place}{'' if place.exists() else ' (not made yet)'}{_free(existing)}")
    yield Finding(
        "network", "note" if offline() else "ok", "FEATCACHE_OFFLINE is set" if offline() else "allowed"
    )


def _free(place: Path) -> str:
    return f", {shutil.disk_usage(place).free / 1e9:.1f} GB free"


def _weights() -> Iterator[Finding]:
    from featcache.backbones import pretrained_weights
    from featcache.backbones.pretrained import how_to_get, locate

    for name, weights in pretrained_weights().items():
        path = locate(weights)
        yield Finding(
            name, "ok" if path else "note", str(path) if path else f"not here: {how_to_get(weights)}"
        )


def _folder(folder: Path) -> Iterator[Finding]:
    from featcache.cache.lock import owner_of

    free = shutil.disk_usage(folder).free
    yield Finding(
        "folder",
        "note" if free < LOW_SPACE_BYTES else "ok",
        f"{folder.resolve()}{_free(folder)}" + (": little" if free < LOW_SPACE_BYTES else ""),
    )
    for record in sorted(folder.glob("*.h5.owner.json")):
        yield Finding("lock", "note", f"{record.name}: {owner_of(record)}")
    for unfinished in sorted(folder.glob("*.partial.h5")):
        yield Finding(
            "unfinished", "note", f"{unfinished.name}: run its featcache extract command again to go on"
        )
