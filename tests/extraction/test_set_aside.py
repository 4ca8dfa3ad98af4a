"""Finished caches whose names are those of an extraction's own files: none is replaced or removed."""

import shutil

import pytest
from helpers.fake_extractions import extract, extract_until
from helpers.photo_folders import save_photo

from featcache.cache import FeatureCache, partial_path
from featcache.cache.layout import previous_path
from featcache.errors import UsageError


def photo_folder(folder, first=0, last=2):
    for number in range(first, last):
        for name in ("cat", "dog"):
            save_photo(folder / "train" / name / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", ["a.previous.h5", "a.partial.h5", "A.Previous.h5"])
def test_no_cache_gets_the_name_of_an_extractions_own_file(tmp_path, name):
    photos = photo_folder(tmp_path / "photos")
    with pytest.raises(
        UsageError, match=r"ends in \.p\w+\.h5, the name of an unfinished .\.h5.* such as .-p\w+\.h5"
    ):
        extract(photos, tmp_path / name)
    assert [*tmp_path.glob("*.h5")] == []


@pytest.mark.parametrize("shared", [False, True], ids=["other photos", "a backup"])
def test_a_finished_previous_cache_stays(tmp_path, shared):
    photos, target = photo_folder(tmp_path / "photos"), tmp_path / "a.h5"
    done = extract(photos, target)
    done.cache.close()
    held = previous_path(target)
    (shutil.copy if shared else shutil.move)(target, held)
    before = held.read_bytes()
    photo_folder(tmp_path / "photos" if shared else tmp_path / "others", 2, 4)
    for _ in range(2):
        extract(tmp_path / "photos" if shared else tmp_path / "others", target).cache.close()
        assert held.read_bytes() == before
    assert len(FeatureCache(target)) == (8 if shared else 4)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_finished_cache_in_the_place_of_the_unfinished_one_is_named(tmp_path, read_only):
    photos, target = photo_folder(tmp_path / "photos"), tmp_path / "a.h5"
    extract(photos, tmp_path / "b.h5").cache.close()
    held = partial_path(target)
    shutil.move(tmp_path / "b.h5", held)
    if not read_only:  # copied to a disk without modes and back
        held.chmod(0o644)
    before = held.read_bytes()
    others = photo_folder(tmp_path / "others", 2, 5)
    with pytest.raises(
        UsageError, match=r"a\.partial\.h5 is a finished cache, and .*example to a-partial\.h5: rows"
    ):
        extract(others, target)
    assert held.read_bytes() == before
    assert not target.exists()
    held.rename(tmp_path / "a-partial.h5")
    assert extract(others, target).computed == 6


def test_older_rows_are_not_set_aside_over_a_finished_cache(tmp_path):
    photos, target = photo_folder(tmp_path / "photos"), tmp_path / "a.h5"
    extract(photos, tmp_path / "b.h5").cache.close()
    held = previous_path(target)
    shutil.move(tmp_path / "b.h5", held)
    before = held.read_bytes()
    extract_until(photo_folder(tmp_path / "photos", 2, 4), target, 6)
    photo_folder(tmp_path / "photos", 4, 6)
    with pytest.raises(
        UsageError, match=r"a\.previous\.h5 is a finished cache, and the extraction into a\.h5 needs"
    ):
        extract(photos, target)
    assert held.read_bytes() == before
    held.rename(tmp_path / "kept.h5")
    assert len(extract(photos, target).cache) == 12
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["a.h5", "kept.h5"]


def test_a_previous_cache_of_another_recipe_is_no_obstacle(tmp_path):
    photos, target = photo_folder(tmp_path / "photos"), tmp_path / "a.h5"
    extract(photos, tmp_path / "b.h5", dtype="float16").cache.close()
    shutil.move(tmp_path / "b.h5", previous_path(target))
    assert extract(photos, target).computed == 4
    assert previous_path(target).exists()
