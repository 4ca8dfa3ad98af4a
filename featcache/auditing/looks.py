"""Photos that look odd by themselves: of one colour, dark, over-exposed, blurred, tiny, of an odd shape."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from featcache.auditing.appearance import Appearance, appearances
from featcache.auditing.photos import Pictures, reader
from featcache.auditing.ranked import AuditedRows, RankedList, Suspect
from featcache.core.display import counted
from featcache.core.progress import OnProgress
from featcache.images.colour_statistics import GRID

MOST_BYTES = 200_000_000
"""Encoded bytes of pictures that are read again at most: about ten seconds on two cores."""

_BLOCK = 8192
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


@dataclass(frozen=True)
class Look:
    """One way to look odd.

    Parameters
    ----------
    name
        In words.
    measure
        What is measured, in words with ``{}`` for the value.
    odd, certain
        Values from which a photo is listed, and from which it is certain. Where the second is the smaller one, small
        values are odd.
    of_picture
        Whether the picture itself is needed, not its cached colours alone.
    """

    name: str
    measure: str
    odd: float
    certain: float
    of_picture: bool = False

    def severity(self, value: np.ndarray) -> np.ndarray:
        """Return 0.5 where photos begin to be odd and 1 where that is certain, in proportion; NaN of NaN."""
        return 0.5 + 0.5 * (value - self.odd) / (self.certain - self.odd)


LOOKS = {
    "one-colour": Look("of nearly one colour", "its colours deviate by {:.3f} of 1", 0.04, 0.015),
    "dark": Look("dark", "its brightest part has {:.2f} of full brightness", 0.16, 0.06),
    "over-exposed": Look("over-exposed", "its darkest part has {:.2f} of full brightness", 0.88, 0.96),
    "blurred": Look("blurred", "its steepest slopes have {:.2f} of an even slope's strength", 1.6, 1.2, True),
    "tiny": Look("tiny", "its shorter side has {:.0f} pixels", 64, 32, True),
    "odd-shape": Look("of an odd shape", "its longer side is {:.1f} times the shorter one", 3, 5, True),
}
"""Every look, by its identifier in `RankedList.figures`."""


def find_looks(
    rows: AuditedRows,
    *,
    pictures: Pictures = "found",
    seed: int = 0,
    most_bytes: int = MOST_BYTES,
    on_progress: OnProgress | None = None,
) -> RankedList:
    """Find photos of nearly one colour, dark, over-exposed, blurred, tiny or of an odd shape.

    Parameters
    ----------
    rows
        The audited rows. Colours come from their cached statistics, of the part that the network saw.
    pictures
        What reads the photo with an id, or ``"found"``: of the dataset of the cache, where it is still there. Without,
        nothing is said of blur, size and shape.
    seed
        Of the order in which pictures are read, where they are more than `most_bytes`.
    most_bytes
        Encoded bytes that are read again at most.
    on_progress
        Told how many pictures have been read.

    Returns
    -------
    RankedList
        One entry for each photo with all that is odd about it, the worst first. A photo may look odd and be right;
        those that are ``certain`` show next to nothing.
    """
    values: dict[str, np.ndarray] = {}
    for start in range(0, len(rows.ids), _BLOCK):
        statistics = rows.statistics(slice(start, start + _BLOCK))
        for name, part in ({} if statistics is None else _of_colours(statistics)).items():
            values.setdefault(name, np.full(len(rows.ids), np.nan))[start : start + len(part)] = part
    read = appearances(
        reader(rows, pictures), rows.ids, seed=seed, most_bytes=most_bytes, on_progress=on_progress
    )
    values |= _of_pictures(read, len(rows.ids))
    entries = _entries(rows, values)
    return _listed(entries, rows, values, read)


def _of_colours(statistics: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the cached statistics ``[n, 54]`` say, ``[n]`` each."""
    brightness = statistics[:, 6:].reshape(-1, GRID**2, 3) @ _LUMA
    return {
        "one-colour": statistics[:, 3:6].max(axis=1),
        "dark": brightness.max(axis=1),
        "over-exposed": brightness.min(axis=1),
    }


def _of_pictures(read: Mapping[int, Appearance], count: int) -> dict[str, np.ndarray]:
    """Return what the pictures that were read say, ``[N]`` each, NaN for the others."""
    values = {name: np.full(count, np.nan) for name, look in LOOKS.items() if look.of_picture and read}
    for place, own in read.items():
        short, long = sorted((own.width, own.height))
        values["blurred"][place] = own.sharpness
        values["tiny"][place] = short
        values["odd-shape"][place] = long / short
    return values


def _entries(rows: AuditedRows, values: Mapping[str, np.ndarray]) -> list[Suspect]:
    found: dict[int, list[tuple[float, str]]] = {}
    for name, own in values.items():
        look = LOOKS[name]
        severity = look.severity(own)
        for place in np.flatnonzero(severity >= 0.5).tolist():
            told = f"{look.name}: {look.measure.format(own[place])}"
            found.setdefault(place, []).append((float(severity[place]), told))
    entries = []
    for place, told in found.items():
        told.sort(reverse=True)
        score = told[0][0]
        row = int(rows.rows[place])
        entries.append(
            Suspect(
                row=row,
                id=rows.ids[place],
                label=rows.label_of(place),
                split=rows.splits[place],
                score=round(score, 4),
                why="; ".join(text for _, text in told),
                certain=score >= 1,
                leave_out=(row,) if score >= 1 else (),
            )
        )
    return sorted(entries, key=lambda entry: (-entry.score, entry.row))


def _listed(
    entries: Sequence[Suspect],
    rows: AuditedRows,
    values: Mapping[str, np.ndarray],
    read: Mapping[int, Appearance],
) -> RankedList:
    counts = Counter({name: int((LOOKS[name].severity(own) >= 0.5).sum()) for name, own in values.items()})
    told = [f"{count:,} {LOOKS[name].name}" for name, count in counts.most_common() if count]
    certain = sum(entry.certain for entry in entries)
    finding = (
        f"{counted(len(entries), 'photo')} of {len(rows.ids):,} look{'s' if len(entries) == 1 else ''} odd "
        f"({', '.join(told)}), {certain:,} of them with next to nothing to see."
        if entries
        else "No photo looks odd."
    )
    unread = len(rows.ids) - len(read)
    if unread:
        finding += (
            f" Blur, size and shape were looked at in {len(read):,} of {counted(len(rows.ids), 'photo')}."
        )
    return RankedList(
        "looks",
        "Photos that look odd",
        finding,
        "How odd a photo looks by itself, whatever its features: 0.5 where it begins to be odd, 1 and more where there "
        "is next to nothing to see. Colours are those of the part that the network saw.",
        tuple(entries),
        {
            "rows": len(rows.ids),
            "pictures_read": len(read),
            "counts": dict(counts),
            "thresholds": {name: {"odd": look.odd, "certain": look.certain} for name, look in LOOKS.items()},
        },
    )
