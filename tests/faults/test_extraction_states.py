"""What an extraction finds at its target, and several at once; with a fake network, which computes in no time."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_network import FakeNetwork, expected
from helpers.photo_folders import photo_folder

import featcache
from featcache.cache import FeatureCache, partial_path, repair, verify
from featcache.cache.layout import fresh_path, previous_path
from featcache.errors import IntegrityError, Interrupted, MissingFileError


@pytest.fixture
def photos(tmp_path) -> Path:
    return photo_folder(tmp_path / "photos", {"train/cat": 4, "train/dog": 4})


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "a.h5"


def extract(photos, target, **options):
    return featcache.extract(photos, **{"backbone": FakeNetwork(), "output": target, "workers": 1} | options)


def stop_after(photos, target, done, **options):
    seen = []
    with pytest.raises(Interrupted, match=rf"stopped after {done} of 8 images, which are kept; run the same"):
        extract(
            photos,
            target,
            on_progress=lambda progress: seen.append((progress.stage, progress.done)),
            stop=lambda: seen[-1][0] == "compute" and seen[-1][1] >= done,
            **options,
        )


def assert_right(photos, done, layers=("pool",)):
    with FeatureCache(done.path) as cache:
        assert tuple(cache.layers) == (*layers, "image:statistics")
        assert np.isfinite(cache.features(cache.rows_of(), "image:statistics")).all()
        for layer in layers:
            for row, features in enumerate(cache.features(cache.rows_of(), layer)):
                np.testing.assert_array_equal(features, expected(photos / cache.ids[row]))


def flip(path, position):
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def position_of_row(path, row, layer="pool"):
    with FeatureCache(path) as cache:
        return cache._stored.layout.offsets[f"features/{layer}"] + row * cache.layers[layer].row_bytes


def test_an_unfinished_cache_of_more_layers_does_not_stop_one_of_fewer(photos, target):
    stop_after(photos, target, 4, layers=["pool", "mixed7"])
    done = extract(photos, target, layers=["pool", "mixed7"])
    assert (done.resumed, done.computed) == (4, 4)
    assert_right(photos, done, ("pool", "mixed7"))
    target.chmod(0o644)
    target.unlink()
    stop_after(photos, target, 4, layers=["pool", "mixed7"])
    assert_right(photos, extract(photos, target, layers=["pool", "mixed7"]), ("pool", "mixed7"))


def test_a_target_of_fewer_layers_beside_an_unfinished_one_of_more(photos, target):
    extract(photos, target)
    stop_after(photos, target, 4, layers=["pool", "mixed7"], overwrite=True)
    (photos / "train" / "cat" / "3.png").write_bytes(
        (photos / "train" / "dog" / "3.png").read_bytes() + b"\0"
    )
    assert_right(photos, extract(photos, target))


def test_a_damaged_row_is_computed_anew_when_others_are_added(photos, target):
    extract(photos, target)
    flip(target, position_of_row(target, 2) + 11)
    photo_folder(photos, {"train/owl": 1})
    done = extract(photos, target)
    assert (done.reused, done.computed) == (7, 2)
    assert_right(photos, done)


def test_unfinished_files_of_fewer_layers_and_of_more_and_no_finished_one(photos, target):
    """Found by the soak (seed 50026): the rows of fewer layers were to be copied into the file of more."""
    stop_after(photos, target, 6)
    stop_after(photos, target, 4, layers=["pool", "mixed7"], overwrite=True)
    assert previous_path(target).exists()
    done = extract(photos, target)
    assert (done.resumed, done.computed) == (4, 4)
    assert_right(photos, done, ("pool", "mixed7"))
    assert sorted(path.name for path in target.parent.glob("a.*")) == ["a.h5"]


@pytest.mark.parametrize("options", [{}, {"verify": True}, {"reuse": []}], ids=str)
def test_a_file_that_was_just_being_created_goes_though_nothing_is_left_to_do(options, photos, target):
    """Found by the soak (seed 1000): a power cut, and then images that are as before."""
    extract(photos, target)
    fresh_path(target).write_bytes(b"half a file")
    assert extract(photos, target, **options).computed == 0
    assert sorted(path.name for path in target.parent.glob("a.*")) == ["a.h5"]


def test_a_repaired_cache_is_finished_by_computing_the_damaged_row(photos, target):
    extract(photos, target)
    flip(target, position_of_row(target, 2) + 11)
    repair(target)
    done = extract(photos, target)
    assert (done.resumed, done.computed) == (7, 1)
    assert_right(photos, done)


def places(path) -> dict[str, int]:
    """A byte of every part of a cache; beside the rows, one of what lies between them."""
    with FeatureCache(path) as cache:
        offsets = cache._stored.layout.offsets
        middle = {name: offset + 2 for name, offset in offsets.items()}
        return {"magic": 3, "digest": 30, "header": 120, **middle, "end": cache.nbytes - 1}


ROW_PARTS = (
    "features/pool",
    "features/image:statistics",
    "crc32/pool",
    "crc32/image:statistics",
    "rows/status",
)


@pytest.mark.parametrize("by_name", [False, True])
def test_what_is_called_finished_is_not_refused_afterwards(by_name, photos, target, monkeypatch, tmp_path):
    monkeypatch.setattr("featcache.backbones.load", lambda name, weights=None: FakeNetwork())
    options = {"backbone": "fake"} if by_name else {}
    (photos / "train/dog/zero.png").touch()
    extract(photos, target, **options)
    whole = target.read_bytes()
    healed, said = set(), []
    for name, place in places(target).items():
        flip(target, place)
        try:
            done = extract(photos, target, **options)
        except IntegrityError as error:
            said.append(str(error))
        else:
            healed.add(name)
            assert (done.damaged, done.reused, done.computed) == (1, 7, 1)
            assert verify(target).ok
            assert_right(photos, done)
        target.chmod(0o644)
        target.write_bytes(whole)
    assert healed == {*ROW_PARTS}
    assert all("or delete it and run the same featcache extract command again" in text for text in said)
    assert extract(photos, target, **options).damaged == 0


def test_a_damaged_target_is_refused_and_can_be_overwritten(photos, target):
    extract(photos, target)
    flip(target, 100)
    with pytest.raises(IntegrityError, match="the header does not match its checksum"):
        extract(photos, target)
    # Also where the backbone is given by name, for which a finished cache is looked at before anything else.
    with pytest.raises(IntegrityError, match="the header does not match its checksum"):
        extract(photos, target, backbone="efficientnet_lite0", weights="random")
    done = extract(photos, target, overwrite=True)
    assert done.computed == 8
    assert_right(photos, done)


STOPPED = """
import sys
from pathlib import Path
from helpers.fake_network import FakeNetwork
import featcache
from featcache.cli.signals import stop_gently
from featcache.errors import Interrupted

