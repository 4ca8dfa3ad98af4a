"""The contents of what commands write, as plain values that can be compared: whole, and without times.

Each function returns ``None`` where there is nothing, and raises an error where what is there is not whole.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

TIMES = {"seconds", "images_per_second", "created", "document_sha256", "fitted", "checksum"}


def without_times(value: Any) -> Any:
    """Return JSON values without what no two runs have in common."""
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def file_bytes(path: Path) -> str | None:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def cache_rows(path: Path) -> Any:
    """Return all that a cache holds, every row verified."""
    from featcache.cache import FeatureCache, verify

    if not path.exists():
        return None
    found = verify(path)
    if not found.ok:
        raise AssertionError(f"{path} is published and not intact: {found}")
    with FeatureCache(path) as cache:
        rows = [row for row in range(len(cache)) if not cache.status[row]]
        features = {name: cache.features(rows, name).tobytes() for name in cache.layers}
        columns = (
            cache.ids,
            cache.labels.tolist(),
            cache.status.tolist(),
            cache.split_names(),
            cache.classes,
        )
        return json.dumps([columns, {n: hashlib.sha256(v).hexdigest() for n, v in features.items()}])


def json_file(path: Path) -> Any:
    """Return a JSON file's values."""
    return without_times(json.loads(path.read_bytes())) if path.exists() else None


def classifier_files(path: Path) -> Any:
    """Return a classifier's files, whose checksums hold."""
    from featcache.core.classifier_folder import read_folder

    if not path.exists():
        return None
    read_folder(path)
    return {
        file.name: json_file(file) if file.suffix == ".json" else file_bytes(file) for file in path.iterdir()
    }


def archive_arrays(path: Path) -> Any:
    """Return the hash of each array of a numpy archive."""
    if not path.exists():
        return None
    with np.load(path) as stored:
        return {name: hashlib.sha256(stored[name].tobytes()).hexdigest() for name in stored}


def table_rows(path: Path) -> Any:
    """Return a Parquet table's columns."""
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pydict() if path.exists() else None


def log_lines(path: Path) -> Any:
    """Return the records of a log; a torn last line is none."""
    if not path.exists():
        return None
    *lines, last = path.read_bytes().split(b"\n")
    records = [without_times(json.loads(line)) for line in lines]
    try:
        return [*records, without_times(json.loads(last))]
    except ValueError:
        return records


def some_of(found: Any, before: Any, after: Any) -> bool:
    """Whether a log holds what it held before, or the first lines of what a run that succeeds leaves there."""
    if found is None or found == before:
        return found == before
    return len(found) >= len(before or []) and found == after[: len(found)]


def same_or_begun(found: Any, before: Any, after: Any) -> bool:
    """Whether a log is that of before, or that of a run which has begun anew."""
    return found == before or some_of(found, None, after)


def begun(found: Any, before: Any, after: Any) -> bool:
    """Whether a run's record is that of before or after, or that of a run which is not finished."""
    return found in (before, after) or found == {**after, "finished": None}


def any_whole(found: Any, before: Any, after: Any) -> bool:
    """Whether all that is there is whole, which reading it has found out."""
    del before, after
    return found is not None


def checkpoints(path: Path) -> Any:
    """Return the names of a run's checkpoints, each with files as its record says they are."""
    for record in path.glob("*.json"):
        document = json.loads(record.read_bytes())
        for name, digest in document["files"].items():
            assert file_bytes(path / document["folder"] / name) == digest, (
                f"{record} names {name}, which differs"
            )
    return sorted(record.name for record in path.glob("*.json"))


def damaged_or_set_aside(path: Path) -> Any:
    """Return which of the two names the damaged file has, and its bytes."""
    return {name: file_bytes(path / name) for name in ("a.h5", "a.partial.h5") if (path / name).exists()}
