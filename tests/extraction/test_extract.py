"""From photos to a cache, through the public `featcache.extract`, against the network run by hand."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder, save_photo
from PIL import Image

from featcache import FeatureCache, extract, open_dataset, plan_extraction
from featcache.errors import DataError, FeatcacheWarning, IdentityError, Interrupted, StorageError, UsageError

TREE = {"train/cat": 4, "train/dog": 3, "test/cat": 2, "test/dog": 2}


@pytest.fixture
def photos(tmp_path) -> Path:
    return photo_folder(tmp_path / "photos", TREE)


@pytest.fixture
def run(network, tmp_path):
    """Extract to one file; keyword arguments change the defaults."""

    def run(dataset, **options):
        return extract(dataset, **{"backbone": network, "output": tmp_path / "out.h5"} | options)

    return run


def by_id(cache: FeatureCache) -> dict[str, np.ndarray]:
    rows = cache.rows_of()
    return dict(zip([cache.ids[row] for row in rows], cache.features(rows), strict=True))


def prepared_by_hand(path: Path) -> np.ndarray:
    """What EfficientNet-Lite0's transforms say for 64 pixels, written out: floor(64 / 0.875) = 73, bicubic."""
    image = Image.open(path).convert("RGB")
    scale = 73 / min(image.size)
    width, height = int(image.width * scale), int(image.height * scale)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - 64) / 2), round((height - 64) / 2)
    return np.asarray(resized.crop((left, top, left + 64, top + 64)))


# Values -----------------------------------------------------------------------------------------------------


def test_every_row_holds_the_features_of_its_own_image(run, network, photos):
    done = run(photos)
    function = network.function(network.layers(["pool"]))
    assert done.cache.ids == tuple(record.id for record in open_dataset(str(photos)).records)
    for name, stored in by_id(done.cache).items():
        image = prepared_by_hand(photos / name)
        want = np.asarray(function(network.state, np.stack([image, image]))["pool"][0])
        # The same compiled function: only the neighbour in the batch differs, and it must not matter.
        np.testing.assert_allclose(stored, want, rtol=0, atol=1e-6)
    spread = np.ptp(np.stack(list(by_id(done.cache).values())), axis=0).max()
    assert spread > 0.1, "the images' features differ by far more than the tolerance"


def test_labels_and_splits_are_those_of_the_folders(run, photos):
    cache = run(photos).cache
    assert (cache.classes, cache.splits) == (("cat", "dog"), ("train", "test"))
    for row, name in enumerate(cache.ids):
        split, label, _ = name.split("/")
        assert (cache.split_names()[row], cache.classes[cache.labels[row]]) == (split, label)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 2), (5, 4)])
def test_batch_size_and_workers_do_not_change_what_is_stored(run, photos, tmp_path, batch_size, workers):
    layers = ("block2b",)
    want = by_id(
        run(photos, layers=layers, batch_size=2, workers=1, output=tmp_path / "apart" / "want.h5").cache
    )
    done = run(photos, layers=layers, batch_size=batch_size, workers=workers)
    for name, values in by_id(done.cache).items():
        # Another batch size is another compiled program, which may sum in another order: the last bits of
        # float32 (6e-8) on sums of up to 144 products of size 1.
        np.testing.assert_allclose(values, want[name], rtol=1e-5, atol=1e-5)


def test_float16_is_the_rounded_float32(run, photos, tmp_path):
    exact = by_id(run(photos).cache)
    half = by_id(run(photos, dtype="float16", output=tmp_path / "half.h5").cache)
    assert all(np.array_equal(half[name], exact[name].astype(np.float16)) for name in exact)


def test_two_layers_in_one_pass(run, network, photos, tmp_path):
    both = run(photos, layers=("stem", "block1a:max"))
    assert list(both.cache.layers) == ["stem:avg", "block1a:max", "image:statistics"]
    alone = run(photos, layers=("block1a:max",), output=tmp_path / "apart" / "alone.h5").cache
    rows = alone.rows_of()
    # Two compiled programs, as above.
    np.testing.assert_allclose(
        both.cache.features(rows, "block1a:max"), alone.features(rows), rtol=1e-5, atol=1e-5
    )


# What is computed again -------------------------------------------------------------------------------------


def counts(done) -> tuple[int, int, int]:
    return done.images, done.computed, done.duplicates


