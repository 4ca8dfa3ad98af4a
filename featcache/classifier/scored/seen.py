"""Record which images a head was trained on: the first eight bytes of their sha256, stored with its parameters.

The cache may be extracted again or deleted; hashes of the images still show which rows of another cache it has seen.
"""

from collections.abc import Sequence

import numpy as np

NAME = "seen_images"
"""Name of their tensor in the classifier's file."""


def seen_images(sha256: np.ndarray | Sequence[bytes]) -> np.ndarray:
    """Return the shortened hashes of images, int32 ``[n, 2]``, without duplicates.

    Parameters
    ----------
    sha256
        uint8 ``[n, 32]``, or a sequence of digests.
    """
    return np.unique(_words(sha256)).view("<i4").reshape(-1, 2)


def merge_seen(first: np.ndarray | None, second: np.ndarray) -> np.ndarray | None:
    """Return the union of both; ``None`` if the first is unknown."""
    return None if first is None else np.unique(np.concatenate([first, second]), axis=0)


def count_seen(seen: np.ndarray, sha256: np.ndarray) -> int:
    """Return how many of the images with these hashes, uint8 ``[n, 32]``, are in `seen`."""
    return int(which_seen(seen, sha256).sum())


def which_seen(seen: np.ndarray, sha256: np.ndarray) -> np.ndarray:
    """Return bool ``[n]``: which of the images with these hashes, uint8 ``[n, 32]``, are in `seen`."""
    known = np.ascontiguousarray(seen, "<i4").view("<i8").reshape(-1)
    return np.isin(_words(sha256), known)


def _words(sha256: np.ndarray | Sequence[bytes]) -> np.ndarray:
    digests = sha256 if isinstance(sha256, np.ndarray) else np.frombuffer(b"".join(sha256), np.uint8)
    return np.ascontiguousarray(digests.reshape(-1, 32)[:, :8]).view("<i8").reshape(-1)
