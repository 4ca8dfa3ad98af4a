"""Caches that nobody named: beside the target, or in FEATCACHE_HOME, of the same recipe and the same bytes."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder, save_photo

from featcache import FeatureCache, extract
from featcache.core.environment import home
from featcache.errors import FeatcacheWarning, IdentityError
from featcache.extraction.runner import FeatureRunner


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return photo_folder(Path("photos"), {"cat": 4, "dog": 4})


@pytest.fixture
def run(network):
    def run(dataset="photos", **options):
        return extract(dataset, backbone=network, **{"layers": ("stem",), **options})

    return run


def table(*names: str) -> str:
    lines = "".join(f"{name},{Path(name).parent.name}\n" for name in names)
    Path("list.csv").write_text("path,label\n" + lines)
    return "csv:list.csv"


def test_the_same_photos_through_a_table_are_copied(run, photos):
    first = run(output="first.h5")
    names = [str(path) for path in sorted(photos.glob("*/*.png"))]
    done = run(table(*names[:-1]), output="second.h5")
    assert (done.computed, done.reused, dict(done.reused_from)) == (0, 7, {"first.h5": 7})
    known = dict(zip(first.cache.ids, first.cache.features(range(8)), strict=True))
    for name, values in zip(done.cache.ids, done.cache.features(range(7)), strict=True):
        assert np.array_equal(values, known[name.removeprefix("photos/")])


def test_by_bytes_and_never_by_name_size_or_time(run, photos):
    run(output="first.h5")
    changed = photos / "cat" / "0.png"
    before = changed.stat()
    other = changed.read_bytes()[:-20] + bytes(20)
    changed.write_bytes(other)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    save_photo(photos / "dog" / "new.png", "dog/new.png")
    done = run(table(*(str(path) for path in sorted(photos.glob("*/*.png")))), output="second.h5")
    assert (done.reused, done.computed + len(done.quarantined)) == (7, 2)


def test_other_files_in_the_folder_are_no_ones_business(run, photos, network):
    extract("photos", backbone=network, layers=("block1a",), output="layer.h5")
    smaller = replace(network.transforms, input_size=(96, 96))
    extract("photos", backbone=network, layers=("stem",), transforms=smaller, output="size.h5")
    Path("weights.h5").write_bytes(b"another program's")
    Path("folder.h5").mkdir()
    damaged = bytearray(Path("layer.h5").read_bytes())
    Path("damaged.h5").write_bytes(damaged[: len(damaged) // 2])
    done = run(output="second.h5")  # a warning would fail the test
    assert (done.computed, done.reused, dict(done.reused_from)) == (8, 0, {})


def test_damaged_rows_of_a_found_cache_are_computed(run, photos):
    first = run(output="first.h5")
    content = bytearray(first.path.read_bytes())
    content[content.index(first.cache.features([3]).tobytes()) + 9] ^= 1
    first.path.chmod(0o644)
    first.path.write_bytes(content)
    done = run(output="second.h5")
    assert (done.computed, done.reused) == (1, 7)


def test_caches_at_home_are_found_and_the_nearer_come_first(run, photos):
    whole = run(output="far/whole.h5")
    (home() / "caches").mkdir(parents=True, exist_ok=True)
    at_home = Path(shutil.copy(whole.path, home() / "caches" / "found.h5"))
    try:
        run(table("photos/cat/0.png", "photos/cat/1.png", "photos/dog/0.png"), output="near.h5")
        done = run(output="second.h5")
        assert dict(done.reused_from) == {"near.h5": 3, str(at_home): 5}
        assert done.computed == 0
    finally:
        at_home.unlink()


def test_one_that_another_machine_computed_otherwise_is_left_out_and_a_named_one_is_refused(
    run, photos, monkeypatch
):
    run(table("photos/cat/0.png", "photos/dog/0.png"), output="first.h5")
    same = FeatureRunner.require_same_probes

    def unlike(self, ours, theirs, *, origin):
        shifted = {layer: (np.array(values) + 1).tolist() for layer, values in theirs.items()}
        same(self, ours, shifted, origin=origin)

    monkeypatch.setattr(FeatureRunner, "require_same_probes", unlike)
    with pytest.warns(
        FeatcacheWarning, match=r"^left out: first\.h5 has the same recipe, but its probe images gave"
    ):
        done = run(output="second.h5")
    assert (done.computed, done.reused) == (8, 0)
    with (
        pytest.warns(FeatcacheWarning, match=r"^left out: second\.h5 has the same recipe"),
        pytest.raises(IdentityError, match=r"^first\.h5 has the same recipe, but its probe images gave"),
    ):
        run(output="third.h5", reuse=["first.h5"])
    assert FeatureCache("second.h5").intact().all()


def test_parts_are_joined_without_being_named(run, photos):
    for number in (1, 2):
        run(shard=f"{number}/2", output=f"part{number}.h5")
    done = run(output="whole.h5")
    assert dict(done.reused_from) == {"part1.h5": 4, "part2.h5": 4}
