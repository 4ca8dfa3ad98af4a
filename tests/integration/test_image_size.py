"""Another input size than the weights' own, the whole way: extract, train a head, evaluate, predict."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder, save_photo
from PIL import Image

from featcache import Classifier, Extraction, FeatureCache, extract, plan_extraction, train_head
from featcache.backbones.input_size import with_size
from featcache.classifier.prediction import backbone_predictor
from featcache.errors import IdentityError, UsageError
from featcache.extraction.batching import CPU_MICRO_BATCH
from featcache.extraction.spec import ExtractionSpec

SIZE = (40, 56)
LAYER = "block2b:avg"  # a quarter of the network to compile
TREE = {f"{split}/{name}": 4 for split in ("train", "val", "test") for name in ("cat", "dog")}

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("sizes") / "photos", TREE)


@pytest.fixture(scope="module")
def ask(network, photos):
    """The arguments of an extraction of `LAYER`; keyword arguments are added."""

    def ask(function=extract, **options):
        return function(photos, **{"backbone": network, "layers": (LAYER,)} | options)

    return ask


@pytest.fixture(scope="module")
def extracted(ask, photos) -> Extraction:
    return ask(image_size=SIZE, output=photos.parent / "other.h5")


@pytest.fixture(scope="module")
def usual(ask, photos) -> FeatureCache:
    """The same at the size that the backbone comes with."""
    return ask(output=photos.parent / "usual.h5").cache


@pytest.fixture(scope="module")
def classifier(extracted) -> Classifier:
    # The epochs of the classifier that tests share: the same program, if not the same shapes.
    return train_head(extracted, output=extracted.path.parent / "classifier", epochs=30)


def prepared_by_hand(path: Path) -> np.ndarray:
    """Photos of 40×48 on 40×56: covering 45×64 (each side over 0.875), which the width decides: 53×64."""
    resized = Image.open(path).convert("RGB").resize((64, 53), Image.Resampling.BICUBIC)
    left, top = round((64 - 56) / 2), round((53 - 40) / 2)
    return np.asarray(resized.crop((left, top, left + 56, top + 40)))


def features_by_hand(network, files) -> np.ndarray:
    """Features float32 ``[N, D]`` of `LAYER` of photos prepared by hand, in batches as extraction makes them."""
    transforms = network.transforms.with_size(*SIZE)
    function = network.function(network.layers([LAYER], transforms), transforms=transforms)
    images = [prepared_by_hand(file) for file in files]
    batches = [np.stack(images[n : n + CPU_MICRO_BATCH]) for n in range(0, len(images), CPU_MICRO_BATCH)]
    return np.concatenate([function(network.state, batch)[LAYER] for batch in batches])


# Extraction -------------------------------------------------------------------------------------------------


def test_features_are_those_of_images_of_that_size(network, photos, extracted):
    cache = extracted.cache
    assert cache.recipe["transforms"] == network.transforms.with_size(*SIZE).to_json()
    files = [photos / cache.ids[row] for row in cache.rows_of("test")]
    want = features_by_hand(network, files)
    # The same program; only the neighbour in the batch may differ (see test_extraction).
    np.testing.assert_allclose(cache.features(cache.rows_of("test")), want, rtol=0, atol=1e-5)


def test_all_ways_to_ask_for_a_size_are_one_recipe(ask, network, extracted):
    """Each finds the cache of the first and computes nothing: of a loaded backbone, of transforms of one's own."""
    own = network.transforms.with_size(99, 99)
    for options in (
        {"image_size": list(SIZE)},
        {"image_size": "40x56"},
        {"image_size": "40×56", "transforms": own},
        {"transforms": own.with_size(*SIZE)},
        {"backbone": with_size(network, SIZE)},
    ):
        again = ask(**options, output=extracted.path)
        assert (again.computed, again.reused) == (0, 24)
    assert network.transforms.input_size == (64, 64), "the given backbone stays as it is"


@pytest.mark.parametrize("function", [extract, plan_extraction])
@pytest.mark.parametrize(("image_size", "says"), [("64x56", "[64, 56]"), (None, "[64, 64]")])
def test_a_request_for_another_size_is_refused_with_the_difference(
    ask, extracted, function, image_size, says
):
    before = extracted.path.read_bytes()
    with pytest.raises(IdentityError) as refused:
        ask(function, image_size=image_size, output=extracted.path)
    first, difference, advice = str(refused.value).splitlines()
    assert first.endswith("other.h5 holds other features than asked for:")
    assert difference == f"  transforms.input_size: [40, 56] in the cache, {says} asked for"
    assert "--overwrite" in advice
    assert extracted.path.read_bytes() == before


