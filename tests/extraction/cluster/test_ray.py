"""Real actors of Ray: the bytes of one process, whoever dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from helpers.cluster_caches import contents
from helpers.fake_network import FakeNetwork
from helpers.mortal_network import MortalNetwork
from helpers.photo_folders import photo_folder

import featcache
from featcache.cache.layout import partial_path
from featcache.errors import UsageError
from featcache.extraction.cluster.local_ray import LocalRay

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")]

STORE = 80_000_000
"""Bytes: Ray takes no less."""

HELD = """
import sys
import featcache
from helpers.mortal_network import HeldNetwork

def told(progress):
    if progress.stage == "compute":
        print(progress.done, flush=True)

featcache.extract(sys.argv[1], backbone=HeldNetwork(), output=sys.argv[2], cluster="ray", actors=2, on_progress=told)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of which one is none."""
    photos = photo_folder(tmp_path_factory.mktemp("photos"), {"cat": 200, "dog": 200})
    sorted(photos.rglob("*.*"))[77].write_bytes(b"no picture")
    return photos


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    return contents(extracted(folder, tmp_path_factory.mktemp("alone") / "a.h5").path)


@pytest.fixture(scope="module")
def running():
    """A Ray of this process, with room for four actors."""
    local = LocalRay(4, STORE)
    ray.init(address=local.address(), log_to_driver=False)
    yield
    ray.shutdown()
    local.end()


def extracted(folder, target, backbone=None, **options):
    return featcache.extract(folder, backbone=backbone or FakeNetwork(), output=target, **options)


@pytest.mark.parametrize("actors", [2, 3])
def test_actors_give_the_bytes_of_one_process(folder, tmp_path, running, alone, actors):
    done = extracted(folder, tmp_path / "a.h5", cluster="ray", actors=actors)
    assert contents(tmp_path / "a.h5") == alone
    assert done.engine.endswith(f"{actors} actors of Ray {ray.__version__}")
    assert ray.is_initialized(), "who has started it ends it"


def test_actors_that_are_killed_are_replaced(folder, tmp_path, running, alone):
    (tmp_path / "notes").mkdir()
    mortal = MortalNetwork(tmp_path / "notes", deaths=3)
    extracted(folder, tmp_path / "a.h5", mortal, cluster="ray", actors=2)
    assert contents(tmp_path / "a.h5") == alone
    assert len([*(tmp_path / "notes").iterdir()]) == 3


def test_more_actors_than_a_cluster_has_room_for_are_refused(folder, tmp_path, running):
    with pytest.raises(UsageError, match="5 actors of 1 CPUs and 0 GPUs each do not fit the cluster"):
        extracted(folder, tmp_path / "a.h5", cluster="ray", actors=5)


def test_a_killed_driver_leaves_no_process_and_its_command_goes_on(folder, tmp_path, running, alone):
    target = tmp_path / "a.h5"
    path = os.pathsep.join(["tests", *filter(None, [os.environ.get("PYTHONPATH")])])
    driver = subprocess.Popen(
        [sys.executable, "-c", HELD, str(folder), str(target)],
        cwd=Path(__file__).parents[3],
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert any(int(line) >= 64 for line in driver.stdout), "it ended before it had computed anything"
    others = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    _, left = psutil.wait_procs(others, timeout=30)
    assert not left
    assert partial_path(target).exists()
    done = extracted(folder, target, cluster="ray", actors=2)
    assert done.resumed >= 64
    assert contents(target) == alone
