"""Photos by formula, in integers only, so that every machine and every numpy makes the same bytes."""

import numpy as np

# (height, width): portrait, landscape, odd sides, smaller than the crop, already as the resize wants, narrow.
SIZES = ((500, 333), (375, 500), (301, 299), (97, 131), (40, 63), (256, 256), (1024, 65))


def photo(height: int, width: int) -> np.ndarray:
    """A smooth colour gradient with triangle waves and noise on top, uint8[height, width, 3]."""
    y, x, c = np.ogrid[:height, :width, :3]
    smooth = (y * 130) // height + (x * 60) // width + c * 20
    period = 24 + 14 * c
    waves = np.abs((3 * x + 2 * y) % period - period // 2)
    noise = ((x * 1103515245 + y * 12345 + c * 2654435761 + x * y * 69069) >> 7) % 24
    return (smooth + waves + noise).astype(np.uint8)