def test_caches_of_another_size_are_not_copied_from(ask, extracted, tmp_path):
    options = {"output": tmp_path / "new.h5", "reuse": [extracted.path]}
    plan = ask(plan_extraction, image_size=SIZE, **options)
    assert (plan.computed, plan.reused) == (0, 24)
    with pytest.raises(
        IdentityError, match=r"other\.h5 holds other .*\n  transforms\.input_size: \[40, 56\]"
    ):
        ask(plan_extraction, image_size=(40, 57), **options)


def test_a_layer_that_the_cache_has_besides_is_kept_at_its_size(ask, network, photos, tmp_path):
    both = ask(layers=("stem", "stem:max"), image_size=SIZE, output=tmp_path / "both.h5")
    shutil.copytree(photos, tmp_path / "more")
    save_photo(tmp_path / "more" / "train" / "cat" / "new.png")
    save_photo(tmp_path / "more" / "test" / "dog" / "new.png")
    fewer = extract(tmp_path / "more", backbone=network, layers=("stem",), image_size=SIZE, output=both.path)
    assert list(fewer.cache.layers) == ["stem:avg", "stem:max", "image:statistics"]
    assert fewer.cache.recipe["transforms"]["input_size"] == list(SIZE)


def test_nothing_to_do_is_found_out_without_a_network_for_that_size_only(ask, network, tmp_path, monkeypatch):
    options = {"backbone": network.name, "layers": ("stem",), "output": tmp_path / "out.h5"}
    assert ask(**options, image_size="40x56").computed == 24

    def refuse(*args, **options):
        raise AssertionError("a network was loaded")

    monkeypatch.setattr("featcache.extraction.extract.resolve", refuse)
    again = ask(**options, image_size=SIZE)
    assert (again.computed, again.reused) == (0, 24)
    for image_size in (None, 40, (56, 40)):
        with pytest.raises(AssertionError, match="a network was loaded"):
            ask(**options, image_size=image_size)


def test_requests_are_the_same_however_the_size_is_written():
    wanted = ExtractionSpec(backbone="mobilenet_v2", layers=("pool",))
    digests = [replace(wanted, image_size=given).digest() for given in (150, "150", "150x150", [150, 150])]
    assert len({*digests}) == 1
    others = [wanted.digest(), *(replace(wanted, image_size=given).digest() for given in (151, (150, 151)))]
    assert len({*digests, *others}) == 4


@pytest.mark.parametrize("function", [extract, plan_extraction])
@pytest.mark.parametrize("image_size", [0, -3, "abc", "150x", (1, 100_000), True])
def test_sizes_that_cannot_be_meant(ask, tmp_path, function, image_size):
    with pytest.raises(UsageError, match=r"image size .*: expected pixels, as one number"):
        ask(function, image_size=image_size, output=tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


# A head on it -----------------------------------------------------------------------------------------------


def test_a_head_predicts_at_the_size_it_was_trained_at(photos, extracted, usual, classifier):
    loaded = Classifier.load(extracted.path.parent / "classifier")
    assert loaded.recipe["transforms"]["input_size"] == list(SIZE)
    cache = FeatureCache(extracted)
    rows = cache.rows_of("test")
    want = classifier.probabilities(cache.features(rows))
    # `predict` loads the backbone by its name, which has another size of its own.
    files = [photos / cache.ids[row] for row in rows]
    np.testing.assert_allclose(loaded.predict_proba(files), want, rtol=0, atol=1e-5)
    assert np.abs(classifier.probabilities(usual.features(rows)) - want).max() > 1e-3, "sizes are told apart"


def test_a_head_is_evaluated_on_caches_of_its_size_only(photos, extracted, usual, classifier):
    right = [p.classes[0] == Path(p.id).parent.name for p in classifier.predict(photos / "test")]
    assert classifier.evaluate(extracted).accuracy == pytest.approx(np.mean(right))
    with pytest.raises(
        IdentityError,
        match=r"usual\.h5 holds .*\(transforms\.input_size: \[64, 64\] in the cache, \[40, 56\]",
    ):
        classifier.evaluate(usual)


# A backbone's own classes -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_backbones_own_classes_at_another_size(network):
    """What a predictor makes of its transforms is tested with the classifier above and in test_prediction."""
    for backbone in ("efficientnet_lite0", network):
        predictor = backbone_predictor(backbone, image_size="40x56")
        assert predictor.transforms == predictor.network.transforms == network.transforms.with_size(*SIZE)
        assert backbone_predictor(backbone).network is network
        with pytest.raises(UsageError, match="image size 0: expected pixels"):
            backbone_predictor(backbone, image_size=0)