def test_the_same_again_computes_nothing(run, photos):
    assert counts(run(photos)) == (11, 11, 0)
    before = (run(photos).path.stat().st_ino, run(photos).path.stat().st_mtime_ns)
    again = run(photos)
    assert (again.computed, again.reused, again.quarantined) == (0, 11, {})
    assert (again.path.stat().st_ino, again.path.stat().st_mtime_ns) == before, "the file was left alone"


def test_only_added_images_are_computed(run, photos):
    old = by_id(run(photos).cache)
    for number in (7, 8):
        save_photo(photos / "train" / "cat" / f"{number}.png")
    done = run(photos)
    assert (counts(done), done.reused) == ((13, 2, 0), 11)
    new = by_id(done.cache)
    assert new.keys() - old.keys() == {"train/cat/7.png", "train/cat/8.png"}
    assert all(np.array_equal(new[name], old[name]) for name in old)


def test_removed_renamed_moved_and_touched_images_cost_nothing(run, photos):
    old = by_id(run(photos).cache)
    (photos / "test" / "dog" / "1.png").unlink()
    (photos / "train" / "cat" / "0.png").rename(photos / "train" / "cat" / "renamed.png")
    (photos / "train" / "cat" / "1.png").rename(photos / "train" / "dog" / "relabelled.png")
    (photos / "train" / "cat" / "2.png").rename(photos / "test" / "cat" / "resplit.png")
    os.utime(photos / "test" / "cat" / "0.png", ns=(1, 1))
    done = run(photos)
    assert (counts(done), done.reused) == ((10, 0, 0), 10)
    new, cache = by_id(done.cache), done.cache
    np.testing.assert_array_equal(new["train/cat/renamed.png"], old["train/cat/0.png"])
    np.testing.assert_array_equal(new["train/dog/relabelled.png"], old["train/cat/1.png"])
    np.testing.assert_array_equal(new["test/cat/resplit.png"], old["train/cat/2.png"])
    row = cache.ids.index("train/dog/relabelled.png")
    assert cache.classes[cache.labels[row]] == "dog"
    assert cache.split_names()[cache.ids.index("test/cat/resplit.png")] == "test"


def test_a_new_class_that_sorts_first_renumbers_the_labels_and_computes_its_images_only(run, photos):
    run(photos)
    photo_folder(photos, {"train/ant": 2})
    done = run(photos)
    assert (done.computed, done.cache.classes) == (2, ("ant", "cat", "dog"))
    row = done.cache.ids.index("train/dog/0.png")
    assert done.cache.labels[row] == 2


def test_changed_bytes_under_the_same_name_are_computed(run, photos):
    old = by_id(run(photos).cache)
    for name in ("train/cat/0.png", "train/cat/1.png"):
        save_photo(photos / name, f"other/{name}")
    done = run(photos)
    assert (done.computed, done.reused) == (2, 9)
    assert np.abs(by_id(done.cache)["train/cat/0.png"] - old["train/cat/0.png"]).max() > 1e-3


def test_equal_images_are_computed_once(run, photos):
    for name in ("train/cat/copy.png", "test/dog/copy.png"):
        shutil.copyfile(photos / "train" / "cat" / "0.png", photos / name)
    with pytest.warns(FeatcacheWarning, match="1 image is there more than once with different labels"):
        done = run(photos)
    assert counts(done) == (13, 11, 2)
    values = by_id(done.cache)
    for copy in ("train/cat/copy.png", "test/dog/copy.png"):
        np.testing.assert_array_equal(values[copy], values["train/cat/0.png"])


def test_an_interrupted_run_goes_on_where_it_stopped(run, photos, tmp_path):
    want = by_id(run(photos, output=tmp_path / "apart" / "want.h5").cache)

    def interrupt(progress):
        if progress.stage == "compute" and progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(photos, on_progress=interrupt, workers=1)
    assert not (tmp_path / "out.h5").exists()
    done = run(photos)
    assert 4 <= done.resumed < 11
    assert done.computed == 11 - done.resumed
    assert all(np.array_equal(values, want[name]) for name, values in by_id(done.cache).items())
    # What it took is that of the last run, which says so.
    cost = done.cache.extraction_cost
    assert cost is not None
    assert (cost.computed, cost.kept, cost.whole) == (done.computed, done.resumed, False)
    assert 0 < cost.compute_seconds < cost.seconds <= done.seconds


