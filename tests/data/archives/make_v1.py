"""Write the archived caches of format 1 into ``v1/``; every later version must read them.

Run once, when the format was fixed (``python tests/data/archives/make_v1.py``); not again: a file that is
written anew proves nothing about old ones.

- ``formula.h5``: every value follows from a formula, see ``features_of``; rows 3 and 10 have none.
- ``extracted.h5``: a real extraction of made-up photos (``tests/photo_folders.py``) with EfficientNet-Lite0.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

HERE = Path(__file__).parent / "v1"
COUNT = 12
QUARANTINED = {3: 1, 10: 8}
LAYERS = {"pool": ((8,), "float32"), "block_3:avg": ((2, 3), "float16")}
RECIPE_VALUES = {
    "arch": "mobilenet_v2",
    "revision": 1,
    "config": {"width": 1.0},
    "weights_sha256": "ab" * 32,
    "transforms": {"input_size": [224, 224], "interpolation": "bicubic"},
}


def features_of(layer: str, row: int) -> np.ndarray:
    """Row number plus an eighth of each value's position; negative in the second layer."""
    shape, dtype = LAYERS[layer]
    values = row + np.arange(np.prod(shape)).reshape(shape) / 8
    return (values if layer == "pool" else -values).astype(dtype)


def id_of(row: int) -> str:
    return "train/rose/caf\udce9.jpg" if row == 1 else f"train/class/{row}.jpg"


def write_formula(path: Path) -> None:
    from featcache.identity import Recipe

    from featcache.cache import CacheWriter, LayerSpec, RowTable
    from featcache.cache.layout import build_identity

    recipe = Recipe(**RECIPE_VALUES)
    rows = RowTable(
        ids=tuple(id_of(row) for row in range(COUNT)),
        sha256=np.arange(COUNT * 32).astype(np.uint8).reshape(COUNT, 32),
        labels=np.arange(COUNT, dtype=np.int32) % 3,
        splits=np.arange(COUNT, dtype=np.int16) // 4,
        sizes=np.arange(COUNT, dtype=np.int64) + 1000,
        mtimes_ns=np.arange(COUNT, dtype=np.int64) + 1_700_000_000_000_000_000,
    )
    identity = build_identity(
        recipe=recipe.to_json(),
        layers={n: LayerSpec(shape, dtype, recipe.fingerprint(n)) for n, (shape, dtype) in LAYERS.items()},
        dataset={
            "spec": "flowers",
            "classes": ["daisy", "rose", "tulip"],
            "splits": ["train", "val", "test"],
            "rule": None,
        },
        rows=rows,
        provenance={"backbone": "mobilenet_v2.tv_in1k", "created": "2026-11-08T12:00:00+0000"},
    )
    with CacheWriter.create(path, identity=identity, rows=rows) as writer:
        present = [row for row in range(COUNT) if row not in QUARANTINED]
        writer.write(present, {n: np.stack([features_of(n, row) for row in present]) for n in LAYERS})
        for row, status in QUARANTINED.items():
            writer.quarantine(row, status)
        writer.publish()


def write_extracted(path: Path) -> None:
    from helpers.photo_folders import photo_folder

    import featcache

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        photo_folder(Path("photos"), {"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 1})
        Path("photos/train/cat/broken.jpg").write_text("not an image")
        Path("photos/test/dog/again.png").write_bytes(Path("photos/train/dog/0.png").read_bytes())
        featcache.extract(
            "photos", backbone="efficientnet_lite0", layers=["pool"], dtype="float16", output=path
        )


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name, write in (("formula.h5", write_formula), ("extracted.h5", write_extracted)):
        if (HERE / name).exists():
            sys.exit(f"{HERE / name} exists; archives are never written anew")
        write(HERE / name)
        print(HERE / name, (HERE / name).stat().st_size)
