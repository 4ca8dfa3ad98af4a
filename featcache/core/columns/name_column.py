"""Names as one array of fixed-length bytes, as caches store them: a million need no million objects."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

import numpy as np

_BLOCK = 4096


class NameColumn(Sequence[str]):
    """Names that are decoded when they are asked for.

    Parameters
    ----------
    encoded
        ``S[N]``, as `encode_ids` returns it.
    """

    def __init__(self, encoded: np.ndarray) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "NameColumn": ...

    def __getitem__(self, index: int | slice) -> "str | NameColumn":
        if isinstance(index, slice):
            return NameColumn(self.encoded[index])
        return _decoded(self.encoded[index])

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self.encoded), _BLOCK):
            yield from map(_decoded, self.encoded[first : first + _BLOCK].tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NameColumn | tuple | list):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"NameColumn({len(self)} names)"


def encode_ids(ids: Sequence[str]) -> np.ndarray:
    """Return ids as fixed-length bytes ``S[N]``; names that are not UTF-8 on disk survive (surrogateescape)."""
    if isinstance(ids, NameColumn):
        return ids.encoded
    return encode_names(lambda: ids, len(ids))


def encode_names(names: Callable[[], Iterable[str]], count: int) -> np.ndarray:
    """Return `count` names as `encode_ids` does; `names` returns them anew, and is called twice."""
    longest = max((len(_encoded(name)) for name in names()), default=1)
    return np.fromiter(map(_encoded, names()), f"S{longest or 1}", count)


def decode_ids(column: np.ndarray) -> tuple[str, ...]:
    """Undo `encode_ids`."""
    return tuple(NameColumn(column))


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
