"""Caches that hold several views of each image: what is in them, who is served, and what readers make of them."""

import hashlib
import json
import signal
import struct
import zlib
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.fake_network import TRANSFORMS, WIDTH, FakeNetwork, features_of
from helpers.photo_folders import photo_folder
from PIL import Image

from featcache import Classifier, FeatureCache, plan_extraction, train_head
from featcache.cache import repair, verify, writer
from featcache.core.devices.sharding import DeviceMesh
from featcache.core.identity import PLAIN_VIEWS
from featcache.errors import FeatcacheError, IdentityError, IntegrityError, Interrupted, UsageError
from featcache.extraction.extract import extract as real_extract
from featcache.images.augmentation import Augmentation
from featcache.images.random_views import decode_view
from featcache.images.resizing import prepare
from featcache.images.views import Views
from featcache.sweeps.data import Protocol, SweepData

POLICY = Augmentation.parse("flip,crop,colour")
V, SEED = 3, 7
ASKED = {"views": V, "augment": "flip,crop,colour", "view_seed": SEED}
STATISTICS = "image:statistics"


@pytest.fixture
def photos(tmp_path) -> Path:
    return photo_folder(tmp_path / "photos", {"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/dog": 1})


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "views.h5"


def extract(photos: Path, target: Path, **options):
    """With the network whose features are the pixels: values are known exactly."""
    return real_extract(
        photos, **{"backbone": FakeNetwork(), "output": target, "workers": 1} | ASKED | options
    )


def views_by_hand(
    path: Path, count: int = V, *, transforms=TRANSFORMS, policy=POLICY, seed=SEED
) -> np.ndarray:
    """The pictures of a photo's views, uint8 ``[V, H, W, 3]``."""
    data = path.read_bytes()
    image = hashlib.sha256(data).digest()
    drawn = [decode_view(data, transforms, policy, seed=seed, image=image, number=n) for n in range(1, count)]
    return np.stack([prepare(data, transforms), *drawn])


def assert_right(photos: Path, cache: FeatureCache, count: int = V) -> None:
    assert cache.views == count
    stored = cache.features(cache.rows_of(), view="all")
    assert stored.shape == (len(cache.rows_of()), count, WIDTH)
    for row, values in zip(cache.rows_of(), stored, strict=True):
        np.testing.assert_array_equal(values, features_of(views_by_hand(photos / cache.ids[row], count)))


# What is stored ---------------------------------------------------------------------------------------------


def test_a_networks_views_are_those_of_the_pictures_by_hand_and_view_0_is_the_plain_cache(
    network, photos, target, tmp_path
):
    views = real_extract(photos, backbone=network, output=target, **ASKED).cache
    plain = real_extract(photos, backbone=network, output=tmp_path / "plain.h5").cache
    rows, function = plain.rows_of(), network.function(network.layers(["pool"]))
    # One compiled program for both, two pictures at a time; a picture's neighbour in that batch is another one,
    # and XLA's kernels may sum in another order at another place: rounding, 1e-5 of the values' size.
    limit = 1e-5 * np.abs(plain.features(rows)).max()
    np.testing.assert_allclose(views.features(rows), plain.features(rows), rtol=0, atol=limit)
    np.testing.assert_array_equal(views.features(rows, STATISTICS), plain.features(rows, STATISTICS))
    for row in rows[:3]:
        pictures = views_by_hand(photos / plain.ids[row], transforms=network.transforms)
        for number, picture in enumerate(pictures):
            want = np.asarray(function(network.state, np.stack([picture, picture]))["pool"][0])
            stored = views.features([row], view=number)[0]
            np.testing.assert_allclose(stored, want, rtol=0, atol=limit)
    spread = np.ptp(views.features(rows, view="all"), axis=1).max()
    assert spread > 1e4 * limit, "views differ by far more than the tolerance"


def test_one_view_is_an_ordinary_cache_with_the_fingerprint_it_always_had(photos, target):
    cache = extract(photos, target, views=1, augment="flip,random-resized-crop").cache
    assert cache.identity["recipe"]["views"] == PLAIN_VIEWS == {"policy": "none", "seed": 0, "count": 1}
    # As computed by featcache before there were views; another one would make every old cache useless.
    old = "b04a154d20f40271f1cc51e0f727c1ef0a5a373deed8a5804f3b9ecf3bfde664"
    assert cache.layers["pool"].fingerprint == old
    assert cache.identity["layers"][0] == {
        "name": "pool",
        "shape": [WIDTH],
        "dtype": "float32",
        "fingerprint": old,
        "weights_sha256": "0" * 64,  # as far as the layer: of this network all
    }
    assert cache.views == 1
    np.testing.assert_array_equal(cache.features([2, 0], view="all"), cache.features([2, 0])[:, None])
    assert cache.mapped(view="all").shape == (8, 1, WIDTH)
    with h5py.File(target) as file:
        assert file["features/pool"].shape == (8, WIDTH)


