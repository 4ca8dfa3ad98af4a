"""How explained photos are named, and that each is read once."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from featcache.classifier import photos
from featcache.explanations.records import told_names
from featcache.explanations.work import Work
from featcache.images.transforms import Transforms


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["/data/f/a/1.jpg", "/data/f/b/1.jpg"], ["a/1.jpg", "b/1.jpg"]),
        (["photos/1.jpg", "photos/deep/1.jpg"], ["1.jpg", "deep/1.jpg"]),
        (["/x/1.jpg"], ["1.jpg"]),
        (["a/1.jpg", "/a/1.jpg"], ["a/1.jpg", "/a/1.jpg"]),
        (["0", "1"], ["0", "1"]),
        (["same/1.jpg", "same/1.jpg"], ["1.jpg", "1.jpg"]),
        ([], []),
    ],
)
def test_a_folder_that_all_share_is_not_said(ids, told):
    assert told_names(ids) == told


def test_a_photo_is_read_once_and_its_hash_told(tmp_path, monkeypatch):
    path = tmp_path / "1.png"
    Image.new("RGB", (8, 8), "red").save(path)
    read, real = [], photos.read_regular_file
    monkeypatch.setattr(photos, "read_regular_file", lambda name: read.append(name) or real(name))
    subject = SimpleNamespace(
        transforms=Transforms(
            input_size=(8, 8), crop_mode="squash", interpolation="bilinear", mean=(0.0,) * 3, std=(1.0,) * 3
        )
    )
    work = Work(subject, None, None, top=1, asked=None, most=0, on_progress=None)
    work.read(photos.photos_of([path, np.zeros((8, 8, 3), np.uint8)]))
    assert read == [str(path)]
    assert work.hashes == [hashlib.sha256(path.read_bytes()).digest(), None]
