"""Which images a head has learnt from: the first eight bytes of their sha256, kept with its numbers.

What it was trained on may be extracted again, or be gone: only the images themselves tell which of others it has seen.
"""

from collections.abc import Sequence

import numpy as np

NAME = "seen_images"
"""What they are called beside the head's numbers."""


def seen_images(sha256: np.ndarray | Sequence[bytes]) -> np.ndarray:
    """Return what is remembered of images, int32 ``[n, 2]``, each once.

    Parameters
    ----------
    sha256
        uint8 ``[n, 32]``, or as many digests.
    """
    return np.unique(_words(sha256)).view("<i4").reshape(-1, 2)


def merge_seen(first: np.ndarray | None, second: np.ndarray) -> np.ndarray | None:
    """Return the images of both, each once; ``None`` where those of the first are not known."""
    return None if first is None else np.unique(np.concatenate([first, second]), axis=0)


def count_seen(seen: np.ndarray, sha256: np.ndarray) -> int:
    """Return how many of some images, uint8 ``[n, 32]``, are among those that are remembered."""
    known = np.ascontiguousarray(seen, "<i4").view("<i8").reshape(-1)
    return int(np.isin(_words(sha256), known).sum())


def _words(sha256: np.ndarray | Sequence[bytes]) -> np.ndarray:
    digests = sha256 if isinstance(sha256, np.ndarray) else np.frombuffer(b"".join(sha256), np.uint8)
    return np.ascontiguousarray(digests.reshape(-1, 32)[:, :8]).view("<i8").reshape(-1)
