"""Plan an extraction: which rows to copy and which to compute, by pure functions of hashes and identities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import LayerSpec
from featcache.cache.layout import layers_of
from featcache.core.identity import differences
from featcache.errors import IdentityError
from featcache.extraction.planning.row_table import UNREADABLE


@dataclass(frozen=True)
class ReusableRows:
    """Rows of a cache that features may be copied from.

    Parameters
    ----------
    sha256
        uint8 ``[M, 32]``: hashes of the images.
    usable
        bool ``[M]``: rows that have features.
    damaged
        Number of rows that are damaged or missing.
    """

    sha256: np.ndarray
    usable: np.ndarray
    damaged: int = 0


@dataclass(frozen=True)
class Plan:
    """The origin of each row's features: copied, computed, or taken from a duplicate.

    Parameters
    ----------
    reuse
        Row to (position in the list of sources, row there).
    compute
        Rows to compute, one for each distinct image that no source holds.
    copies
        Computed row to other rows with the same bytes.
    """

    reuse: Mapping[int, tuple[int, int]]
    compute: tuple[int, ...]
    copies: Mapping[int, tuple[int, ...]]

    @property
    def duplicates(self) -> int:
        """Number of rows that get their features from another row of the same dataset."""
        return sum(map(len, self.copies.values()))


def build_plan(hashes: Sequence[bytes], done: np.ndarray, sources: Sequence[ReusableRows]) -> Plan:
    """Decide for every unfinished row whether its features are copied or computed.

    Parameters
    ----------
    hashes
        sha256 of each row's image.
    done
        bool ``[N]``: rows already finished.
    sources
        Caches of the same recipe and layers, in order of preference.
    """
    known: dict[bytes, tuple[int, int]] = {}
    for position, source in reversed(list(enumerate(sources))):
        for row in np.flatnonzero(source.usable):
            known[source.sha256[row].tobytes()] = (position, int(row))
    reuse: dict[int, tuple[int, int]] = {}
    first: dict[bytes, int] = {}
    copies: dict[int, list[int]] = {}
    for row in np.flatnonzero(~done).tolist():
        key = hashes[row]
        if key == UNREADABLE:
            first[key + row.to_bytes(8, "big")] = row
        elif key in known:
            reuse[row] = known[key]
        elif key in first:
            copies.setdefault(first[key], []).append(row)
        else:
            first[key] = row
    return Plan(reuse, tuple(first.values()), {row: tuple(rows) for row, rows in copies.items()})


def serves(identity: Mapping[str, Any], recipe: Mapping[str, Any], layers: Mapping[str, LayerSpec]) -> bool:
    """Return whether a cache of this identity has the requested recipe and holds all requested layers.

    Of the weights, those as far as each layer count; see `featcache.core.identity.LayerIdentity`.
    """
    held, theirs = layers_of(identity), identity["recipe"]
    return (bool(layers) or theirs == recipe) and all(
        name in held and held[name].identity(theirs, name).same_as(spec.identity(recipe, name))
        for name, spec in layers.items()
    )


def refuse_difference(
    path: Path, identity: Mapping[str, Any], recipe: Mapping[str, Any], layers: Mapping[str, LayerSpec]
) -> None:
    """Raise if a cache has another recipe or lacks a layer, with the differing fields.

    Raises
    ------
    IdentityError
        With the differences.
    """
    if not serves(identity, recipe, layers):
        raise difference(path, identity, recipe, layers)


def difference(
    path: Path, identity: Mapping[str, Any], recipe: Mapping[str, Any], layers: Mapping[str, LayerSpec]
) -> IdentityError:
    """Return the error for a cache that holds other features than asked for, with the differing fields."""
    lines = differences(identity["recipe"], recipe)
    held = layers_of(identity)
    if any(name not in held for name in layers):
        lines.append(f"layers: {', '.join(held)} in the cache, {', '.join(layers)} asked for")
    return IdentityError(
        f"{path} holds other features than asked for:\n  "
        + "\n  ".join(lines)
        + "\nwrite to another file with --output, or replace it with --overwrite"
    )