def report(progress):
    if (progress.stage, progress.done) == ("compute", 4):
        print("four", flush=True)
        sys.stdin.readline()

with stop_gently() as stop:
    try:
        featcache.extract(
            sys.argv[1], backbone=FakeNetwork(), output=sys.argv[2], workers=1, on_progress=report, stop=stop
        )
    except Interrupted as error:
        print(error)
        sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_chunk_finish_and_keeps_it(number, photos, target):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    child = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(photos), str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout.readline() == "four\n"
    child.send_signal(number)
    said, _ = child.communicate("\n")
    assert said == "stopped after 4 of 8 images, which are kept; run the same command again to go on\n"
    assert child.returncode == 130
    done = extract(photos, target)
    assert (done.resumed, done.computed) == (4, 4)
    assert_right(photos, done)


def extract_shard(photos: str, target: str, shard: str) -> None:
    extract(Path(photos), Path(target), shard=shard)


def test_shards_of_three_processes_in_any_order_are_the_single_run(photos, target, tmp_path):
    photo_folder(photos, {"test/cat": 3, "test/dog": 3})
    parts = [tmp_path / f"part-{number}.h5" for number in (1, 2, 3)]
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=extract_shard, args=(str(photos), str(parts[number - 1]), f"{number}/3"))
        for number in (3, 1, 2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted(len(FeatureCache(part)) for part in parts) == [4, 5, 5]
    whole = extract(photos, tmp_path / "apart" / "whole.h5")
    done = extract(photos, target, reuse=[parts[1], parts[2], parts[0]])
    assert (whole.computed, done.computed, done.reused) == (14, 0, 14)
    with done.cache as cache, whole.cache as reference:
        np.testing.assert_array_equal(cache.to_numpy(), reference.to_numpy())
        assert cache.identity["rows"] == reference.identity["rows"]
        assert cache.identity["dataset"] == reference.identity["dataset"]


def test_a_shard_that_is_not_finished_says_how_far_it_is(photos, target, tmp_path):
    part = tmp_path / "part.h5"
    stop_after(photos, part, 4)
    with pytest.raises(MissingFileError, match=r"part.h5 is not finished \(50 % complete\)"):
        extract(photos, target, reuse=[part])
    assert partial_path(part).exists()
