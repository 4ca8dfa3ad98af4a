"""``featcache doctor``: report what featcache finds on this machine, and problems, without fixing them."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from featcache.cli.console import Console, Json, Quiet, Verbose
from featcache.cli.terminal.drawings import Table, Whole
from featcache.core.devices.diagnosis import findings, gathered
from featcache.core.disk.names import FOLDER, kind_of, require_folder
from featcache.core.disk.storage import storage_errors
from featcache.core.environment import home, offline
from featcache.core.version import __version__

NAME = "doctor"
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "h5py",
    "pillow",
    "safetensors",
    "scikit-learn",
    "scipy",
)

LOW_SPACE_BYTES = 1 << 30


def command(
    folder: Annotated[Path, typer.Argument(help="Folder to search for caches and locks.")] = Path(),
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Examine the machine: versions, devices, weights, space, unfinished caches and locks.

    The state in a few lines; with --verbose each package, each set of weights and where it is to be had.
    Exit code 1 if something that featcache needs is missing.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    findings = examine(folder)
    shown = findings if verbose else summary(findings)
    rows = [(finding.state, finding.topic, finding.detail) for finding in shown]
    console.result(
        {"findings": [_plain(f) for f in findings]}, [*map(Whole, Table(("", "", ""), rows).lines()[1:])]
    )
    return int(any(finding.state == "bad" for finding in findings))


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report.

    Parameters
    ----------
    topic
        Subject of the line.
    state
        ``"ok"``, ``"note"`` (worth knowing) or ``"bad"`` (featcache cannot work like this).
    detail
        The finding, and what to do about it.
    kind
        What it is one of many of: ``"package"``, ``"weights"`` or ``"left"``; else empty.
    """

    topic: str
    state: str
    detail: str
    kind: str = ""


def _plain(found: Diagnosis) -> dict[str, str]:
    return {"topic": found.topic, "state": found.state, "detail": found.detail}


MOST_LINES = 15


