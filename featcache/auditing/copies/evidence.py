"""Whether two rows whose features are near are copies: what their colours and their pictures say."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from featcache.auditing.copies.near_rows import SMALL, Pairs, usual_distances
from featcache.auditing.copies.same_picture import ALIKE, SURE, Likeness, Small, likeness, small_picture
from featcache.auditing.photos import Read
from featcache.auditing.ranked import AuditedRows
from featcache.core.parallel import default_workers, ordered_map
from featcache.errors import ImageError
from featcache.images.colour_statistics import GRID

SAME_COLOURS = 0.25
"""Distance of the 4×4 colours over the usual one, below which two rows without pictures are called copies."""

LIKE_COLOURS = 0.7
"""The same, below which they are worth a look."""

SUSPICIOUS = 0.7
"""Distance of features over the usual one above which rows are copies if their pictures say so, and else nothing."""

NEAR = 0.5
"""Distance of features over the usual one below which rows are worth a look that have nothing but features."""

RECOLOURED = 0.1
"""Distance of the 4×4 colours, in units of 0..1 over all cells and channels, that no compression makes."""

_HELD = 8192
"""Small pictures that are kept, 16 KiB each."""

_AHEAD = 256
"""Pairs whose pictures are decoded at a time."""


@dataclass(frozen=True)
class Verdict:
    """What was found about two rows.

    Parameters
    ----------
    certain
        Whether they are copies; otherwise they are worth a look.
    relation
        How they are alike, in words.
    ratio
        Distance of their features over the usual one around them.
    colours
        Distance of their 4×4 colours over the usual one, mirrored if that is less; ``None`` without statistics.
    agreement
        Of their pictures; ``None`` where these could not be read.
    """

    certain: bool
    relation: str
    ratio: float
    colours: float | None = None
    agreement: float | None = None

    def words(self) -> str:
        """Say it in numbers."""
        parts = [f"features at {self.ratio:.2f} of the usual distance"]
        if self.agreement is not None:
            parts.append(f"pictures agree to {self.agreement:.2f}")
        elif self.colours is not None:
            parts.append(f"colours at {self.colours:.2f} of the usual distance")
        return ", ".join(parts)


class Colours:
    """The 4×4 colours of rows.

    Parameters
    ----------
    rows
        The audited rows.
    places
        int ``[N]``: those of which one copy each is compared.
    wanted
        int ``[n]``: positions in `places` whose distances will be asked for.
    seed
        Of the rows that are drawn to say what is usual.
    """

    def __init__(self, rows: AuditedRows, places: np.ndarray, wanted: np.ndarray, *, seed: int) -> None:
        random = np.random.default_rng(seed)
        drawn = np.sort(random.permutation(len(places))[:SMALL])
        known = rows.statistics(places[drawn])
        self._at = np.unique(wanted)
        self._grids = None
        if known is None or not len(wanted):
            return
        own = rows.statistics(places[self._at])
        assert own is not None  # the layer was there a line ago
        self._grids, known = own[:, -3 * GRID**2 :], known[:, -3 * GRID**2 :]
        position = np.searchsorted(drawn, self._at)
        within = (position < len(drawn)) & (drawn[np.minimum(position, len(drawn) - 1)] == self._at)
        usual = usual_distances(self._grids, known, own=np.where(within, position, -1), of=len(places))
        self._usual = np.maximum(usual, 1e-3)

    def between(self, first: int, second: int) -> tuple[float, float, bool] | None:
        """Return the distance of two rows, that over the usual one, and whether one of them had to be mirrored."""
        if self._grids is None:
            return None
        one, other = np.searchsorted(self._at, [first, second])
        mirrored = self._grids[other].reshape(GRID, GRID, 3)[:, ::-1].ravel()
        as_is = float(np.linalg.norm(self._grids[one] - self._grids[other]))
        turned = float(np.linalg.norm(self._grids[one] - mirrored))
        least = min(as_is, turned)
        return least, least / float(np.sqrt(self._usual[one] * self._usual[other])), 2 * turned < as_is


class SmallPictures:
    """Small pictures of photos, each decoded once as long as there is room.

    Parameters
    ----------
    read
        Returns the encoded bytes of the photo with an id; raises `ImageError` or ``OSError`` where it cannot be read.
    ids
        Names of the photos by position.

    Attributes
    ----------
    compared : int
        How many pairs have been compared.
    """

    def __init__(self, read: Read | None, ids: Sequence[str]) -> None:
        self._read, self._ids = read, ids
        self._held: dict[int, Small | None] = {}
        self.compared = 0

    def load(self, numbers: Sequence[int]) -> None:
        """Decode photos ahead, side by side."""
        if self._read is None:
            return
        missing = [number for number in dict.fromkeys(numbers) if number not in self._held]
        if len(self._held) + len(missing) > _HELD:
            self._held.clear()
            missing = list(dict.fromkeys(numbers))
        workers = default_workers()
        found = ordered_map(
            partial(_decoded, self._read, self._ids), missing, workers=workers, ahead=4 * workers
        )
        self._held |= dict(zip(missing, found, strict=True))

    def of(self, number: int) -> Small | None:
        """Return a photo's small picture; ``None`` where it cannot be read."""
        if self._read is not None and number not in self._held:
            self.load([number])
        return self._held.get(number)

    def likeness(self, first: int, second: int) -> Likeness | None:
        """Compare two photos; ``None`` where one of them cannot be read."""
        one, other = self.of(first), self.of(second)
        if one is None or other is None:
            return None
        self.compared += 1
        return likeness(one, other)


