"""A cluster that is to be joined and does not answer: said, and left at once, where Ray itself would go on trying."""

import socket
import threading
from types import SimpleNamespace

import pytest

from featcache.errors import UsageError
from featcache.extraction.cluster import ray_workers
from featcache.extraction.cluster.ray_workers import RayWorkers
from featcache.extraction.cluster.settings import ClusterSettings

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.fixture
def silent(monkeypatch):
    """An address that takes connections and answers nothing, and a Ray that waits for it until the test ends."""
    ended, stopped = threading.Event(), []
    monkeypatch.setattr(ray_workers, "_LAST_WORD", 0.01)
    monkeypatch.setattr(ray, "init", lambda **given: ended.wait())
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: stopped.append(True))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        workers = RayWorkers(ClusterSettings(cluster="ray", address=address), SimpleNamespace(), None)
        yield SimpleNamespace(workers=workers, address=address, ended=ended, stopped=stopped)
        ended.set()
        workers._thread.join()


def test_a_cluster_that_does_not_answer_is_an_error(silent, monkeypatch):
    monkeypatch.setattr(ray_workers, "PATIENCE", 0.0)
    with pytest.raises(UsageError, match=f"address {silent.address}: no answer of a Ray cluster for 0 s"):
        silent.workers.wait(lambda: None)


def test_an_end_does_not_wait_for_it_and_what_answers_afterwards_is_left(silent):
    silent.workers.close()
    assert silent.workers._thread.is_alive()
    silent.ended.set()
    silent.workers._thread.join()
    assert silent.stopped == [True]
    assert silent.workers._actors == []
