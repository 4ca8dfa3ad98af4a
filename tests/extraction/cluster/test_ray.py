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
from featcache.core.argument_types import named_as_options
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


KILLED = """
import os, pathlib, sys, warnings
import featcache
from helpers.mortal_network import MortalNetwork

warnings.simplefilter("ignore")
network = MortalNetwork(pathlib.Path(sys.argv[3]), deaths=2)
done = featcache.extract(sys.argv[1], backbone=network, output=sys.argv[2], cluster="ray", actors=2)
print(f"{done.images} rows, {len(os.listdir(sys.argv[3]))} deaths")
"""


def _environment() -> dict[str, str]:
    """Return that of a program which starts a Ray of its own."""
    path = os.pathsep.join(["tests", *filter(None, [os.environ.get("PYTHONPATH")])])
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "PYTHONPATH": path
    }


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
    own = [each for each in psutil.Process().children(recursive=True) if each.is_running()]
    local.end()
    _, left = psutil.wait_procs(own, timeout=30)
    assert not left, "nobody waits for its end, and it ends all the same"


def extracted(folder, target, backbone=None, **options):
    return featcache.extract(folder, backbone=backbone or FakeNetwork(), output=target, **options)


def test_an_address_at_which_nothing_is_names_where_it_is_from(folder, tmp_path, monkeypatch):
    asked = {"backbone": FakeNetwork(), "output": tmp_path / "a.h5", "cluster": "ray"}
    with (
        named_as_options(),
        pytest.raises(UsageError, match=r"--address nonsense: .* or leave --address out"),
    ):
        featcache.extract(folder, address="nonsense", **asked)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(
        UsageError, match=r"RAY_ADDRESS 127.0.0.1:1: .* or unset RAY_ADDRESS to start Ray on this machine"
    ):
        featcache.extract(folder, **asked)


def test_nothing_but_the_result_is_printed_when_actors_die(folder, tmp_path):
    (tmp_path / "notes").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "a.h5"), str(tmp_path / "notes")],
        cwd=Path(__file__).parents[3],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("400 rows, 2 deaths\n", "")


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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_driver_leaves_no_process_and_its_command_goes_on(folder, tmp_path, running, alone, how):
    target = tmp_path / "a.h5"
    driver = subprocess.Popen(
        [sys.executable, "-c", HELD, str(folder), str(target)],
        cwd=Path(__file__).parents[3],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert any(int(line) >= 64 for line in driver.stdout), "it ended before it had computed anything"
    others = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(how)
    assert driver.communicate()[1] == "", "Ray prints a stack"
    _, left = psutil.wait_procs(others, timeout=30)
    assert not left
    assert partial_path(target).exists()
    done = extracted(folder, target, cluster="ray", actors=2)
    assert done.resumed >= 64
    assert contents(target) == alone