def test_the_file_holds_all_views_of_a_row_under_one_checksum(photos, target):
    cache = extract(photos, target).cache
    assert_right(photos, cache)
    with h5py.File(target) as file:
        identity = json.loads(file["identity"][()].tobytes())
        features, crcs = file["features/pool"][()], file["crc32/pool"][()]
        assert file[f"features/{STATISTICS}"].shape == (8, 54)
    assert identity["recipe"]["views"] == {"policy": POLICY.to_json(), "seed": SEED, "count": V}
    spec, statistics = identity["layers"]
    assert (spec["shape"], spec["views"]) == ([WIDTH], V)
    assert (statistics["shape"], statistics.get("views", 1)) == ([54], 1)
    text = json.dumps({**identity["recipe"], "layer": "pool"}, sort_keys=True, separators=(",", ":"))
    assert spec["fingerprint"] == hashlib.sha256(text.encode()).hexdigest()
    assert features.shape == (8, V, WIDTH)
    for row in range(8):
        place = bytes.fromhex(spec["fingerprint"]) + struct.pack("<qB", row, 0)
        assert crcs[row] == zlib.crc32(features[row].tobytes(), zlib.crc32(place))


def test_statistics_are_of_the_plain_images(photos, target, tmp_path):
    views, plain = (
        extract(photos, target),
        extract(photos, tmp_path / "plain.h5", views=1, augment="flip,crop"),
    )
    np.testing.assert_array_equal(views.cache.to_numpy(STATISTICS), plain.cache.to_numpy(STATISTICS))
    with pytest.raises(
        UsageError, match=rf"has no view 1 of {STATISTICS}; it holds one view, 0, of each image"
    ):
        views.cache.features([0], STATISTICS, view=1)


def test_what_cannot_be_read_has_no_view_and_what_is_there_twice_is_drawn_once(photos, target):
    (photos / "train/cat/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    (photos / "test/dog/again.png").write_bytes((photos / "train/dog/0.png").read_bytes())
    done = extract(photos, target)
    assert (done.computed, done.duplicates, list(done.quarantined)) == (8, 1, ["train/cat/broken.png"])
    assert_right(photos, done.cache)
    with h5py.File(target) as file:
        assert np.isnan(file["features/pool"][done.cache.ids.index("train/cat/broken.png")]).all()


class Asynchronous(FakeNetwork):
    """As on an accelerator: device arrays, and no memory for more than `most` pictures at once."""

    most = 1000

    def function(self, layers, *, transforms=None, compute_dtype="float32"):
        def run(state, images):
            if len(images) > self.most:
                raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
            return {layer: jnp.asarray(features_of(np.asarray(images))) for layer in layers}

        return run


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7, None])
@pytest.mark.parametrize("on_cpu", [True, False])
def test_no_batch_size_changes_what_is_stored(photos, tmp_path, monkeypatch, count, batch_size, on_cpu):
    monkeypatch.setattr("featcache.extraction.batching.on_cpu", lambda: on_cpu)
    options = {"backbone": Asynchronous(), "views": count, "batch_size": batch_size}
    assert_right(photos, extract(photos, tmp_path / "x.h5", **options).cache, count)


@pytest.mark.parametrize("batch_size", [1, 2, 4, None])
def test_what_is_padded_for_several_devices_is_cut_off_again(photos, target, monkeypatch, batch_size):
    monkeypatch.setattr("featcache.extraction.batching.on_cpu", lambda: False)
    monkeypatch.setattr(DeviceMesh, "count", 3)  # batches are padded to multiples of 3
    options = {"backbone": Asynchronous(), "views": 5, "batch_size": batch_size}
    assert_right(photos, extract(photos, target, **options).cache, 5)


def test_a_device_without_memory_for_a_batch_of_views_gets_fewer_images(photos, target, monkeypatch):
    monkeypatch.setattr("featcache.extraction.batching.on_cpu", lambda: False)
    network = Asynchronous()
    network.most = 7
    assert_right(photos, extract(photos, target, backbone=network, batch_size=24).cache)


