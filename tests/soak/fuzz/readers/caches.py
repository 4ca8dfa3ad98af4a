"""Caches, finished and not: bytes changed in place, and other contents whose checksums are right again."""

import contextlib
import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from faults import test_foreign_caches as foreign
from helpers.foreign_caches import cache_bytes

from featcache.cache import CacheWriter, FeatureCache, list_caches, repair
from featcache.cache.layout import partial_path
from featcache.errors import FeatcacheError, IntegrityError

from ..mutators import changed_document
from ..reader import Reader, Subject

_ARCHIVE = Path(__file__).parents[3] / "data" / "archives" / "before_packages" / "caches"
_COLUMNS = ("value", "swap", "shorter", "longer", "type")


def _contents(data: bytes) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """Return identity, columns and features of a cache whose header can be read; else ``None``."""
    try:
        about = json.loads(data.split(b"\n", 3)[2])
        parts = {name: data[at : at + size] for name, (at, size) in about["datasets"].items()}
        identity = json.loads(parts["identity"])
        template = foreign.columns(
            task="answers" if "rows/target" in parts else "classes", grouped="rows/group" in parts
        )
        columns = {}
        for name, column in template.items():
            columns[name] = np.frombuffer(parts[f"rows/{name}"], column.dtype).reshape(-1, *column.shape[1:])
        views = 2 if identity["layers"][0].get("views", 1) == 2 else 1
        features = {}
        for name, values in foreign.features(views=views).items():
            features[name] = np.frombuffer(parts[f"features/{name}"], values.dtype).reshape(values.shape)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return identity, columns, features


def _changed_cache(data: bytes, chance: random.Random) -> bytes:
    """Change the identity, a column or the header, and make the checksums right again."""
    if (found := _contents(data)) is None:
        return data
    identity, columns, features = found
    how = chance.randrange(4)
    if isinstance(identity, dict) and isinstance(identity.get("rows"), dict):
        identity["rows"]["sha256"] = ""  # so that it is made right
    if how < 2:
        return cache_bytes(changed_document(identity, chance), columns, features)
    if how == 2:
        _change_column(columns, chance)
        return cache_bytes(identity, columns, features)
    header = json.loads(cache_bytes(identity, columns, features).split(b"\n", 3)[2]) | {"sha256": ""}
    header = changed_document(header, chance)
    return cache_bytes(
        identity, columns, features, header if isinstance(header, dict) else {"datasets": header}
    )


def _change_column(columns: dict[str, np.ndarray], chance: random.Random) -> None:
    name, other = (chance.choice(sorted(columns)) for _ in range(2))
    column, how = columns[name].copy(), chance.choice(_COLUMNS)
    if how == "swap":
        columns[name], columns[other] = columns[other], column
    elif how == "shorter":
        columns[name] = column[: chance.randrange(len(column) + 1)]
    elif how == "longer":
        columns[name] = np.concatenate([column, column])
    elif len(column):
        raw = bytearray(column.tobytes())
        at = chance.randrange(len(raw))
        raw[at : at + 8] = chance.choice((chance.randbytes(1), b"\xff" * 8, bytes(8), b"\x7f"))[
            : len(raw) - at
        ]
        columns[name] = np.frombuffer(
            bytes(raw).ljust(column.nbytes, b"\0")[: column.nbytes], column.dtype
        ).reshape(column.shape)


def _seeds() -> list[bytes]:
    return [
        cache_bytes(copy.deepcopy(about), table, values) for about, table, values in foreign.VALID.values()
    ]


def _cache(folder: Path) -> Subject:
    place = folder / "a.h5"

    def use(data: bytes) -> None:
        place.write_bytes(data)
        if not list_caches(folder):  # it does not begin as one
            with FeatureCache(place):
                raise LookupError("it is read, and is not listed")
        if foreign.use(place, commands=len(data) % 64 == 1) == "refused":
            raise IntegrityError("refused")

    return Subject(_seeds(), use, _changed_cache, longest=1 << 17)


def _earlier(folder: Path) -> Subject:
    """Caches of released versions: what reads them converts what stands in them."""
    place = folder / "a.h5"
    names = ("tuned", "shard", "map", "plain")

    def use(data: bytes) -> None:
        place.write_bytes(data)
        with contextlib.suppress(FeatcacheError):
            repair(place)
        with FeatureCache(place) as cache:
            foreign._read(cache)

    return Subject([(_ARCHIVE / f"{name}.h5").read_bytes() for name in names], use, longest=1 << 18)


def _unfinished(folder: Path) -> Subject:
    """An extraction's partial file, which is gone on with."""
    target = folder / "a.h5"
    partial = partial_path(target)

    def use(data: bytes) -> None:
        for left in folder.iterdir():
            left.unlink()
        partial.write_bytes(data)
        writer = CacheWriter.resume(target)
        if writer is None:
            raise IntegrityError("cannot be resumed")
        with writer:
            done = writer.done()
            if len(done) and not done[0] and writer.layers:
                values = {
                    name: np.zeros((1, *spec.shape), np.float32) for name, spec in writer.layers.items()
                }
                writer.write([0], values)
                writer.sync()

    return Subject([(_ARCHIVE / "stopped.partial.h5").read_bytes()], use, longest=1 << 18)


READERS = (
    Reader("cache", _cache),
    Reader("cache-earlier", _earlier),
    Reader("cache-unfinished", _unfinished),
)
