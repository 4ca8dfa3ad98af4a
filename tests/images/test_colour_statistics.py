"""The colours of images as a layer of every backbone: the numbers, who keeps them, and what they are asked."""

import numpy as np
import pytest
from helpers.photo_folders import photo_folder, save_photo

from featcache import Classifier, FeatureCache, extract, plan_extraction, sweep, train_head
from featcache.errors import UsageError
from featcache.images.colour_statistics import LAYER, WIDTH, image_statistics
from featcache.images.resizing import prepare

TREE = {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2}


# The numbers ------------------------------------------------------------------------------------------------


def by_a_slow_loop(image: np.ndarray) -> np.ndarray:
    """Mean, deviation and 4×4 mean colours in float64, of every n-th pixel."""
    step = max(1, min(image.shape[:2]) // 32)
    some = image[step // 2 :: step, step // 2 :: step] / 255.0
    height, width, _ = some.shape
    cells = [
        some[
            int(np.floor(i * height / 4)) : int(np.ceil((i + 1) * height / 4)),
            int(np.floor(j * width / 4)) : int(np.ceil((j + 1) * width / 4)),
        ].mean(axis=(0, 1))
        for i in range(4)
        for j in range(4)
    ]
    return np.concatenate([some.mean(axis=(0, 1)), some.std(axis=(0, 1)), *cells])


@pytest.mark.parametrize(
    "size", [(32, 32), (40, 56), (63, 63), (64, 64), (65, 150), (224, 224), (299, 299), (3, 2)]
)
def test_statistics_are_those_of_a_slow_loop(size):
    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    images[1] //= 4  # dark
    got = image_statistics(images)
    assert (got.dtype, got.shape) == (np.float32, (3, WIDTH))
    # Both are in float64, and differ by the rounding of the result to float32 (below 1, so 6e-8 at most).
    np.testing.assert_allclose(got, [by_a_slow_loop(image) for image in images], rtol=0, atol=1e-7)


def test_a_grey_image_has_one_mean_and_hardly_a_deviation():
    got = image_statistics(np.full((1, 224, 224, 3), 51, np.uint8))[0]
    np.testing.assert_allclose(got[[0, 1, 2, *range(6, WIDTH)]], 0.2, atol=1e-6)
    np.testing.assert_allclose(got[3:6], 0, atol=1e-7)  # the root of a float64's rounding


def test_every_nth_pixel_says_the_same_as_all():
    # Smooth as photos are: gradients and waves. All pixels against every seventh.
    down, across = np.mgrid[0:224, 0:224] / 224
    smooth = np.stack([down, across, np.sin(9 * down) * np.cos(7 * across) / 2 + 0.5], axis=-1)
    image = (255 * smooth).astype(np.uint8)
    cells = image.reshape(4, 56, 4, 56, 3).mean(axis=(1, 3)) / 255
    got = image_statistics(image[None])[0]
    np.testing.assert_allclose(got[6:].reshape(4, 4, 3), cells, atol=0.005)
    np.testing.assert_allclose(got[:6].reshape(2, 3), [smooth.mean((0, 1)), smooth.std((0, 1))], atol=0.005)


# In a cache -------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    return photo_folder(tmp_path / "photos", TREE)


@pytest.fixture
def run(network, tmp_path):
    def run(dataset, **options):
        return extract(
            dataset, **{"backbone": network, "layers": ("stem",), "output": tmp_path / "out.h5"} | options
        )

    return run


def test_a_cache_holds_the_statistics_of_what_the_network_sees_after_its_layers(run, network, photos):
    cache = run(photos).cache
    assert list(cache.layers) == ["stem:avg", LAYER]
    assert cache.layer(None) == "stem:avg"
    assert cache.layers[LAYER].shape == (54,)
    assert cache.layers[LAYER].fingerprint not in {cache.layers["stem:avg"].fingerprint, ""}
    seen = [prepare((photos / name).read_bytes(), network.transforms) for name in cache.ids]
    # BLAS may sum two images in another order than twelve.
    np.testing.assert_allclose(cache.to_numpy(LAYER), image_statistics(np.stack(seen)), atol=1e-6)


def test_the_networks_features_are_the_same_to_the_bit_without_them(run, photos, tmp_path):
    beside, alone = (
        run(photos, image_statistics=on, output=tmp_path / f"{on}.h5").cache for on in (True, False)
    )
    assert list(alone.layers) == ["stem:avg"]
    np.testing.assert_array_equal(beside.to_numpy("stem:avg"), alone.to_numpy("stem:avg"))


def test_a_cache_without_them_goes_on_without_them_unless_it_is_overwritten(run, network, photos):
    run(photos, image_statistics=False)
    save_photo(photos / "train" / "cat" / "new.png")
    plan = plan_extraction(photos, backbone=network, layers=("stem",), output=photos.parent / "out.h5")
    more = run(photos)
    assert (plan.computed, plan.reused) == (more.computed, more.reused) == (1, 12)
    assert list(more.cache.layers) == ["stem:avg"]
    assert (run(photos).computed, run(photos).reused) == (0, 13)
    whole = run(photos, overwrite=True)
    assert (whole.computed, list(whole.cache.layers)) == (13, ["stem:avg", LAYER])
    assert run(photos, image_statistics=False).computed == 0
    assert LAYER in FeatureCache(whole.path).layers, "what a cache holds besides is kept"


def test_parts_without_them_are_put_together_without_them(run, photos, tmp_path):
    parts = [tmp_path / f"part-{number}.h5" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        run(photos, shard=f"{number}/2", output=part, image_statistics=number == 1)
    done = run(photos, reuse=parts)
    assert (done.computed, done.reused, list(done.cache.layers)) == (0, 12, ["stem:avg"])


def test_rows_are_copied_with_their_statistics(run, photos, tmp_path):
    first = run(photos)
    copied = run(photos, output=tmp_path / "copy.h5", reuse=[first.path])
    assert (copied.computed, copied.reused) == (0, 12)
    np.testing.assert_array_equal(copied.cache.to_numpy(LAYER), first.cache.to_numpy(LAYER))


def test_asked_for_by_name_they_are_the_same_and_not_enough(run, photos):
    assert list(run(photos, layers=("stem", LAYER), image_statistics=False).cache.layers) == [
        "stem:avg",
        LAYER,
    ]
    with pytest.raises(UsageError, match="no layer asked for; give at least one, such as pool"):
        run(photos, layers=(LAYER,))


# What they are asked ----------------------------------------------------------------------------------------


def nearest_mean(train, labels, val, val_labels) -> float:
    means = np.stack([train[labels == label].mean(axis=0) for label in np.unique(labels)])
    near = np.linalg.norm(val[:, None] - means, axis=2).argmin(axis=1)
    return float(np.mean(near == val_labels))


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory):
    """240 rows; `good` features, and image statistics that tell the classes apart less well."""
    from helpers.feature_caches import blobs, feature_cache

    features, labels = blobs(240, classes=3)
    weak = np.random.default_rng(3).normal(size=(240, WIDTH)).astype(np.float32)
    weak[:, 0] += labels
    splits = ["train"] * 160 + ["val"] * 40 + ["test"] * 40
    folder = tmp_path_factory.mktemp("floor")
    good = feature_cache(folder / "good.h5", features, labels, splits, statistics=weak)
    bad = feature_cache(folder / "bad.h5", weak[:, 1:9], labels, splits, statistics=features_as(features))
    return good, bad


def features_as(features: np.ndarray) -> np.ndarray:
    """Features as wide as image statistics, the rest is nothing."""
    return np.concatenate(
        [features, np.zeros((len(features), WIDTH - features.shape[1]), np.float32)], axis=1
    )


def test_a_head_is_compared_with_the_colours_alone(two_layers):
    good, bad = (train_head(cache, output=None, head="prototype") for cache in two_layers)
    rows = [two_layers[0].rows_of(part) for part in ("train", "val")]
    labels = [two_layers[0].labels[part] for part in rows]
    for classifier, cache in zip((good, bad), two_layers, strict=True):
        x, val = (cache.features(part, LAYER) for part in rows)
        deviation = np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
        scaled = [(part - x.mean(axis=0)) / deviation for part in (x, val)]
        # Five nearest neighbours may do better than the nearest mean.
        assert classifier.training["image_floor"] >= nearest_mean(scaled[0], labels[0], scaled[1], labels[1])
    assert good.training["image_floor"] < good.metrics["val"]["accuracy"]
    assert good.training["warnings"] == []
    assert bad.training["image_floor"] >= bad.metrics["val"]["accuracy"]
    found = {warning["code"]: warning["message"] for warning in bad.training["warnings"]}
    assert "the features add nothing" in found["below-floor"]


def test_a_sweep_compares_its_choice_with_the_colours_alone(two_layers, tmp_path):
    for cache, says in zip(two_layers, (False, True), strict=True):
        result = sweep(cache, output=tmp_path / str(says), head="prototype")
        assert (
            result.chosen.image_floor
            == train_head(cache, output=None, head="prototype").training["image_floor"]
        )
        assert result.to_json()["chosen"]["image_floor"] == result.chosen.image_floor
        assert any("the features add nothing" in warning for warning in result.warnings) == says
    folds = sweep(two_layers[0], output=tmp_path / "folds", head="prototype", folds=4, save_best=False)
    assert folds.chosen.image_floor == pytest.approx(result.chosen.image_floor, abs=0.5)
    assert 1 / 3 < folds.chosen.image_floor < folds.chosen.entry.accuracy
    few = sweep(two_layers[0], output=tmp_path / "few", head="prototype", shots="5", save_best=False)
    assert few.chosen.image_floor is None


def test_older_caches_and_heads_without_validation_rows_are_compared_with_nothing(tmp_path, two_layers):
    from helpers.feature_caches import blobs, feature_cache

    features, labels = blobs(60)
    older = feature_cache(tmp_path / "older.h5", features, labels, ["train"] * 60)
    assert train_head(older, output=None, head="prototype").training["image_floor"] is None
    assert (
        train_head(two_layers[0], output=None, head="prototype", layer=LAYER).training["image_floor"] is None
    )


def test_a_head_on_colours_alone_classifies_photos(trained, network, monkeypatch, tmp_path):
    monkeypatch.setattr("featcache.backbones.load", lambda name, *, weights=None: network)
    folder = train_head(trained.cache, output=tmp_path / "head", layer=LAYER, head="prototype")
    files = sorted((trained.photos / "test").glob("*/*.png"))
    want = folder.probabilities(FeatureCache(trained.cache).arrays("test", LAYER)[0])
    np.testing.assert_allclose(Classifier.load(tmp_path / "head").predict_proba(files), want, atol=1e-5)
