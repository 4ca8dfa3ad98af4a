"""What a recipe may hold; see `featcache.core.identity.Recipe` for what it means.

Transforms and views are checked in full where images are prepared by them, by `featcache.images.transforms.Transforms`
and `featcache.images.views.Views`. Caches of other programs may hold fewer keys.
"""

from dataclasses import dataclass
from typing import Any

from featcache.core.documents.kinds import (
    SHA256,
    Flag,
    Items,
    Misfit,
    Number,
    Record,
    Table,
    Text,
    Whole,
    Word,
    shown,
)

MOST_VIEWS = 10_000

_NAME = Text(1, 200)
_SIDE = Whole(
    1, 4096
)  # as in `featcache.backbones.input_size`: larger ones would only show when memory runs out

TRANSFORMS = Record(
    {},
    {
        "input_size": Items(_SIDE, 2, 2),
        "crop_pct": Number(0, 1),
        "crop_mode": _NAME,
        "interpolation": _NAME,
        "antialias": Flag(),
        "mean": Items(Number(), 3, 3),
        "std": Items(Number(), 3, 3),
        "channel_order": _NAME,
        "exif": _NAME,
        "rgb": _NAME,
    },
)

POLICY = Record(
    {
        "crop": _NAME,
        "scale": Items(Number(0, 1), 2, 2),
        "ratio": Items(Number(0), 2, 2),
        "margin": Whole(0, 4096),
        "flip": Number(0, 1),
        "brightness": Number(0),
        "contrast": Number(0),
        "saturation": Number(0),
        "hue": Number(0, 0.5),
    }
)


@dataclass(frozen=True)
class _Views(Record):
    def _check_parts(self, value: Any) -> None:
        super()._check_parts(value)
        if (value["count"] == 1) != (value["policy"] == "none"):
            expected = (
                "'none' of one view"
                if value["count"] == 1
                else f"{POLICY.expected} of {value['count']} views"
            )
            raise Misfit(f"is {shown(value['policy'])}, expected {expected}", ".policy")


VIEWS = _Views({"policy": Word("none", POLICY), "seed": Whole(), "count": Whole(1, MOST_VIEWS)})

RECIPE = Record(
    {
        "format_version": Whole(1, 1),
        "backbone": Record({"arch": _NAME, "revision": Whole(), "config": Table(), "weights_sha256": SHA256}),
        "transforms": TRANSFORMS,
        "views": VIEWS,
        "compute_dtype": _NAME,
        "matmul_precision": _NAME,
        "stored_dtype": Text(choices=("float32", "float16")),
    }
)
