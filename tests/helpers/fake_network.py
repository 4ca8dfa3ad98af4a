"""A backbone whose features are the pixels themselves: no compiling, and an oracle that needs no network."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from featcache.core.identity import Recipe
from featcache.errors import ExportError
from featcache.images.resizing import prepare
from featcache.images.transforms import Transforms

WIDTH = 1280

TRANSFORMS = Transforms(
    input_size=(8, 8),
    crop_mode="squash",
    interpolation="bilinear",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


def features_of(images: np.ndarray) -> np.ndarray:
    """Pixels uint8 ``[B, 8, 8, 3]``, repeated to float32 ``[B, WIDTH]``."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return np.tile(flat, -(-WIDTH // flat.shape[1]))[:, :WIDTH]


def expected(path: Path) -> np.ndarray:
    """The features of one photo."""
    return features_of(prepare(path.read_bytes(), TRANSFORMS)[None])[0]


class FakeNetwork:
    """As much of `featcache.backbones.loaded.LoadedBackbone` as an extraction uses."""

    name, tag, weights_path, state = "fake.none", "none", None, None
    pretrained = SimpleNamespace(arch="fake", tag="none", name="fake.none")
    transforms = TRANSFORMS

    def layers(self, texts, transforms=None):
        return list(texts)

    def feature_shapes(self, layers, transforms=None):
        return dict.fromkeys(layers, (WIDTH,))

    def weights_sha256_to(self, layer):
        return "00" * 32

    def recipe(self, *, transforms=None, compute_dtype="float32", stored_dtype="float32"):
        return Recipe(
            arch="fake",
            revision=1,
            config={},
            weights_sha256="00" * 32,
            transforms=TRANSFORMS.to_json(),
            stored_dtype=stored_dtype,
        )

    def function(self, layers, *, transforms=None, compute_dtype="float32"):
        return lambda state, images: {layer: features_of(np.asarray(images)) for layer in layers}

    def remembers(self, key):
        return False

    def remembered(self, key, make):
        return make()

    def uncompiled(self, layers, *, transforms=None, compute_dtype="float32"):
        raise ExportError("pixels are copied in Python")
