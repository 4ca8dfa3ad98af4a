"""Plan an extraction: which rows to copy and which to compute, by pure functions of hashes and identities."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import LayerSpec
from featcache.cache.layout import layers_of
from featcache.core.columns.digest_array import digest_array, is_known, last_places, sortable
from featcache.core.identity import differences
from featcache.errors import IdentityError


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


class Reuse(Mapping[int, tuple[int, int]]):
    """Which rows are copied: row to (position in the list of sources, row there), as three arrays.

    Parameters
    ----------
    rows
        int64 ``[R]``: the rows, ascending.
    positions, places
        int64 ``[R]``: the source of each, and its row there.
    """

    def __init__(self, rows: np.ndarray, positions: np.ndarray, places: np.ndarray) -> None:
        self.rows, self.positions, self.places = rows, positions, places

    def __getitem__(self, row: int) -> tuple[int, int]:
        number = int(np.searchsorted(self.rows, row))
        if number == len(self.rows) or self.rows[number] != row:
            raise KeyError(row)
        return int(self.positions[number]), int(self.places[number])

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows.tolist())

    def __len__(self) -> int:
        return len(self.rows)

    def counts(self) -> dict[int, int]:
        """Return how many rows are copied from each source, by its position; those that give none are left out."""
        positions, counts = np.unique(self.positions, return_counts=True)
        return dict(zip(positions.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Plan:
    """The origin of each row's features: copied, computed, or taken from a duplicate.

    Parameters
    ----------
    reuse
        Row to (position in the list of sources, row there).
    compute
        Rows to compute, ascending, one for each distinct image that no source holds.
    copies
        Computed row to other rows with the same bytes.
    """

    reuse: Reuse
    compute: Sequence[int]
    copies: Mapping[int, tuple[int, ...]]

    @property
    def duplicates(self) -> int:
        """Number of rows that get their features from another row of the same dataset."""
        return sum(map(len, self.copies.values()))


def build_plan(
    hashes: np.ndarray | Sequence[bytes], done: np.ndarray, sources: Sequence[ReusableRows]
) -> Plan:
    """Decide for every unfinished row whether its features are copied or computed.

    Parameters
    ----------
    hashes
        uint8 ``[N, 32]``: sha256 of each row's image.
    done
        bool ``[N]``: rows already finished.
    sources
        Caches of the same recipe and layers, in order of preference; of several rows of one with the same image, the
        last is taken.
    """
    digests = digest_array(hashes)
    keys = sortable(digests)
    readable = is_known(digests)
    open_rows = np.flatnonzero(~np.asarray(done, bool))
    positions = np.full(len(keys), -1, np.int64)
    places = np.full(len(keys), -1, np.int64)
    missing = open_rows[readable[open_rows]]
    for position, source in enumerate(sources):
        if not len(missing):
            break
        usable = np.flatnonzero(source.usable)
        found = last_places(sortable(source.sha256)[usable], keys[missing])
        held = missing[found >= 0]
        positions[held], places[held] = position, usable[found[found >= 0]]
        missing = missing[found < 0]
    reused = np.flatnonzero(positions >= 0)
    first, copies = _first_of_each(keys, missing)
    # Files that could not be read all have the same hash, and are not copies of each other.
    compute = np.sort(np.concatenate([first, open_rows[~readable[open_rows]]]))
    return Plan(
        Reuse(reused, positions[reused], places[reused]), array("q", compute.astype("=i8").tobytes()), copies
    )


def _first_of_each(keys: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, dict[int, tuple[int, ...]]]:
    """Return the first of some ascending rows with each key; and for those that have copies, the other rows."""
    order = rows[np.argsort(keys[rows], kind="stable")]  # equal ones in the order of the rows
    ordered = keys[order]
    starts = np.ones(len(order), bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    begins = np.flatnonzero(starts)
    lengths = np.diff(begins, append=len(order))
    several = lengths > 1
    copies = {
        int(order[begin]): tuple(order[begin + 1 : begin + length].tolist())
        for begin, length in zip(begins[several].tolist(), lengths[several].tolist(), strict=True)
    }
    return order[begins], copies


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
