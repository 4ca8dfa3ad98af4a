"""Rows are handed out in blocks: whole batches, smaller towards the end."""

from collections.abc import Iterator, Sequence

MOST_ROWS = 32
"""Rows of a block on a CPU: a second of work or so, beside which handing it over (2 ms) is nothing."""

MOST_BATCHES = 4
"""Batches of a block on an accelerator."""

MOST_BYTES = 16_000_000
"""Features of a block, so that few of them fill the memory through which they are sent."""

TURNS = 3
"""While more than this many blocks for each place are left, blocks are large; then they shrink."""


def most_rows(batch: int, row_bytes: int, *, large_batches: bool) -> int:
    """Return the largest block, in rows: whole batches, and at least one.

    Parameters
    ----------
    batch
        Images that go into one call of the network.
    row_bytes
        Bytes of one row's features.
    large_batches
        Whether an accelerator computes.
    """
    wanted = MOST_BATCHES * batch if large_batches else max(MOST_ROWS, batch)
    rows = min(wanted, MOST_BYTES // max(1, row_bytes))
    return max(1, rows // batch) * batch


def cut(rows: Sequence[int], *, batch: int, places: int, most: int) -> Iterator[Sequence[int]]:
    """Yield the rows in blocks of whole batches, each of which begins where one process would begin a batch.

    An image's features are the same bits at each place of a batch, beside every other image and beside padding, but not
    in a batch of another size: with XLA on a CPU, one image alone and one of two differ in their last bits. Every call
    is padded to the same size; that blocks hold whole batches makes even the batches those of one process.

    Parameters
    ----------
    rows
        Rows to compute, in their order.
    batch
        Images of a batch.
    places
        How many blocks are computed at a time.
    most
        Rows of a block at most, a multiple of `batch`.
    """
    first = 0
    while first < len(rows):
        # The last ones are smaller, so that no actor waits long for another.
        share = -(-(len(rows) - first) // (places * TURNS * batch)) * batch
        last = first + min(most, share)
        yield rows[first:last]
        first = last