def test_a_device_without_memory_for_one_image_is_an_error(photos, target, monkeypatch):
    monkeypatch.setattr("featcache.extraction.batching.on_cpu", lambda: False)
    network = Asynchronous()
    network.most = 0
    with pytest.raises(FeatcacheError, match="the device has no memory for a single image; free some, or"):
        extract(photos, target, backbone=network)
    assert not target.exists()


# Reading ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(photos, target) -> FeatureCache:
    return extract(photos, target, dtype="float16").cache


@pytest.mark.parametrize("checked", [True, False])
def test_one_view_or_one_for_each_row_or_all(cache, checked):
    with h5py.File(cache.path) as file:
        stored = file["features/pool"][()]
    rows, mixed = np.array([5, 0, 5, 6, 7]), np.array([2, 0, 1, 0, 2], np.int8)
    for view in range(V):
        values = cache.features(rows, view=view, verify=checked)
        np.testing.assert_array_equal(values, stored[rows, view])
        np.testing.assert_array_equal(cache.mapped(view=view), stored[:, view])
    np.testing.assert_array_equal(cache.features(rows, verify=checked), stored[rows, 0])
    np.testing.assert_array_equal(cache.features(rows, view=mixed, verify=checked), stored[rows, mixed])
    np.testing.assert_array_equal(cache.features(rows, view="all", verify=checked), stored[rows])
    assert cache.features([], view=1, verify=checked).shape == (0, WIDTH)
    assert cache.features([], view=np.zeros(0, int), verify=checked).shape == (0, WIDTH)
    assert cache.features([], view="all", verify=checked).shape == (0, V, WIDTH)


def test_many_rows_are_checked_in_blocks(cache, monkeypatch):
    from featcache.cache import row_store
    from featcache.cache import row_store as rows

    monkeypatch.setattr(rows, "_MANY_BYTES", 1)
    monkeypatch.setattr(row_store, "BLOCK_BYTES", 3 * cache.layers["pool"].row_bytes)
    some = np.array([7, 1, 2, 3, 4, 6, 0])
    whole = cache.mapped(view="all")
    np.testing.assert_array_equal(cache.features(some, view=2), whole[some, 2])
    np.testing.assert_array_equal(cache.features(some, view="all"), whole[some])


def test_who_does_not_ask_for_views_gets_the_plain_images(cache, photos, tmp_path):
    plain = extract(photos, tmp_path / "plain.h5", views=1, augment="flip,crop", dtype="float16").cache
    np.testing.assert_array_equal(cache.mapped(), plain.mapped())
    np.testing.assert_array_equal(cache.to_numpy(), plain.to_numpy())
    for mine, theirs in zip(cache.arrays("train"), plain.arrays("train"), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with np.load(cache.to_npz(tmp_path / "a.npz")) as archive:
        np.testing.assert_array_equal(archive["features/pool"], plain.to_numpy())
    assert cache.recipe == plain.recipe
    assert {name: spec.fingerprint for name, spec in cache.layers.items()} == {
        name: spec.fingerprint for name, spec in plain.layers.items()
    }
    assert cache.identity["recipe"] != plain.identity["recipe"]
    assert cache.layers["pool"].shape == plain.layers["pool"].shape == (WIDTH,)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (3, r"views\.h5 has no view 3 of pool; it holds views 0 to 2"),
        (-1, "has no view -1 of pool"),
        (np.array([0, 3]), "has no view 3 of pool"),
        (np.array([0, 1, 2]), r"shape \(3,\): expected a whole number, or one for each of 2 rows, or 'all'"),
        (1.0, "view of type float64"),
        (True, "view of type bool"),
        ("every", "view 'every': expected a number, a number for each row, or 'all'"),
    ],
)
def test_views_that_are_not_there(cache, view, message):
    with pytest.raises(UsageError, match=message):
        cache.features([0, 1], view=view)


def test_damage_to_any_view_of_a_row_is_found_and_only_that_row_computed_again(photos, target):
    with extract(photos, target).cache as cache:
        spec = cache.layers["pool"]
        start = cache._stored.layout.offsets["features/pool"] + 4 * spec.row_bytes
        name = cache.ids[4]
    target.chmod(0o644)
    data = bytearray(target.read_bytes())
    data[start + spec.row_bytes - 1] ^= 1  # the last byte of the last view
    target.write_bytes(data)
    damaged = FeatureCache(target)
    for view in (0, 1, "all"):
        with pytest.raises(IntegrityError, match=r"1 rows of layer pool are damaged, the first is row 4"):
            damaged.features([3, 4], view=view)
    assert damaged.features([3, 5], view=2).shape == (2, WIDTH)
    damaged.close()
    assert verify(target).damaged == {"pool": (name,)}
    repair(target)
    done = extract(photos, target)
    assert (done.resumed, done.computed) == (7, 1)
    assert_right(photos, done.cache)