def _decoded(read: Read, ids: Sequence[str], number: int) -> Small | None:
    try:
        return small_picture(read(ids[number]))
    except (ImageError, OSError):
        return None


def judge(ratio: float, colours: tuple[float, float, bool] | None, alike: Likeness | None) -> Verdict | None:
    """Decide about two rows whose features are near; ``None`` where the other evidence speaks against it.

    Parameters
    ----------
    ratio
        Distance of their features over the usual one.
    colours
        Of `Colours.between`.
    alike
        Of `SmallPictures.likeness`; where there are pictures they decide.
    """
    relative = None if colours is None else colours[1]
    if alike is None or alike.flat:
        return _without_pictures(ratio, colours, seen=alike is not None)
    certain = alike.agreement >= SURE
    if not certain and (alike.agreement < ALIKE or ratio > SUSPICIOUS):
        return None
    relation = alike.relation()
    if certain and not alike.cropped and colours is not None and colours[0] > RECOLOURED:
        relation = "mirrored and recoloured" if alike.mirrored else "recoloured"
    return Verdict(certain, relation, ratio, relative, alike.agreement)


def _without_pictures(
    ratio: float, colours: tuple[float, float, bool] | None, *, seen: bool
) -> Verdict | None:
    if colours is None:
        return Verdict(False, "nearly the same", ratio) if ratio <= NEAR else None
    _, relative, mirrored = colours
    if relative > LIKE_COLOURS or ratio > SUSPICIOUS:
        return None
    # Two blank walls have one colour: where the pictures were seen and show nothing, colours prove nothing.
    certain = relative <= SAME_COLOURS and not seen
    return Verdict(certain, "mirrored" if mirrored else "nearly the same", ratio, relative)


def verdicts(
    pairs: Pairs,
    colours: Colours,
    pictures: SmallPictures,
    joined: Callable[[int, int], bool],
    *,
    most: int,
    on_pairs: Callable[[int], None],
) -> Iterator[tuple[int, int, Verdict]]:
    """Yield what was found about each pair, the nearest first, without those that the other evidence speaks against.

    Parameters
    ----------
    pairs, colours, pictures
        What is known.
    joined
        Whether two rows are known to be copies by way of others: they are not compared again.
    most
        How many pairs of pictures are compared at most; further pairs are judged by their colours.
    on_pairs
        Told how many pairs have been judged.
    """
    for start in range(0, len(pairs.first), _AHEAD):
        part = slice(start, start + _AHEAD)
        numbers = list(zip(pairs.first[part].tolist(), pairs.second[part].tolist(), strict=True))
        with_pictures = pictures.compared < most
        if with_pictures:
            pictures.load([number for pair in numbers if not joined(*pair) for number in pair])
        for (first, second), ratio in zip(numbers, pairs.ratio[part].tolist(), strict=True):
            if joined(first, second):
                continue
            alike = pictures.likeness(first, second) if with_pictures else None
            verdict = judge(ratio, colours.between(first, second), alike)
            if verdict is not None:
                yield first, second, verdict
        on_pairs(start + len(numbers))