def test_a_run_that_is_asked_to_stop_keeps_what_it_has(run, photos, tmp_path):
    want = by_id(run(photos, output=tmp_path / "apart" / "want.h5").cache)
    seen = []

    def stop():
        return len(seen) > 0 and seen[-1][0] == "compute" and seen[-1][1] >= 4

    with pytest.raises(
        Interrupted, match=r"stopped after (4|5|6) of 11 images, which are kept; run the same"
    ):
        run(photos, stop=stop, on_progress=lambda p: seen.append((p.stage, p.done)))
    done = run(photos)
    assert done.resumed >= 4
    assert done.computed == 11 - done.resumed
    assert all(np.array_equal(values, want[name]) for name, values in by_id(done.cache).items())


def test_shards_put_together_are_the_whole(run, photos, tmp_path):
    whole = by_id(run(photos, output=tmp_path / "apart" / "whole.h5").cache)
    parts = [tmp_path / f"part-{number}.h5" for number in (1, 2, 3)]
    counted = [run(photos, shard=f"{n}/3", output=part).images for n, part in enumerate(parts, start=1)]
    assert sum(counted) == 11
    done = run(photos, reuse=parts)
    assert (done.computed, done.reused) == (0, 11)
    joined = by_id(done.cache)
    assert joined.keys() == whole.keys()
    # Their neighbours in the batch were others; see the first test.
    assert all(np.allclose(joined[name], whole[name], rtol=0, atol=1e-6) for name in whole)


# Images that cannot be read ---------------------------------------------------------------------------------


def test_a_text_file_named_jpg_is_left_out_and_named(run, photos, tmp_path):
    want = by_id(run(photos, output=tmp_path / "apart" / "want.h5").cache)
    (photos / "train" / "cat" / "00.jpg").write_text("no photo")
    (photos / "test" / "dog" / "zero.jpg").touch()
    done = run(photos)
    assert done.quarantined == {"train/cat/00.jpg": "not an image", "test/dog/zero.jpg": "empty file"}
    assert done.images == 13
    values = by_id(done.cache)
    assert values.keys() == want.keys()
    # Their neighbours in the batch are others now; see the first test.
    assert all(np.allclose(values[name], want[name], rtol=0, atol=1e-6) for name in want)
    assert len(done.cache.arrays("train")[1]) == 7


def test_strict_stops_at_an_unreadable_image_and_names_it(run, photos, tmp_path):
    (photos / "train" / "cat" / "00.jpg").write_text("no photo")
    with pytest.raises(
        DataError, match=r"train/cat/00\.jpg: not an image: .*without --strict it would be left"
    ):
        run(photos, strict=True)
    assert not (tmp_path / "out.h5").exists()


def test_a_repaired_image_is_computed_on_the_next_run(run, photos):
    for name in ("00", "01"):
        (photos / "train" / "cat" / f"{name}.png").write_text("no photo")
    assert len(run(photos).quarantined) == 2
    for name in ("00", "01"):
        save_photo(photos / "train" / "cat" / f"{name}.png")
    done = run(photos)
    assert (done.computed, done.quarantined) == (2, {})


def test_files_that_change_or_vanish_during_the_run_are_left_out(run, photos, tmp_path):
    data = open_dataset(str(photos))
    hashed, changed = (save_photo(tmp_path / "versions" / f"{n}.png").read_bytes() for n in range(2))
    reads = iter([hashed])

    def changing():
        return next(reads, changed)

    def vanished():
        raise FileNotFoundError(2, "No such file or directory")

    records = list(data.records)
    first, last = records[0], records[-1]
    records[0] = replace(first, read=changing)
    records[-1] = replace(last, read=vanished)
    done = run(replace(data, records=records))
    assert done.quarantined == {first.id: "changed during extraction", last.id: "unreadable file"}
    assert len(by_id(done.cache)) == 9