# Going on, copying, refusing --------------------------------------------------------------------------------


def test_an_interrupted_extraction_goes_on(photos, target):
    seen = []
    with pytest.raises(Interrupted, match="stopped after 4 of 8 images"):
        extract(
            photos,
            target,
            on_progress=lambda progress: seen.append((progress.stage, progress.done)),
            stop=lambda: seen[-1] == ("compute", 4),
        )
    done = extract(photos, target)
    assert (done.resumed, done.computed) == (4, 4)
    assert_right(photos, done.cache)
    again = extract(photos, target)
    assert (again.computed, again.reused) == (0, 8)


def test_a_kill_in_the_middle_of_a_rows_views_loses_that_row_alone(photos, target, monkeypatch):
    written = []

    def torn(descriptor: int, values: np.ndarray, offset: int) -> None:
        written.append(values.nbytes)
        if sum(size >= WIDTH * 4 * V for size in written) < 3:
            return real(descriptor, values, offset)
        real(descriptor, values.reshape(-1)[: WIDTH * 3 // 2], offset)  # one view and a half
        raise KeyboardInterrupt

    real = writer.write_at
    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_at", torn)
        with pytest.raises(KeyboardInterrupt):
            extract(photos, target, batch_size=1)
    done = extract(photos, target)
    assert (done.resumed, done.computed) == (2, 6)
    assert_right(photos, done.cache)


def test_parts_are_put_together_and_only_new_images_are_computed(photos, target, tmp_path):
    parts = [extract(photos, tmp_path / f"{i}.h5", shard=f"{i}/3").path for i in (1, 2, 3)]
    photo_folder(photos, {"train/owl": 2})
    done = extract(photos, target, reuse=parts)
    assert (done.reused, done.computed) == (8, 2)
    assert_right(photos, done.cache)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"view_seed": 8}, r"views\.seed: 7 in the cache, 8 asked for"),
        ({"views": 4}, r"views\.count: 3 in the cache, 4 asked for"),
        ({"augment": "flip=0.1,crop,colour"}, r"views\.policy\.flip: 0\.5 in the cache, 0\.1 asked for"),
        (
            {"views": 1, "augment": "flip,crop"},
            r'views\.policy: \{"crop": "random-resized", .* in the cache, none asked for\n  views.seed',
        ),
    ],
)
def test_a_cache_of_other_views_is_refused(photos, target, tmp_path, other, line):
    extract(photos, target)
    with pytest.raises(IdentityError, match=line):
        extract(photos, target, **other)
    with pytest.raises(IdentityError, match=line):
        extract(photos, tmp_path / "other.h5", reuse=[target], **other)


def test_a_cache_of_plain_images_is_no_cache_of_views(photos, target):
    extract(photos, target, views=1, augment="flip,crop")
    with pytest.raises(IdentityError, match=r"views\.count: 1 in the cache, 3 asked for"):
        extract(photos, target)
    assert_right(photos, extract(photos, target, overwrite=True).cache)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"views": 0}, "views 0: expected at least 1, which is the plain image"),
        ({"views": 2.5}, "views 2.5: expected a whole number"),
        ({"view_seed": "x"}, "view_seed 'x': expected a whole number"),
        ({"augment": "flop"}, "augmentation 'flop': 'flop' is unknown; did you mean 'flip'"),
        ({"augment": "none"}, "augment none makes all 3 views the same; choose one, such as flip"),
        (
            {"views": 1, "augment": "colour"},
            "augment colour does nothing to one view, the plain image; ask for more",
        ),
    ],
)
def test_requests_that_cannot_work(photos, target, asked, message):
    for function in (extract, lambda *a, **k: plan_extraction(a[0], backbone=FakeNetwork(), **(ASKED | k))):
        with pytest.raises(UsageError, match=message):
            function(photos, target, **asked)
    assert not target.exists()


def test_a_plan_states_what_views_cost(photos, target):
    plain, views = (
        plan_extraction(photos, backbone=FakeNetwork(), output=target, workers=1, **asked)
        for asked in ({}, ASKED)
    )
    assert (plain.views, views.views) == (1, V)
    assert views.bytes - plain.bytes == 2 * 8 * WIDTH * 4, "two views of 8 images in float32 more"
    assert extract(photos, target).path.stat().st_size == pytest.approx(views.bytes, abs=70_000)


