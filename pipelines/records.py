"""Records: one JSON file for each experiment, with all that is needed to repeat it and to judge it.

Every script writes one with `write_record`. ``pipelines/results`` holds those that were made where data and weights
are; ``pipelines/README.md`` is generated from them, and ``featcache report pipelines/results`` makes a page of them.
"""

import datetime
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import featcache
from featcache.core.disk.files import replace_file
from featcache.reports.experiment_records import FORMAT, shown, shown_interval
from featcache.reports.experiment_records import read_records as read_all

CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "h5py", "pillow", "scikit-learn")
"""Whose versions a record holds, beside Python's and featcache's."""


@dataclass(frozen=True)
class Comparison:
    """One line of the table in ``pipelines/README.md``.

    Parameters
    ----------
    what
        What is compared, such as ``"validation accuracy"``.
    published
        Number of the original; ``None`` where it has none.
    ours
        Number of this run; ``None`` where it could not be had.
    interval
        95 % interval of `ours`.
    unit
        ``"%"`` shows 0.894 as 89.4 %; ``"points"`` a difference of 0.007 as +0.7 points; ``"x"`` is a ratio, ``"s"``
        seconds, ``""`` a plain number.
    note
        What differs from the original's protocol, in one clause.
    """

    what: str
    published: float | None
    ours: float | None
    interval: tuple[float, float] | None = None
    unit: str = "%"
    note: str = ""


def write_record(
    output: Path,
    name: str,
    *,
    title: str,
    data: str,
    images: int,
    small: bool,
    weights: Mapping[str, str],
    fingerprints: Sequence[str],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
    comparisons: Sequence[Comparison],
    result: Mapping[str, Any],
    seconds: Mapping[str, float],
    differs: str = "",
    figures: Sequence[str] = (),
) -> Path:
    """Write ``OUTPUT/NAME.json``, and print each comparison; returns the file.

    Parameters
    ----------
    output, name
        Folder, which is made, and name of the record.
    title
        What is reproduced, in one line.
    data, images
        Spec of the dataset, and how many images were used.
    small
        Whether it is of ``--small``: it proves that everything runs, and its numbers mean nothing.
    weights
        Backbone with its tag, to where its weights are from: see `weights_note`.
    fingerprints
        Of the layers of the caches that were used: see `fingerprints_of`.
    seeds
        All seeds of the run.
    settings
        Everything that was chosen.
    comparisons
        Published numbers beside ours.
    result
        All other numbers, plain values.
    seconds
        Name of each stage to its wall time; ``processor`` is added, what this process and its children used of all
        cores, imports and compilation included: on a busy machine it says more.
    differs
        What differs from the original, in one sentence.
    figures
        Names of SVG or PNG files in `output`.
    """
    record = {
        "format": FORMAT.name,
        "format_version": FORMAT.version,
        "name": name,
        "title": title,
        "command": command_line(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "data": data.replace(f"{CHECKOUT}/", ""),
        "images": images,
        "small": small,
        "weights": dict(weights),
        "fingerprints": list(fingerprints),
        "seeds": list(seeds),
        "settings": dict(settings),
        "comparisons": [asdict(each) for each in comparisons],
        "result": dict(result),
        "seconds": {
            **{stage: round(float(value), 1) for stage, value in seconds.items()},
            "processor": round(processor_seconds(), 1),
        },
        "differs": differs,
        "figures": list(figures),
        "versions": versions(),
        "hardware": hardware(),
    }
    record = _plain(record)
    path = output / f"{name}.json"
    FORMAT.check(record, path)
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # At one blow: an empty file, of a run that was killed here, would be taken for no record.
    replace_file(path, text.encode())
    for each in comparisons:
        print(f"{name}: {each.what}: published {shown(each.published, each.unit)}, ours {ours(each)}")
    print(path)
    return path


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a folder, by name; raises `featcache.FeatcacheError` for one that is damaged."""
    return [dict(each.content) for each in read_all([folder])]


def fingerprints_of(*caches: featcache.FeatureCache) -> list[str]:
    """Return the fingerprint of each layer of some caches: of image bytes, weights, transforms and layer."""
    return [f"{name} {spec.fingerprint}" for cache in caches for name, spec in cache.layers.items()]


def weights_note(tag: str) -> str:
    """Say which weights a result is of, from the tag of a loaded backbone."""
    if tag == "random":
        return "random"
    return "a file of one's own" if tag == "custom" else f"published ({tag})"


def ours(comparison: Comparison) -> str:
    """Return our number with its interval."""
    ends = shown_interval(comparison.interval, comparison.unit)
    return shown(comparison.ours, comparison.unit) + (f" ({ends})" if ends else "")


def command_line() -> str:
    """Return the command that runs this process in the folder above ``pipelines``, but for ``--output``."""
    script, arguments = Path(sys.argv[0]), sys.argv[1:]
    if "--output" in arguments:
        place = arguments.index("--output")
        del arguments[place : place + 2]
    shorter = f"pipelines/{script.name}" if script.parent.name == "pipelines" else script.name
    return shlex.join(["python", shorter, *arguments])


def processor_seconds() -> float:
    """Return the processor time of this process and its finished children so far."""
    return sum(os.times()[:4])


def versions() -> dict[str, str]:
    """Return the versions of all that numbers depend on."""
    found = {"python": platform.python_version(), "featcache": featcache.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Return what computed: machine, processor, cores, and JAX's device."""
    import jax

    device = jax.devices()[0]
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": device.device_kind,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _plain(value: Any) -> Any:
    """Return plain JSON values: NumPy's as Python's, numbers that are none as null, floats with six digits."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
