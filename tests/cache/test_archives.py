"""Files written by earlier versions are read, with the values they were written with."""

import sys
from pathlib import Path

import numpy as np
import pytest

from featcache.cache import FeatureCache, verify

ARCHIVES = Path(__file__).parents[1] / "data" / "archives"
sys.path.insert(0, str(ARCHIVES))

from make_v1 import COUNT, LAYERS, QUARANTINED, features_of, id_of  # noqa: E402

FINGERPRINTS = ["b68cd885036b1eea", "4777ece6b9abf14b"]
EXTRACTED_IDS = (
    "test/cat/0.png",
    "test/dog/0.png",
    "test/dog/again.png",
    "train/cat/0.png",
    "train/cat/1.png",
    "train/cat/broken.jpg",
    "train/dog/0.png",
    "train/dog/1.png",
)
EXTRACTED_FEATURES = [  # every 300th
    [0.0350341796875, 0.0, 1.5673828125, 1.517578125, 0.0],
    [0.0294647216796875, 0.0, 1.2197265625, 0.63671875, 0.0],
    [0.0, 0.0, 1.6455078125, 0.75244140625, 0.0],
    [0.0, 0.0, 1.8056640625, 0.8203125, 0.0],
]


@pytest.mark.parametrize("path", sorted(ARCHIVES.glob("v*/*.h5")), ids=lambda path: path.stem)
def test_every_archive_is_intact(path):
    assert verify(path).ok


def test_version_1_by_formula():
    cache = FeatureCache(ARCHIVES / "v1" / "formula.h5")
    present = [row for row in range(COUNT) if row not in QUARANTINED]
    assert cache.rows_of().tolist() == present
    assert cache.rows_of("val").tolist() == [4, 5, 6, 7]
    assert {int(row): int(cache.status[row]) for row in cache.quarantined()} == QUARANTINED
    assert list(cache.layers) == list(LAYERS)
    for layer, (shape, dtype) in LAYERS.items():
        features = cache.features(present, layer)
        assert features.shape == (len(present), *shape)
        assert features.dtype == dtype
        for row, values in zip(present, features, strict=True):
            np.testing.assert_array_equal(values, features_of(layer, row))
    assert cache.ids == tuple(id_of(row) for row in range(COUNT))
    assert cache.labels.tolist() == [row % 3 for row in range(COUNT)]
    assert cache.classes == ("daisy", "rose", "tulip")
    assert cache.sha256[2].tolist() == list(range(64, 96))
    assert cache.sizes[5] == 1005
    assert cache.mtimes_ns[5] == 1_700_000_000_000_000_005
    assert cache.backbone == "mobilenet_v2.tv_in1k"
    # Fingerprints must stay what they were, or every cache that exists becomes one of "another recipe".
    assert [spec.fingerprint[:16] for spec in cache.layers.values()] == FINGERPRINTS


def test_version_1_extracted():
    cache = FeatureCache(ARCHIVES / "v1" / "extracted.h5")
    assert cache.ids == EXTRACTED_IDS
    assert cache.quarantined().tolist() == [EXTRACTED_IDS.index("train/cat/broken.jpg")]
    features, labels = cache.arrays("train")
    assert features.shape == (4, 1280)
    assert features.dtype == np.float16
    assert [cache.classes[label] for label in labels] == ["cat", "cat", "dog", "dog"]
    np.testing.assert_array_equal(features[:, ::300], np.array(EXTRACTED_FEATURES, np.float16))
    rows = {name: row for row, name in enumerate(cache.ids)}
    again = cache.features([rows["train/dog/0.png"], rows["test/dog/again.png"]])
    np.testing.assert_array_equal(again[0], again[1])