# Who reads them ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_head_of_view_0_is_the_head_of_the_plain_images(network, small_backbone, tmp_path):
    photos = photo_folder(tmp_path / "p", {f"{s}/{c}": 5 for s in ("train", "test") for c in ("cat", "dog")})
    options = {"backbone": network, "layers": ["block1a"], "image_statistics": False}
    plain = real_extract(photos, output=tmp_path / "plain.h5", **options)
    views = real_extract(photos, output=tmp_path / "views.h5", **options, **ASKED)
    mine, theirs = (
        train_head(cache.path, head="ridge", l2=1.0, views=1, output=tmp_path / cache.path.stem)
        for cache in (views, plain)
    )
    for name, values in theirs.parameters.items():
        # The features are the same up to the rounding explained above; ridge is a smooth function of them.
        np.testing.assert_allclose(mine.parameters[name], values, rtol=1e-3, atol=1e-4 * np.abs(values).max())
    # Neither knows of views any more: each can be asked about photos, and judged by the other's cache.
    assert (mine.fingerprint, mine.recipe) == (theirs.fingerprint, theirs.recipe)
    assert (
        mine.evaluate(plain.path).accuracy == mine.evaluate().accuracy == theirs.evaluate(views.path).accuracy
    )
    # A photo is prepared plainly: what is predicted of it is what is said of its row, view 0.
    row = views.cache.ids.index("test/cat/0.png")
    want = mine.probabilities(views.cache.features([row]))
    loaded = Classifier.load(tmp_path / "views")
    photo = photos / "test" / "cat" / "0.png"
    np.testing.assert_allclose(loaded.predict_proba(photo), want, atol=1e-4)
    # Or its views are drawn as the cache's were, and averaged over.
    average = mine.probabilities(views.cache.features([row], view="all"), tta=True)
    np.testing.assert_allclose(loaded.predict_proba(photo, tta=True), average, atol=1e-4)
    assert np.abs(average - want).max() > 1e-3, "which is another thing"
    [said] = loaded.predict(np.asarray(Image.open(photo)), tta=True)
    # Of an array other views are drawn, by its own hash; they are as many, and of the same photo.
    assert (said.error, len(said.classes)) == (None, 2)
    with pytest.raises(UsageError, match="which held one of each image; train it on several"):
        theirs.predict(photo, tta=True)


def test_views_are_read_as_they_are_written():
    for views in (Views(), Views.of(8, "flip,crop,colour", 3)):
        assert Views.from_json(views.to_json()) == views


def test_a_sweep_streams_the_plain_images(photos, target, tmp_path):
    views, plain = (
        extract(photos, target),
        extract(photos, tmp_path / "plain.h5", views=1, augment="flip,crop"),
    )
    tables = [
        SweepData(done.cache, Protocol(), memory=memory).table(np.arange(6), "pool")
        for done in (views, plain)
        for memory in (1, 1 << 30)
    ]
    for table in tables:
        np.testing.assert_array_equal(table.take(np.array([4, 1])), tables[-1].take(np.array([4, 1])))


@pytest.fixture
def own_signals():
    """A command handles SIGTERM for the rest of its process, which here is the tests' own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("small_backbone", "own_signals")
def test_the_command_line_says_how_views_are_drawn_and_what_they_cost(photos, tmp_path, capsys):
    from featcache.cli import main

    def said(*arguments: object, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        return capsys.readouterr()

    target = tmp_path / "views.h5"
    ask = ("extract", photos, "--output", target, "--views", 3, "--augment", "flip,crop")
    out, _ = said(*ask, "--dry-run")
    assert "would hold 8 images of 3 views each, " in out
    assert "MB (3 times the features of plain images)" in out
    out, _ = said(*ask)
    line = "3, which take 3 times the space: the plain image, and 2 drawn by flip,random-resized-crop, seed 0"
    assert f"views     {line}\n" in out
    assert "pool 3×1280 float32, image:statistics 54 float32" in out
    assert f"views       {line}\n" in said("cache", "info", target)[0]
    assert json.loads(said(*ask, "--json")[0])["result"]["views"] == 3
    _, err = said("cache", "export", target, tmp_path / "a.npz")
    assert "of 3 views of each image, only the plain one, 0, was written" in err
    _, err = said(*ask, "--view-seed", 1, code=4)
    assert "views.seed: 0 in the cache, 1 asked for" in err
    _, err = said("extract", photos, "--views", 0, code=2)
    assert "views 0: expected at least 1" in err
    _, err = said(*ask[:-1], "flop", code=2)
    assert "'flop' is unknown; did you mean 'flip'?" in err
