"""Extracting a slice of a dataset: which records are read, where they go, and that reading one costs nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder

from featcache import FeatureCache, extract, open_dataset, train_head
from featcache.datasets import Dataset, Record
from featcache.datasets.subset import Shard, Subset, open_subset, slice_records
from featcache.errors import FeatcacheWarning, UnknownNameError, UsageError
from featcache.extraction.dry_run import plan_extraction
from featcache.extraction.output_path import output_path
from featcache.extraction.spec import ExtractionSpec
from featcache.finetuning.data import from_photos
from featcache.splits.selection import SplitSpec, select_rows

TREE = {"train/cat": 4, "train/dog": 3, "test/cat": 2, "test/dog": 2}


def unread() -> bytes:
    raise AssertionError("a record of no slice was read")


def dataset(splits: list[str]) -> Dataset:
    """Records 0, 1, … of these splits, none of which may be read."""
    records = [Record(str(row), row % 2, split, unread) for row, split in enumerate(splits)]
    return Dataset("photos", "photos", ("cat", "dog"), records)


def ids(data: Dataset) -> list[int]:
    return [int(record.id) for record in data.records]


MIXED = ["train", "test", "train", "train", "test", "val", "train"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("train", [0, 2, 3, 6]),
        ("train[:50%]", [0, 2]),
        ("test+train[-1:]", [1, 4, 6]),
        ("train[-1:]+test", [1, 4, 6]),  # in the dataset's order either way, so that both are one cache
        ("all[:3]", [0, 1, 2]),
        ("[-2:]", [5, 6]),
    ],
)
def test_a_slice_is_cut_over_the_records_in_their_order(text, want):
    data = dataset(MIXED)
    assert ids(slice_records(data, text)) == want
    assert slice_records(data, text).classes == data.classes


def test_a_dataset_without_splits_is_sliced_as_a_whole():
    data = dataset([""] * 5)
    assert ids(slice_records(data, "all[:2]+[-1:]")) == [0, 1, 4]
    with pytest.raises(
        UsageError,
        match=r"split 'train\[:2\]': photos has no splits of its own, train and test are drawn after its images were "
        r"read; give a slice of all records, such as 'all\[:80%\]' or '\[:100\]', or extract everything",
    ):
        slice_records(data, "train[:2]")


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("trian[:2]", UnknownNameError, "photos has no split 'trian'; did you mean 'train'"),
        (
            "train[:9]",
            UsageError,
            r"photos has no rows 'train\[:9\]': of train, which has 4 rows, asked for are 0 to",
        ),
        (
            "train[2:2]",
            UsageError,
            r"photos has no rows 'train\[2:2\]': the slice is empty; give a larger one",
        ),
    ],
)
def test_slices_that_a_dataset_does_not_have(text, error, told):
    with pytest.raises(error, match=told):
        open_subset(dataset(MIXED), split=text)


def test_a_shard_is_one_of_the_slice():
    first, part = open_subset(dataset(MIXED), "1/2", "train")
    second, _ = open_subset(dataset(MIXED), "2/2", "train")
    assert (ids(first), ids(second)) == ([0, 3], [2, 6])
    assert part == Subset("train", Shard(1, 2))


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Subset(), "photos-net.h5"),
        (Subset(shard=Shard(2, 3)), "photos-net.part-2-of-3.h5"),
        (Subset("train"), "photos-net.train.h5"),
        (Subset("train[:80%]"), "photos-net.train-to80pct.h5"),
        (Subset("train[80%:]"), "photos-net.train-80pctto.h5"),
        (Subset("[-100:]"), "photos-net.all--100to.h5"),
        (Subset("train[:12.5%] + test", Shard(1, 2)), "photos-net.train-to12.5pct+test.part-1-of-2.h5"),
    ],
)
def test_the_cache_of_a_part_has_a_name_of_its_own(part, name):
    """So that the tenth of a dataset, tried first or last, never takes the place of all of it."""
    spec = ExtractionSpec(backbone="net", layers=("pool",))
    assert output_path(dataset(MIXED), "net", None, part, spec) == Path(name)
    assert output_path(dataset(MIXED), "net", "own.h5", part, spec) == Path("own.h5")


# Extraction -------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path) -> Path:
    return photo_folder(tmp_path / "photos", TREE)


def test_only_the_slice_is_read_and_its_rows_keep_their_names(network, photos, tmp_path):
    whole = extract(photos, backbone=network, output=tmp_path / "apart" / "whole.h5").cache
    data = open_dataset(str(photos))
    kept = [record for record in data.records if record.split == "train"][:3]
    fake = replace(data, records=[r if r in kept else replace(r, read=unread) for r in data.records])
    planned = plan_extraction(fake, backbone=network, split="train[:3]", output=tmp_path / "few.h5")
    assert (planned.images, planned.computed) == (3, 3)
    done = extract(fake, backbone=network, split="train[:3]", output=tmp_path / "few.h5")
    assert (done.images, done.computed) == (3, 3)
    assert done.cache.ids == tuple(record.id for record in kept)
    rows = [whole.ids.index(name) for name in done.cache.ids]
    # Two runs of one program in batches of other neighbours.
    np.testing.assert_allclose(done.cache.features([0, 1, 2]), whole.features(rows), rtol=0, atol=1e-6)
    assert done.cache.identity["dataset"]["slice"] == "train[:3]"
    # The rest copies what is there.
    rest = extract(photos, backbone=network, output=tmp_path / "rest.h5", reuse=[done.path])
    assert (rest.computed, rest.reused) == (8, 3)
    assert "slice" not in rest.cache.identity["dataset"]


def test_reading_other_slices_of_a_cache_computes_nothing_and_changes_nothing(network, photos, tmp_path):
    path = tmp_path / "x.h5"
    extract(photos, backbone=network, output=path)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    cache = FeatureCache(path)
    for text in ("train[:50%]", "train[50%:]+test", "[-3:]", "all[10%:90%]"):
        features, labels = cache.arrays(text)
        np.testing.assert_array_equal(features, cache.features(cache.rows_of(text)))
        assert len(labels) == len(features)
    train_head(
        path, output=None, head="ridge", train="all[:60%]", val="none", test="all[60%:]", calibrate=False
    )
    again = extract(photos, backbone=network, output=path)
    assert (again.computed, again.reused) == (0, 11)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_slices_complement_each_other_where_an_image_cannot_be_read(network, photos, tmp_path):
    (photos / "train" / "cat" / "1.png").write_text("no photo")
    cache = extract(photos, backbone=network, output=tmp_path / "x.h5").cache
    halves = [cache.rows_of(text).tolist() for text in ("train[:3]", "train[3:]")]
    assert [*halves[0], *halves[1]] == cache.rows_of("train").tolist()
    assert [len(half) for half in halves] == [2, 4], (
        "cut over all rows: the one that cannot be read is one of three"
    )


def test_fine_tuning_takes_the_slices_that_the_head_was_made_of(network, tmp_path):
    """Of photos without splits, so that what tests is drawn from what was extracted."""
    photos = photo_folder(tmp_path / "flat", {"cat": 8, "dog": 8})
    done = extract(photos, backbone=network, output=tmp_path / "x.h5", split="[2:14]")
    head = train_head(done, output=None, head="ridge", train="train[1:]", val_fraction=0.3, calibrate=False)
    rows = select_rows(done.cache, SplitSpec(train="train[1:]", val_fraction=0.3))
    found = from_photos(head, open_dataset(str(photos)), report=lambda progress: None)
    for part in ("train", "val", "test"):
        wanted = [done.cache.ids[row] for row in getattr(rows, part)]
        assert [found.ids[row] for row in getattr(found.rows, part)] == wanted
        assert wanted


def test_a_slice_of_sorted_records_that_loses_classes_is_warned_of(tmp_path):
    for kind in ("ant", "bee", "cat"):
        (tmp_path / kind).mkdir()
        for number in range(40):
            (tmp_path / kind / f"{number}.png").write_bytes(b"never read")
    data = open_dataset(str(tmp_path))
    with pytest.warns(
        FeatcacheWarning, match=r"all\[:30%\] holds no image of 2 of 3 classes \(bee, cat\), as slices"
    ):
        assert len(slice_records(data, "all[:30%]").records) == 36
    slice_records(data, "all[5:20]")  # 5 of each would have been expected: too few to say