def summary(findings: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Return the state in at most `MOST_LINES` lines: one for packages, one for weights, some of what is left."""
    packages, weights, left = (
        [each for each in findings if each.kind == kind] for kind in ("package", "weights", "left")
    )
    missing = [each for each in packages if each.state == "bad"]
    rest = [each for each in findings if not each.kind]
    lines = [rest[0], *_packages_in_one(packages, missing), *rest[1:-1], _weights_in_one(weights), rest[-1]]
    room = MOST_LINES - len(lines)
    if len(left) > room:
        more = len(left) - (room - 1)
        left = [
            *left[: room - 1],
            Diagnosis("and more", "note", f"{more} locks or unfinished caches; -v lists all"),
        ]
    return lines + left


def _packages_in_one(packages: Sequence[Diagnosis], missing: Sequence[Diagnosis]) -> Iterator[Diagnosis]:
    there = ", ".join(f"{each.topic} {each.detail}" for each in packages if each not in missing)
    if missing:
        names = " ".join(each.topic for each in missing)
        yield Diagnosis("packages", "bad", f"not installed: {names}; pip install {names}")
    if there:
        yield Diagnosis("packages", "ok", there)


def _weights_in_one(weights: Sequence[Diagnosis]) -> Diagnosis:
    from featcache.backbones.registry import DEFAULT

    here = [each.topic for each in weights if each.state == "ok"]
    default = any(name.startswith(f"{DEFAULT}.") for name in here)
    told = f"{len(here)} of {len(weights)} sets are here, {'also' if default else 'not'} of the default, {DEFAULT}"
    return Diagnosis(
        "weights", "ok" if default else "note", f"{told}; -v lists them, and where others are had"
    )


def examine(folder: str | os.PathLike[str] = ".") -> list[Diagnosis]:
    """Examine the machine and the caches in a folder.

    Parameters
    ----------
    folder
        Folder to search for caches, unfinished extractions and locks.
    """
    found: list[Diagnosis] = []
    for examination in (_python, _packages, _devices, _home, _compiled_programs, _weights):
        found += examination()
    return [*found, *_folder(Path(folder))]


def _python() -> Iterator[Diagnosis]:
    good = sys.version_info >= (3, 11)
    yield Diagnosis(
        "python",
        "ok" if good else "bad",
        f"featcache {__version__}, Python {platform.python_version()}, {platform.platform()}"
        + ("" if good else "; Python 3.11 or newer is needed"),
    )


def _packages() -> Iterator[Diagnosis]:
    for name in PACKAGES:
        try:
            yield Diagnosis(name, "ok", version(name), "package")
        except PackageNotFoundError:
            yield Diagnosis(name, "bad", f"not installed; pip install {name}", "package")


def _devices() -> Iterator[Diagnosis]:
    facts = gathered()
    yield from (Diagnosis(*each) for each in findings(facts))
    if not facts.failure:
        yield from _engine()


def _engine() -> Iterator[Diagnosis]:
    from featcache.extraction.engines import FEW, why_not_onnxruntime

    reason = why_not_onnxruntime("float32")
    if reason is None:
        told = f"onnxruntime {version('onnxruntime')} for {FEW} photos or more, jax for fewer"
        yield Diagnosis("engine", "ok", told)
    elif isinstance(reason, ImportError):
        yield Diagnosis("engine", "note", "jax; onnxruntime is faster on CPUs: pip install 'featcache[onnx]'")
    else:
        yield Diagnosis("engine", "ok", "jax")


def _home() -> Iterator[Diagnosis]:
    yield _place_of_home(home())
    yield Diagnosis(
        "network", "note" if offline() else "ok", "FEATCACHE_OFFLINE is set" if offline() else "allowed"
    )


def _place_of_home(place: Path) -> Diagnosis:
    try:
        kind = kind_of(place)
        existing = next(p for p in (place, *place.absolute().parents) if os.path.exists(p))
        free = _free(existing)
    except OSError as error:
        return Diagnosis(
            "home", "note", f"{place} cannot be used: {error.strerror or error}; set FEATCACHE_HOME"
        )
    if not os.access(existing, os.W_OK) or not existing.is_dir():
        why = f" ({existing} is {kind_of(existing)}, no folder)" if not existing.is_dir() else ""
        detail = f"{place} cannot be written{why}, so downloads cannot be stored; set FEATCACHE_HOME"
        return Diagnosis("home", "note", detail)
    if not place.is_absolute():
        detail = f"{place} is below whatever folder a command is run in; set FEATCACHE_HOME to a whole path"
        return Diagnosis("home", "note", detail)
    return Diagnosis("home", "ok", f"{place}{'' if kind == FOLDER else ' (not made yet)'}{free}")


def _free(place: Path) -> str:
    return f", {shutil.disk_usage(place).free / 1e9:.1f} GB free"


def _compiled_programs() -> Iterator[Diagnosis]:
    from featcache.core.compilation_cache import MAX_BYTES, list_programs, programs_folder, why_not

    reason = why_not()
    if reason is not None:
        yield Diagnosis("compiled", "note", f"commands keep no compiled programs: {reason}")
    else:
        most = f"of at most {MAX_BYTES / 1e6:.0f} MB"
        kept = next((each for each in list_programs() if each.here), None)
        told = f"{kept.count} programs, {kept.nbytes / 1e6:.1f} MB {most}" if kept else "none kept yet"
        yield Diagnosis("compiled", "ok", f"{told}, in {programs_folder()}")
    others = [each for each in list_programs() if not each.here]
    if others:
        size = sum(each.nbytes for each in others) / 1e6
        detail = f"{size:.1f} MB of another machine, JAX or featcache; featcache cache gc lists what is old"
        yield Diagnosis("compiled", "note", detail)


def _weights() -> Iterator[Diagnosis]:
    from featcache.backbones.registry import pretrained_weights
    from featcache.backbones.weights.download import how_to_get, locate

    for name, weights in pretrained_weights().items():
        path = locate(weights)
        yield Diagnosis(
            name,
            "ok" if path else "note",
            str(path) if path else f"not here: {how_to_get(weights)}",
            "weights",
        )


def _folder(folder: Path) -> Iterator[Diagnosis]:
    from featcache.cache.layout import PARTIAL
    from featcache.cache.set_aside import is_finished
    from featcache.core.disk.lock import owner_of

    require_folder(folder, "a folder in which to look for caches and locks")
    with storage_errors(folder, "look into"):
        free = shutil.disk_usage(folder).free
    yield Diagnosis(
        "folder",
        "note" if free < LOW_SPACE_BYTES else "ok",
        f"{folder.resolve()}{_free(folder)}" + (": little" if free < LOW_SPACE_BYTES else ""),
    )
    for record in sorted(folder.glob("*.h5.owner.json")):
        yield Diagnosis("lock", "note", f"{record.name}: {owner_of(record)}", "left")
    for unfinished in sorted(path for path in folder.glob(f"*{PARTIAL}") if not is_finished(path)):
        yield Diagnosis(
            "unfinished",
            "note",
            f"{unfinished.name}: run its featcache extract command again to go on",
            "left",
        )
