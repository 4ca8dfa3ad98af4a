"""How an audit comes to the photos of a cache."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.audited_photos import AuditedPhotos, encoded, scene

from featcache.auditing.photos import found_photos, reader
from featcache.errors import ImageError


class OfACache(AuditedPhotos):
    """Rows that know the cache that they are of."""

    def __init__(self, folder: Path) -> None:
        pictures = {
            f"train/{name}/{seed}.jpg": encoded(scene(seed))
            for seed, name in enumerate(("ant", "bee", "bee"))
        }
        super().__init__(pictures, np.ones((3, 2)), colours=False)
        self.cache = SimpleNamespace(identity={"dataset": {"spec": f"folder:{folder}"}})
        for name, data in pictures.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def test_photos_are_read_where_they_were(tmp_path: Path) -> None:
    rows = OfACache(tmp_path)
    (tmp_path / rows.ids[1]).write_bytes(encoded(scene(9)))
    read = reader(rows, "found")
    assert read is not None
    assert read(rows.ids[0]) == rows.read(rows.ids[0])
    with pytest.raises(ImageError, match="is another picture than its features were computed of"):
        read(rows.ids[1])


def test_without_photos_there_is_no_reader(tmp_path: Path) -> None:
    rows = OfACache(tmp_path)
    rows.cache.identity["dataset"]["spec"] = f"folder:{tmp_path / 'gone'}"
    assert reader(rows, "found") is None
    assert found_photos(rows).moved.startswith("There are no pictures")
    assert found_photos(rows, given=f"folder:{tmp_path}").read is not None
    assert reader(rows, None) is None
    assert reader(rows, rows.read) == rows.read


def test_rows_of_no_cache_have_no_photos() -> None:
    rows = AuditedPhotos({"train/0": encoded(scene(0))}, np.ones((1, 2)))
    assert reader(rows, "found") is None
