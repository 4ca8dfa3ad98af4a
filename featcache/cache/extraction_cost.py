"""What an extraction took: one line behind a cache's header, recorded when the cache is finished and never compared.

It is known only when the rows are there, and what the header's digest covers must not change then. So it stands in the
user block behind the header's three lines, with a checksum of its own. A line that does not match it counts as none:
it decides nothing, and a power cut within it must not cost the rows.
"""

import hashlib
from dataclasses import dataclass, fields

import numpy as np

from featcache.cache.header import first_lines, read_header
from featcache.core.disk.files import PinnedFile
from featcache.core.display import counted
from featcache.core.documents.document_format import DocumentFormat
from featcache.core.documents.kinds import Number, Record, Whole
from featcache.core.identity import canonical_json
from featcache.errors import FeatcacheError

ROOM = 512
"""Bytes that are read and written for the line, zeros behind it; a header leaves about as many at least."""

_COST = DocumentFormat(
    Record(
        {
            "computed": Whole(0, 2**40),
            "kept": Whole(0, 2**40),
            "seconds": Number(0, 1e12),
            "compute_seconds": Number(0, 1e12),
        }
    ),
    what="the cost of an extraction",
    remedy="",
)


@dataclass(frozen=True)
class ExtractionCost:
    """What the run of an extraction took that finished a cache.

    Of an extraction that was interrupted and continued, or that copied rows from other caches, it is of the last run
    alone: `computed` says how many images that is, and `kept` how many rows were there before.

    Parameters
    ----------
    computed
        Images that this run read and ran through the network.
    kept
        Rows whose features this run found: of an earlier run that was interrupted, or in another cache.
    seconds
        Wall time of the run, from the start of the call until all rows were written.
    compute_seconds
        Of these, the wall time of decoding, the network and writing.
    """

    computed: int
    kept: int
    seconds: float
    compute_seconds: float

    @property
    def whole(self) -> bool:
        """Whether this one run computed everything that is in the cache."""
        return not self.kept

    @property
    def images_per_second(self) -> float | None:
        """Images read and computed per second, compilation included; ``None`` where none was computed."""
        return self.computed / self.compute_seconds if self.computed and self.compute_seconds else None

    def describe(self) -> str:
        """Return it in words.

        Examples
        --------
        >>> ExtractionCost(computed=300, kept=0, seconds=5.04, compute_seconds=4.0).describe()
        '5.0 s, 75 images/s'
        >>> ExtractionCost(computed=300, kept=700, seconds=5.04, compute_seconds=4.0).describe()
        '5.0 s, 75 images/s, of the last run, which computed 300 images; 700 rows were there before'
        """
        rate = self.images_per_second
        told = f"{self.seconds:,.1f} s" + (f", {rate:,.{0 if rate >= 10 else 1}f} images/s" if rate else "")
        if self.whole:
            return told
        if not self.computed:
            return f"{told}, of the last run, which computed nothing: its rows were there before"
        return (
            f"{told}, of the last run, which computed {counted(self.computed, 'image')}; "
            f"{counted(self.kept, 'row')} {'was' if self.kept == 1 else 'were'} there before"
        )

    def encode(self) -> bytes:
        """Return the line: the sha256 of the JSON behind it, a space, the JSON, a line feed."""
        rounded = {name: round(value, 3) for name, value in vars(self).items()}
        body = canonical_json(rounded)
        return hashlib.sha256(body).hexdigest().encode() + b" " + body + b"\n"


def cost_span(file: PinnedFile) -> tuple[int, int]:
    """Return (offset, length) in bytes of the room for the line: from the header's end to that of the user block.

    Raises
    ------
    IntegrityError
        If the header is damaged.
    """
    start = read_header(file).start
    offset = sum(len(line) + 1 for line in first_lines(file)[:3])
    return offset, start - offset


def read_cost(file: PinnedFile) -> ExtractionCost | None:
    """Return the cost that a cache's file tells; ``None`` where it tells none, or the line is damaged."""
    offset, length = cost_span(file)
    found = np.empty(min(length, ROOM), np.uint8)
    file.read_into(found, offset)
    check, _, body = found.tobytes().partition(b"\n")[0].partition(b" ")
    if hashlib.sha256(body).hexdigest().encode() != check:
        return None
    try:
        told = _COST.read(body, f"{file.path}: the cost")
    except FeatcacheError:
        return None
    return ExtractionCost(
        **{own.name: told[own.name] for own in fields(ExtractionCost)}
    )  # later versions tell more
