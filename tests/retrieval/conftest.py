"""A small cache with everything that can be asked about: a copy, a broken picture, photos beside it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.tiny_finetuning import registered, tiny_network, tiny_photos

from featcache import extract


@pytest.fixture(scope="module", autouse=True)
def _tiny_is_known() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """``path`` of the cache, ``photos``, and the loaded ``network``; ``train/cat/broken.png`` has no features."""
    with registered():
        root: Path = tmp_path_factory.mktemp("similar")
        photos = tiny_photos(root / "photos")
        first = sorted(photos.glob("train/cat/*"))[0]
        shutil.copy(first, photos / "test" / "cat" / "copy.png")
        (photos / "train" / "cat" / "broken.png").write_bytes(first.read_bytes()[:40])
        network = tiny_network()
        made = extract(photos, backbone=network, layers=("pool", "block_2:map"), output=root / "f.h5")
    return SimpleNamespace(path=made.path, photos=photos, network=network, first=first, root=root)
