"""Only caches whose heads are judged by the same labelled images are compared; others are named."""

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache.errors import DataError, UsageError
from featcache.sweeps.comparable import cache_names, comparable
from featcache.sweeps.data import Protocol, SweepData
from featcache.sweeps.sweep import sweep

RIDGE = {"head": "ridge", "l2": "1,100"}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Write a cache of some of 120 images; `first` changes the number of the first image."""
    folder = tmp_path_factory.mktemp("caches")
    features, labels = blobs(120)

    def make(name, rows=range(120), *, first=0, splits=None, labels=labels, **given):
        own = list(rows)
        given = {"images": [first + row for row in own]} | given
        named = splits or ["train" if row % 5 else "test" for row in own]
        return feature_cache(folder / name, features[own], labels[own], named, **given)

    return make


@pytest.fixture(scope="module")
def whole(make):
    return make("photos.h5")


def chosen(caches, **given):
    return comparable(caches, lambda cache: SweepData(cache, Protocol(**given), memory=2**30))


def names(data):
    return [own.cache.path.name for own in data]


def test_shards_and_slices_are_left_out_by_name(make, whole, tmp_path):
    shards = [make(f"photos.part-{n}-of-4.h5", range(n - 1, 120, 4)) for n in (1, 2, 3)]
    result = sweep([*shards, whole], output=tmp_path / "out", **RIDGE)
    assert len(result.leaderboard) == 2
    assert result.chosen.test.count == 24
    told = [warning for warning in result.warnings if warning.startswith("left out")]
    assert len(told) == 3
    assert told[0] == (
        f"left out: {shards[0].path} holds 30 of the 120 images of {whole.path}: it is a shard, a slice or an older "
        "state"
    )
    with pytest.raises(
        UsageError, match=r"part-2-of-4\.h5 holds other images than .*part-1-of-4\.h5; one leaderboard"
    ):
        sweep(shards, output=tmp_path / "shards", **RIDGE)


def test_the_kind_with_most_caches_stays(make, whole):
    second = make("photos-b.h5", reversed(range(120)))
    others = make("other.h5", first=1000)
    some = make("some.h5", first=60)
    kept, told = chosen([others, whole, some, second])
    assert names(kept) == ["photos.h5", "photos-b.h5"], "the order of rows in the file is no matter"
    assert [line.rpartition("/")[0] for line in told] == [
        f"left out: {others.path} holds other images than {whole.path.parent}",
        f"left out: {some.path} holds 60 of the 120 images of {whole.path} and 60 others".rpartition("/")[0],
    ]
    with pytest.raises(
        UsageError, match=r"other\.h5 holds other images than .*photos\.h5; one leaderboard needs the"
    ):
        chosen([whole, others])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"splits": ["train" if row % 7 else "test" for row in range(120)]},
            r"has the same images as .*photos\.h5, but other (validation|test) rows \(\d+ of \d+ are the same\): "
            "extract both with the same --seed and --test-fraction, or name the rows",
        ),
        ({"classes": ("ant", "bee", "dog")}, r"has other classes than .*photos\.h5; one leaderboard"),
        (
            {"labels": np.where(np.arange(120) < 8, 0, blobs(120)[1])},
            r"has (the same images|\d+ (validation|test) images with other labels)",
        ),
    ],
)
def test_the_same_images_judged_otherwise(make, whole, given, told, request):
    other = make(f"{abs(hash(request.node.name))}.h5", **given)
    with pytest.raises(UsageError, match=told):
        chosen([whole, other])


def test_labels_of_test_rows_count(make, whole):
    labels = blobs(120)[1].copy()
    labels[0] = 2 - labels[0]
    other = make("relabelled.h5", labels=labels)
    with pytest.raises(UsageError, match=r"has 1 test images with other labels than .*photos\.h5"):
        chosen([whole, other])


def test_with_folds_all_rows_that_are_divided_count(make, whole):
    fewer = [row for row in range(120) if row != 6]  # a training row with or without folds
    shorter = make("shorter.h5", fewer)
    parts = {"train": "train[:50%]", "val": "train[90%:]"}
    # Without folds the same rows judge, whatever else is there.
    kept, _ = chosen([whole, shorter], val="test[:50%]", test="test[50%:]")
    assert names(kept) == ["photos.h5", "shorter.h5"]
    kept, told = chosen([whole, shorter], folds=3)
    assert names(kept) == ["photos.h5"]
    assert "holds 119 of the 120 images" in told[0]
    assert names(chosen([whole], **parts)[0]) == ["photos.h5"]


def test_a_cache_without_the_rows_that_are_asked_for(make, whole):
    bare = make("bare.h5", range(60), splits=["test"] * 60)
    kept, told = chosen([bare, whole])
    assert names(kept) == ["photos.h5"]
    assert told[0].startswith(f"left out: {bare.path} has no train split; it has test")
    with pytest.raises(DataError, match="has no train split"):
        chosen([bare])


def test_the_leaderboard_names_files_where_backbones_do_not_tell(make, whole, tmp_path):
    layers = make("photos-block.h5", layer="block")
    other = make("photos-resnet.h5", backbone="resnet50.tv_in1k")
    result = sweep([whole, layers, other], output=tmp_path / "out", save_best=False, **RIDGE)
    assert result.caches == (
        "mobilenet_v2.tv_in1k (photos.h5)",
        "mobilenet_v2.tv_in1k (photos-block.h5)",
        "resnet50.tv_in1k",
    )
    from featcache.cli.commands.sweep import lines

    assert any("mobilenet_v2.tv_in1k (photos" in line for line in lines(result))
    assert cache_names([whole, whole])[0].endswith(f"({whole.path})")
