"""A backbone as a transformer: the cache's features, each image computed once, wherever it comes from."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo, photo_folder, save_photo
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from featcache import FeatureCache, FeatureExtractor, HeadClassifier
from featcache.errors import (
    IdentityError,
    ImageError,
    MissingFileError,
    UnknownNameError,
    UsageError,
)
from featcache.estimators import extractor as transformer
from featcache.images.views import Views

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests kept of the same photos is not found."""
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def _load_anew():
    """The network that is loaded here under the default's name is not others'."""
    transformer._resolved.cache_clear()
    yield
    transformer._resolved.cache_clear()


@pytest.fixture
def files(trained) -> list[Path]:
    return sorted((trained.photos / "test").glob("*/*.png"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that were decoded to be computed."""
    from featcache.extraction.runner import RecordImages

    names, real = [], RecordImages.prepare

    def prepare(self: RecordImages, row: int) -> np.ndarray:
        names.append(self.data.records[row].id)
        return real(self, row)

    monkeypatch.setattr(RecordImages, "prepare", prepare)
    return names


@pytest.fixture
def want(trained, files) -> np.ndarray:
    cache = FeatureCache(trained.cache)
    return cache.features([cache.ids.index(file.relative_to(trained.photos).as_posix()) for file in files])


# One answer, however it is asked ----------------------------------------------------------------------------


def test_files_and_arrays_have_the_features_of_the_cache(files, want):
    arrays = [np.asarray(Image.open(file)) for file in files]
    ways = {
        "paths": files,
        "texts": [str(file) for file in files],
        "an array of texts": np.array([str(file) for file in files]),
        "a column of texts": np.array([str(file) for file in files])[:, None],
        "arrays": arrays,
        "one array of many": np.stack(arrays),
        "mixed": [*files[:5], *arrays[5:]],
    }
    for name, images in ways.items():
        got = FeatureExtractor().transform(images)
        # The same compiled network; only the neighbour in the batch may differ (see test_extraction).
        np.testing.assert_allclose(got, want, atol=1e-5, err_msg=name)
        assert (got.dtype, got.shape) == (np.float32, (12, 1280))


def test_arrays_of_any_size_and_grey_ones_are_what_their_files_are(tmp_path):
    pictures = [photo("a/b/1.png", height=90, width=70), photo("a/b/2.png")[..., 0], photo("a/b/3.png")]
    files = []
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        files.append(tmp_path / f"{number}.png")
    np.testing.assert_array_equal(FeatureExtractor().transform(pictures), FeatureExtractor().transform(files))


def test_maps_are_flattened_and_columns_have_names(files):
    extractor = FeatureExtractor(layer="top:map")
    maps = extractor.fit_transform(files[:2])
    assert maps.shape == (2, extractor.n_features_out_)
    names = extractor.get_feature_names_out()
    assert (len(names), names[0], names[-1]) == (
        maps.shape[1],
        "top:map_0",
        "top:map_5119",
    )


def test_no_images_have_no_features(tmp_path):
    assert FeatureExtractor(cache=tmp_path / "kept").transform([]).shape == (0, 1280)


# Each image once --------------------------------------------------------------------------------------------


def test_what_was_computed_is_kept_and_only_new_images_are_computed(files, want, computed, tmp_path):
    extractor = FeatureExtractor(cache=tmp_path / "kept")
    np.testing.assert_allclose(extractor.transform(files[:8]), want[:8], atol=1e-5)
    assert sorted(computed) == sorted(map(str, files[:8]))
    computed.clear()
    again = [files[11], *files[2:10], files[3], files[11]]
    order = [11, *range(2, 10), 3, 11]
    np.testing.assert_allclose(clone(extractor).fit_transform(again), want[order], atol=1e-5)
    assert sorted(computed) == sorted(str(files[row]) for row in (8, 9, 11))
    computed.clear()
    np.testing.assert_array_equal(extractor.transform(again), clone(extractor).transform(again))
    assert computed == []
    assert len(list((tmp_path / "kept").glob("*.h5"))) == 2


def test_a_renamed_file_and_its_pixels_in_another_array_are_known(files, computed, tmp_path):
    extractor = FeatureExtractor(cache=tmp_path / "kept")
    arrays = np.stack([photo(f"x/cat/{number}.png") for number in range(3)])
    first = extractor.transform([files[0], *arrays])
    computed.clear()
    moved = tmp_path / "moved.png"
    moved.write_bytes(files[0].read_bytes())
    np.testing.assert_array_equal(extractor.transform([*arrays[::-1].copy(), moved]), first[[3, 2, 1, 0]])
    assert computed == []


def test_changed_files_of_the_same_names_are_computed(tmp_path, computed):
    extractor = FeatureExtractor(cache=tmp_path / "kept")
    files = [save_photo(tmp_path / name, f"x/cat/{name}") for name in ("a.png", "b.png")]
    before = extractor.transform(files)
    for file in files:
        save_photo(file, f"x/dog/{file.name}")
    assert (np.abs(extractor.transform(files) - before).max(axis=1) > 1e-3).all()
    assert sorted(computed) == sorted([*map(str, files)] * 2)


def test_several_at_once_compute_every_image_once(files, want, computed, tmp_path):
    extractors = [FeatureExtractor(cache=tmp_path / "kept") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for got in pool.map(lambda extractor: extractor.transform(files), extractors):
            np.testing.assert_allclose(got, want, atol=1e-5)
    assert sorted(computed) == sorted(map(str, files))


def test_another_layer_and_size_are_kept_beside(files, computed, tmp_path):
    common = {"cache": tmp_path / "kept"}
    pool, maps = FeatureExtractor(**common), FeatureExtractor(layer="top:map", **common)
    first = pool.transform(files[:2])
    assert maps.transform(files[:2]).shape == (2, 2 * 2 * 1280)
    computed.clear()
    np.testing.assert_array_equal(pool.transform(files[:2]), first)
    maps.transform(files[:2])
    assert computed == []


def test_a_cache_file_is_read_and_never_changed(trained, files, want, computed, tmp_path):
    given = tmp_path / "photos.h5"
    given.write_bytes(trained.cache.read_bytes())
    new = [photo("x/cat/98.png"), photo("x/cat/99.png")]
    extractor = FeatureExtractor(cache=given)
    np.testing.assert_array_equal(extractor.transform([*files, *new])[:-2], want)
    assert sorted(computed) == ["image 12", "image 13"]
    assert given.read_bytes() == trained.cache.read_bytes()
    assert len(list((tmp_path / "photos.more").glob("*.h5"))) == 1
    computed.clear()
    extractor.transform([new[1], files[0], new[0]])
    assert computed == []


def test_a_cache_of_another_recipe_is_refused(trained, files):
    with pytest.raises(IdentityError, match="stored_dtype: float32 in the cache, float16 asked for"):
        FeatureExtractor(cache=trained.cache, dtype="float16").transform(files)


def test_damaged_features_are_computed_again(files, want, computed, tmp_path):
    extractor = FeatureExtractor(cache=tmp_path / "kept")
    extractor.transform(files)
    computed.clear()
    [kept] = (tmp_path / "kept").glob("*.h5")
    data = bytearray(kept.read_bytes())
    place = bytes(data).index(want[5].tobytes())
    data[place + 7] ^= 1
    kept.write_bytes(data)
    np.testing.assert_allclose(extractor.transform(files), want, atol=1e-5)
    assert computed == [str(files[5])]


# What cannot be read ----------------------------------------------------------------------------------------


def test_an_unreadable_image_is_named_and_the_others_are_kept(files, computed, tmp_path):
    extractor = FeatureExtractor(cache=tmp_path / "kept")
    (tmp_path / "text.jpg").write_text("no photo")
    for _ in range(2):
        with pytest.raises(ImageError, match=r"not an image: .*text\.jpg: .*leave it out with its label"):
            extractor.transform([*files[:3], tmp_path / "text.jpg"])
    # The second time it alone is tried.
    assert sorted(computed) == sorted([*map(str, files[:3]), *[str(tmp_path / "text.jpg")] * 2])


def test_an_image_that_could_not_be_read_for_a_moment_is_tried_again(files, want, tmp_path, monkeypatch):
    extractor, usual = FeatureExtractor(cache=tmp_path / "kept"), Views.prepare

    def prepare(self: Views, data: bytes, *arguments) -> np.ndarray:
        if data == files[0].read_bytes():
            raise MemoryError
        return usual(self, data, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Views, "prepare", prepare)
        with pytest.raises(ImageError, match=r"out of memory: .*0\.png; it can be read now: try again"):
            extractor.transform(files)
    np.testing.assert_allclose(extractor.transform(files), want, atol=1e-5)


def test_only_unreadable_images(tmp_path):
    (tmp_path / "cut.png").write_bytes(save_photo(tmp_path / "whole.png", "x/cat/0.png").read_bytes()[:99])
    for cache in (None, tmp_path / "kept"):
        with pytest.raises(ImageError, match=r"truncated: .*cut\.png"):
            FeatureExtractor(cache=cache).transform([tmp_path / "cut.png"])


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(ImageError, match=f"unreadable file: {tmp_path}: .* is no regular file but a folder"):
        FeatureExtractor().transform([tmp_path])


def test_a_missing_file_is_named(files, tmp_path):
    with pytest.raises(MissingFileError, match=r"no image .*gone\.jpg"):
        FeatureExtractor().transform([files[0], tmp_path / "gone.jpg"])


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ("a.jpg", "images of type str; give a list of paths"),
        (7, "images of type int; give a list of paths"),
        ([7], "an image of type int; give a list of paths"),
        (np.zeros((8, 8, 3), np.uint8), r"images of shape \(8, 8, 3\); give .* \[N, H, W, 3\]"),
        (np.zeros((2, 8, 8, 3)), r"an image float64 \(8, 8, 3\); expected uint8"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"an image uint8 \(8, 8, 4\); expected uint8"),
    ],
)
def test_what_are_no_images(images, says):
    with pytest.raises(UsageError, match=says):
        FeatureExtractor().transform(images)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"layer": "pol"}, UnknownNameError, "pool"),
        ({"backbone": "efficientnet_lite99"}, UnknownNameError, "did you mean"),
        ({"batch_size": 0}, UsageError, "batch_size 0: expected at least 1"),
        ({"dtype": "float8"}, UsageError, "no stored dtype 'float8'"),
    ],
)
def test_fit_says_what_cannot_work(given, error, says):
    with pytest.raises(error, match=says):
        FeatureExtractor(**given).fit([])


# scikit-learn's tools ---------------------------------------------------------------------------------------


def test_folds_of_a_pipeline_compute_every_photo_once(computed: list[str], tmp_path):
    root = photo_folder(tmp_path / "photos", {"cat": 6, "dog": 6})
    paths = [str(path) for path in sorted(root.glob("*/*.png"))]
    labels = [Path(path).parent.name for path in paths]
    model = make_pipeline(FeatureExtractor(cache=tmp_path / "kept"), HeadClassifier(head="ridge"))
    scores = cross_val_score(model, paths, labels, cv=3, error_score="raise")
    assert scores.mean() >= 0.75
    assert sorted(computed) == sorted(paths)
    model = pickle.loads(pickle.dumps(model.fit(paths, labels)))
    assert model.score(paths, labels) >= 0.75
    assert model[:-1].get_feature_names_out()[:2].tolist() == ["pool_0", "pool_1"]