def test_a_good_copy_is_computed_where_the_first_file_of_the_same_bytes_is_lost(run, photos):
    for name in ("a", "b"):
        shutil.copy(photos / "test/cat/0.png", photos / f"test/cat/0{name}.png")
    data = open_dataset(str(photos))
    records = list(data.records)
    reads = iter([records[0].read()])

    def once():
        return next(reads, b"other bytes")

    records[0] = replace(records[0], read=once)
    done = run(replace(data, records=records))
    assert done.quarantined == {"test/cat/0.png": "changed during extraction"}
    assert (done.images, done.computed, done.duplicates) == (13, 11, 2)
    values = by_id(done.cache)
    np.testing.assert_array_equal(values["test/cat/0a.png"], values["test/cat/0b.png"])


def test_a_dataset_in_which_nothing_can_be_read_is_an_error(run, photos, tmp_path):
    for path in photos.rglob("*.png"):
        path.write_text("no photo")
    with pytest.raises(
        DataError, match=r"none of the 11 images of .*photos could be read; .*test/cat/0\.png: not an image"
    ):
        run(photos)
    assert list(tmp_path.glob("out*")) == []


# Refusals ---------------------------------------------------------------------------------------------------


def test_another_recipe_is_refused_field_by_field(run, network, photos):
    done = run(photos)
    before = done.path.read_bytes()
    other = replace(network.transforms.with_size(32, 48), interpolation="bilinear")
    with pytest.raises(IdentityError) as refused:
        run(photos, transforms=other, dtype="float16")
    lines = str(refused.value).splitlines()
    assert lines[0].endswith("out.h5 holds other features than asked for:")
    assert sorted(line.strip() for line in lines[1:-1]) == [
        "stored_dtype: float32 in the cache, float16 asked for",
        "transforms.input_size: [64, 64] in the cache, [32, 48] asked for",
        "transforms.interpolation: bicubic in the cache, bilinear asked for",
    ]
    assert "--output" in lines[-1]
    assert "--overwrite" in lines[-1]
    assert done.path.read_bytes() == before


def test_images_that_are_gone_are_counted(run, network, photos, tmp_path):
    run(photos)
    for name in ("train/cat/0.png", "train/dog/1.png"):
        (photos / name).unlink()
    assert plan_extraction(photos, backbone=network, output=tmp_path / "out.h5").dropped == 2
    done = run(photos)
    assert (done.dropped, done.images, done.computed) == (2, 9, 0)
    assert run(photos).dropped == 0


def test_another_dataset_does_not_take_the_place_of_a_cache(run, photos, tmp_path):
    kept = run(photos).path.read_bytes()
    smaller = photo_folder(tmp_path / "smaller", {"train/cat": 2, "train/dog": 2})
    for options in ({"dataset": smaller}, {"dataset": photos, "split": "train"}):
        dataset, split = options["dataset"], options.get("split")
        with pytest.raises(
            IdentityError,
            match=r"out\.h5 holds another dataset, .*photos: \d of its images are not in .*; write to another file",
        ):
            run(dataset, split=split)
    assert (tmp_path / "out.h5").read_bytes() == kept
    assert run(smaller, overwrite=True).images == 4


def test_a_dataset_that_was_moved_is_no_other(run, photos, tmp_path):
    run(photos)
    moved = Path(shutil.copytree(photos, tmp_path / "moved"))
    assert (run(moved).reused, run(moved).dropped) == (11, 0)


def test_a_layer_that_the_cache_lacks_is_refused(run, photos):
    run(photos, layers=("stem",))
    with pytest.raises(IdentityError, match=r"layers: stem:avg, .* in the cache, block1a:avg asked for"):
        run(photos, layers=("block1a",))


def test_overwrite_replaces_a_cache_of_another_recipe(run, photos):
    run(photos)
    done = run(photos, dtype="float16", overwrite=True)
    assert (done.computed, done.cache.layers["pool"].dtype) == (11, "float16")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dtype": "float23"}, "no stored dtype 'float23'; did you mean 'float32'"),
        ({"compute_dtype": "bfloat61"}, "no compute dtype 'bfloat61'; did you mean 'bfloat16'"),
        ({"layers": ("pol",)}, "no stage 'pol' in this network; did you mean 'pool'"),
        ({"layers": ("stem:sum",)}, "no pooling 'sum'; known: avg, max, cls, flatten, map"),
        ({"layers": ("pool:avg",)}, "its output is a vector of 1280 already; ask for pool"),
        ({"layers": ("stem", "stem:avg")}, "name the same one twice"),
        ({"test_fraction": 1.0}, r"test fraction 1\.0 is not in 0\.\.1"),
        ({"batch_size": 0}, "batch_size 0: expected at least 1"),
        ({"workers": -1}, "workers -1: expected at least 1"),
        ({"shard": "3/2"}, "shard '3/2': expected i/n with 1 <= i <= n"),
        ({"backbone": "mobilnet_v2"}, "no backbone 'mobilnet_v2'; did you mean .*'mobilenet_v2'"),
    ],
)
def test_values_that_cannot_work(run, photos, tmp_path, options, says):
    with pytest.raises(UsageError, match=says):
        run(photos, **options)
    assert not (tmp_path / "out.h5").exists()


