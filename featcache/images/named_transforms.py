"""Transforms that are named, as on the command line, instead of spelled out: how a picture is cropped and resized."""

import re

from featcache.errors import UsageError, did_you_mean

PUBLISHED = "published"
NAMES = (PUBLISHED, "center", "squash")
EXPECTED = "published, center:CROP_PCT or squash:CROP_PCT, such as center:0.875"


def read_name(text: str) -> tuple[str, float]:
    """Return what a text such as ``"center:0.875"`` names: `PUBLISHED` or a crop mode, and a share of the picture.

    What it means for some weights is in `featcache.backbones.protocols.named_transforms`.

    Raises
    ------
    UsageError
        With what is expected.

    Examples
    --------
    >>> read_name("center:0.875"), read_name("squash")
    (('center', 0.875), ('squash', 1.0))
    """
    word, colon, number = text.strip().lower().partition(":")
    mode = "center" if word == "centre" else word
    crop_pct = float(number) if re.fullmatch(r"[0-9]*\.?[0-9]+", number) else 0.0 if colon else 1.0
    if mode not in NAMES or not 0 < crop_pct <= 1 or (mode == PUBLISHED and colon):
        hint = f"; {did_you_mean(word, NAMES)}" if mode not in NAMES else ""
        raise UsageError(f"transforms {text!r}: expected {EXPECTED}, with a share above 0 and up to 1{hint}")
    return mode, crop_pct
