"""A home of its own, a bucket in memory, a web server that fails as it is told, and no waiting."""

from collections.abc import Iterator

import fsspec
import pytest
from helpers.object_server import ObjectServer, object_server

from featcache.datasets.remote.fetching import Patience


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FEATCACHE_OFFLINE", raising=False)  # servers here are on this machine


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been waited for, in seconds."""
    waited: list[float] = []
    own = Patience.wait

    def noted(self: Patience, attempt: int, asked: float | None) -> float:
        waited.append(own(self, attempt, asked))
        return 0.0

    monkeypatch.setattr(Patience, "wait", noted)
    return waited


@pytest.fixture
def bucket() -> Iterator[str]:
    yield "memory://bucket"
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


@pytest.fixture
def web() -> Iterator[tuple[ObjectServer, str]]:
    with object_server() as served:
        yield served