def test_outputs_that_cannot_work(run, photos, tmp_path):
    with pytest.raises(UsageError, match=r"output .*out\.npy must end in \.h5"):
        run(photos, output=tmp_path / "out.npy")
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(
        UsageError, match=r"folder\.h5 is a folder, expected a file or nothing; write elsewhere"
    ):
        run(photos, output=tmp_path / "folder.h5")
    (tmp_path / "file").touch()
    with pytest.raises(
        StorageError, match=r"output .*/file is a file, expected a folder or nothing; write else"
    ):
        run(photos, output=tmp_path / "file" / "out.h5")


# Splits, names, progress ------------------------------------------------------------------------------------


@pytest.fixture
def flat(tmp_path) -> Path:
    return photo_folder(tmp_path / "pets", {"cat": 10, "dog": 5, "owl": 1})


def held_out(cache: FeatureCache) -> set[str]:
    return {cache.sha256[row].tobytes().hex() for row in cache.rows_of("test")}


def test_without_splits_a_stratified_share_of_each_class_becomes_the_test_split(run, flat):
    cache = run(flat).cache
    names = [cache.ids[row].split("/")[0] for row in cache.rows_of("test")]
    # A fifth of 10 and of 5; a class of one image keeps it for training.
    assert (names.count("cat"), names.count("dog"), names.count("owl")) == (2, 1, 0)
    assert cache.splits == ("train", "test")
    rule = {"rule": "stratified by content", "test_fraction": 0.2, "seed": 0}
    assert cache.identity["dataset"]["rule"] == rule


def test_the_drawn_split_hangs_on_the_seed_and_the_bytes_alone(run, flat, tmp_path):
    first = held_out(run(flat).cache)
    for path in list(flat.glob("*/*.png")):
        path.rename(path.with_name(f"renamed-{path.name}"))
    renamed = run(flat)
    assert (renamed.computed, held_out(renamed.cache)) == (0, first)
    assert held_out(run(flat, output=tmp_path / "apart" / "again.h5").cache) == first
    other = run(flat, seed=1)
    assert other.computed == 0
    assert held_out(other.cache) != first


def test_the_test_share_can_be_chosen(run, flat):
    cache = run(flat, test_fraction=0.4).cache
    assert len(cache.rows_of("test")) == 4 + 2
    assert len(run(flat, test_fraction=0).cache.rows_of("train")) == 16


def test_where_the_cache_goes_by_default(network, flat, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = extract("pets", backbone=network)
    tag = "" if network.tag != "random" else ".random"
    assert done.path == Path(f"pets-efficientnet_lite0{tag}.h5")
    assert FeatureCache(done).path == done.path, "an extraction goes wherever a path does"


def test_progress_counts_every_image_once_and_ends_at_the_total(run, photos):
    shutil.copyfile(photos / "train" / "cat" / "0.png", photos / "test" / "cat" / "copy.png")
    (photos / "train" / "cat" / "bad.jpg").write_text("no photo")
    seen: dict[str, list[tuple[int, int]]] = {}
    run(photos, on_progress=lambda p: seen.setdefault(p.stage, []).append((p.done, p.total)))
    assert list(seen) == ["load", "hash", "compile", "compute", "verify"]
    assert [done for done, _ in seen["hash"]] == list(range(1, 14))
    done = [done for done, _ in seen["compute"]]
    assert done == sorted(done)
    assert seen["compute"][-1] == seen["verify"][-1] == (13, 13)


def test_what_the_source_left_out_is_passed_on(run, photos):
    (photos / "train" / "cat" / "notes.txt").touch()
    assert run(photos).skipped == {"not an image by its name (.txt)": 1}
