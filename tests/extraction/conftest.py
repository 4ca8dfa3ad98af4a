"""Eight photos, a place for their cache, and a home of its own."""

from pathlib import Path

import pytest
from helpers.photo_folders import photo_folder

from featcache.datasets import file_state


@pytest.fixture
def own_home(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    # Files are hashed right after they were written here, and never written to twice within a tick.
    monkeypatch.setattr(file_state, "_TICK_NS", 0)


@pytest.fixture
def photos(tmp_path) -> Path:
    return photo_folder(tmp_path / "photos", {"train/cat": 4, "train/dog": 4})


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "a.h5"
