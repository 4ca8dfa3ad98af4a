"""What a recipe may hold; see `featcache.core.identity.Recipe` for what it means.

Transforms and views are checked in full where images are prepared by them, by `featcache.images.transforms.Transforms`
and `featcache.images.views.Views`. Caches of other programs may hold fewer keys.
"""

from featcache.core.documents.kinds import SHA256, Flag, Items, Number, Record, Table, Text, Whole, Word

MOST_VIEWS = 1_000_000

_NAME = Text(1, 200)
_SIDE = Whole(1, 2**31 - 1)

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
        "margin": Whole(0, 2**31 - 1),
        "flip": Number(0, 1),
        "brightness": Number(0),
        "contrast": Number(0),
        "saturation": Number(0),
        "hue": Number(0, 0.5),
    }
)

VIEWS = Record({"policy": Word("none", POLICY), "seed": Whole(), "count": Whole(1, MOST_VIEWS)})

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
