"""Export a cache to numpy archives and Parquet tables."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.disk.files import Content, replace_file
from featcache.core.disk.names import FILE, require_free
from featcache.core.disk.storage import storage_errors
from featcache.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from featcache.cache.reader import FeatureCache


def to_npz(cache: "FeatureCache", path: str | os.PathLike[str]) -> Path:
    """Write the readable rows into a numpy archive, which ``numpy.load`` reads without pickle.

    Parameters
    ----------
    cache
        The cache; every row is verified.
    path
        Ends in ``.npz``; an existing file is replaced.

    Returns
    -------
    pathlib.Path
        The archive: ``features/<layer>``, ``id``, ``label``, ``split``, ``sha256`` and ``classes``; where there are
        any, ``group`` and ``target``.
    """
    arrays: dict[str, Any] = {f"features/{layer}": cache.to_numpy(layer) for layer in cache.layers}
    arrays.update(_columns(cache))
    needs = sum(array.nbytes for array in arrays.values())
    return _replace(path, ".npz", lambda stream: np.savez(stream, **arrays), needs)


def to_parquet(cache: "FeatureCache", path: str | os.PathLike[str]) -> Path:
    """Write the readable rows into a Parquet table, one row per image; features are lists, flattened.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError(
            "writing Parquet needs pyarrow, which is not installed: pip install 'featcache[parquet]' (or pyarrow)"
        ) from error
    columns = _columns(cache)
    classes = columns.pop("classes")
    targets = columns.get("target")
    names = [name.encode("utf-8", "backslashreplace").decode() for name in columns["id"].tolist()]
    table: dict[str, Any] = {
        "id": names,
        **(
            {"class": classes[columns["label"]].tolist(), "label": columns["label"]}
            if targets is None and len(classes)
            else {
                f"target/{name}": targets[:, number]
                for number, name in enumerate(classes)
                if targets is not None
            }
        ),
        **({"group": columns["group"].tolist()} if "group" in columns else {}),
        "split": columns["split"].tolist(),
        "sha256": [digest.tobytes().hex() for digest in columns["sha256"]],
    }
    for layer in cache.layers:
        rows = cache.to_numpy(layer)
        flat = pa.array(rows.reshape(-1))
        table[f"features/{layer}"] = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(rows.shape[1:])))
    whole = pa.table(table)
    return _replace(path, ".parquet", lambda stream: pq.write_table(whole, stream), whole.nbytes)


def _columns(cache: "FeatureCache") -> dict[str, np.ndarray]:
    rows = cache.rows_of()
    names = cache.split_names()
    return {
        "id": np.array([cache.ids[row] for row in rows], dtype=np.str_),
        "label": cache.labels[rows],
        "split": np.array([names[row] for row in rows], dtype=np.str_),
        "sha256": cache.sha256[rows],
        "classes": np.array(cache.classes, dtype=np.str_),
        **({} if cache.groups is None else {"group": np.array([cache.groups[row] for row in rows], np.str_)}),
        **({} if cache.targets is None else {"target": cache.targets[rows]}),
    }


def _replace(path: str | os.PathLike[str], ending: str, content: Content, needs: int) -> Path:
    target = Path(path)
    if target.suffix != ending:
        raise UsageError(f"output {target} must end in {ending}")
    require_free(target, FILE, elsewhere="name another file")
    with storage_errors(target, elsewhere="name another file", needs=needs):
        replace_file(target, content)
    return target
