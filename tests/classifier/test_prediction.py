"""Photos in, class names out: files, folders and arrays agree with each other and with the cache."""

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo
from PIL import Image
from scipy.special import softmax

from featcache import Classifier, FeatureCache, train_head
from featcache.backbones.loaded import LoadedBackbone
from featcache.classifier.calibration import Calibration
from featcache.classifier.photos import Photo
from featcache.classifier.prediction import backbone_predictor
from featcache.classifier.rejection import Rejection
from featcache.errors import IdentityError, ImageError, MissingFileError, UnknownNameError, UsageError
from featcache.images.colour_statistics import LAYER as STATISTICS

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.fixture(scope="module")
def classifier(trained) -> Classifier:
    """Loaded once: it keeps its backbone."""
    return Classifier.load(trained.folder)


@pytest.fixture
def files(trained) -> list[Path]:
    return sorted((trained.photos / "test").glob("*/*.png"))


# One answer, however it is asked ----------------------------------------------------------------------------


def test_photos_get_the_probabilities_of_their_features_in_the_cache(trained, classifier, files):
    cache = FeatureCache(trained.cache)
    rows = [cache.ids.index(file.relative_to(trained.photos).as_posix()) for file in files]
    want = classifier.probabilities(cache.features(rows))
    # The same compiled network; only the neighbour in the batch may differ (see test_extraction).
    np.testing.assert_allclose(classifier.predict_proba(files), want, rtol=0, atol=1e-5)


def test_files_folders_and_arrays_agree(trained, classifier, files):
    want = classifier.predict_proba(files)
    arrays = [np.asarray(Image.open(file)) for file in files]
    ways = {
        "folder": trained.photos / "test",
        "text": str(trained.photos / "test"),
        "folders": [trained.photos / "test" / name for name in ("cat", "dog", "owl")],
        "arrays": arrays,
        "one array of many": np.stack(arrays),
        "a generator": (file for file in files),
        "mixed": [*files[:5], *arrays[5:9], trained.photos / "test" / "owl" / "1.png", *files[10:]],
    }
    for name, images in ways.items():
        np.testing.assert_allclose(classifier.predict_proba(images), want, atol=1e-5, err_msg=name)


def test_predictions_are_the_most_probable_classes_in_order(classifier, files):
    probabilities = classifier.predict_proba(files)
    for prediction, file, values in zip(classifier.predict(files), files, probabilities, strict=True):
        assert (prediction.id, prediction.error) == (str(file), None)
        order = np.argsort(-values)
        assert prediction.classes == tuple(classifier.classes[i] for i in order)
        np.testing.assert_allclose(prediction.probabilities, values[order], atol=1e-5)
        assert abs(sum(prediction.probabilities) - 1) < 1e-5


def test_most_photos_of_the_made_up_classes_are_recognised(classifier, files):
    right = [p.classes[0] == f.parent.name for p, f in zip(classifier.predict(files), files, strict=True)]
    assert np.mean(right) >= 0.75


def test_photos_that_it_is_not_sure_of_are_unknown(classifier, files):
    plain = classifier.predict(files)
    assert not any(prediction.unknown for prediction in plain), "nine validation rows gave no threshold"
    middle = float(np.median([prediction.probabilities[0] for prediction in plain]))
    rejection = Rejection(middle, 5, 9, 5 / 9, 1.0, 0.6, 0.95)
    got = replace(classifier, calibration=Calibration(rejection=rejection)).predict(files, top=1)
    assert [p.unknown for p in got] == [p.probabilities[0] < middle for p in plain]
    assert 0 < sum(p.unknown for p in got) < len(files)
    assert [p.classes[0] for p in got] == [p.classes[0] for p in plain], "what it would have guessed"


def test_a_single_photo_however_given(classifier, files):
    [path], [text] = classifier.predict(files[0]), classifier.predict(str(files[0]))
    [array] = classifier.predict(np.asarray(Image.open(files[0])))
    assert path == text == replace(array, id=str(files[0]))
    assert array.id == "0"


def test_bytes_pil_images_and_file_urls_agree_with_files(classifier, files):
    want = classifier.predict_proba(files)
    ways = {
        "bytes": [file.read_bytes() for file in files],
        "PIL images": [Image.open(file) for file in files],
        "URLs": [file.as_uri() for file in files],
        "the folder's URL": (files[0].parents[1]).as_uri(),
        "mixed": [files[0].read_bytes(), Image.open(files[1]), files[2].as_uri(), *files[3:]],
    }
    for name, images in ways.items():
        np.testing.assert_allclose(classifier.predict_proba(images), want, atol=1e-5, err_msg=name)
    single = classifier.predict(files[0].read_bytes()) + classifier.predict(Image.open(files[0]))
    assert [each.id for each in single] == ["0", "0"]
    assert classifier.predict(files[0].as_uri())[0].id == str(files[0]), (
        "named as a path, so that it can be found"
    )


def test_a_url_may_hold_what_urls_escape(classifier, files, tmp_path):
    odd = Path(shutil.copy(files[0], tmp_path / "two words 50%.png"))
    assert classifier.predict(odd.as_uri()) == classifier.predict(odd)


def test_bytes_and_pil_images_that_cannot_be_read_have_their_error(classifier, files):
    broken = Image.open(io.BytesIO(files[0].read_bytes()[:-60]))  # opened, and read when it is wanted
    found = classifier.predict([b"no photo", broken, b"", files[0]])
    assert [(each.error or "").partition(":")[0] for each in found] == [
        "not an image",
        "unreadable file",
        "empty file",
        "",
    ]


# Batch by batch ---------------------------------------------------------------------------------------------


def test_results_come_before_all_photos_are_read(classifier, files):
    read = []

    def counted(number):
        def prepare(transforms, views):
            read.append(number)
            return views.prepare(files[number % 12].read_bytes(), transforms, b"")

        return Photo(f"photo {number}", prepare)

    stream = classifier.stream(counted(number) for number in range(400))
    first = [next(stream) for _ in range(3)]
    assert [each.id for each in first] == ["photo 0", "photo 1", "photo 2"]
    assert len(read) < 400
    stream.close()
    assert len(read) < 400, "nobody reads on for nothing"


def test_a_stream_is_what_predict_returns(classifier, files, tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    images = [*files[:5], tmp_path / "text.jpg", *files[5:]]
    assert list(classifier.stream(images, top=2)) == classifier.predict(images, top=2)
    with pytest.raises(UsageError, match="top 0: ask for at least one class"):
        classifier.stream(images, top=0)


def test_a_grey_array_is_a_photo_of_equal_channels(classifier):
    grey = photo("train/cat/x.png")[..., 0]
    np.testing.assert_array_equal(
        classifier.predict_proba(grey), classifier.predict_proba(np.stack([grey] * 3, axis=-1))
    )


@pytest.mark.parametrize(("top", "given"), [(1, 1), (2, 2), (99, 3)])
def test_as_many_classes_as_asked_for_or_there_are(classifier, files, top, given):
    [prediction] = classifier.predict(files[0], top=top)
    assert len(prediction.classes) == len(prediction.probabilities) == given


def test_nothing_in_nothing_out(classifier):
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 3)


# Schedules --------------------------------------------------------------------------------------------------


class PixelNetwork:
    """Stands for a compiled network: features are pixels, exactly, and no more than `room` images fit."""

    def __init__(self) -> None:
        self.room, self.widths = 1000, []

    def function(self, network, layers, **options):
        def run(state, images):
            self.widths.append(len(images))
            if len(images) > self.room:
                raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
            pixels = np.asarray(images).reshape(len(images), -1)[:, :1280]
            return {str(layer): pixels.astype(np.float32) for layer in layers}

        return run


@pytest.fixture
def pixel_network(monkeypatch) -> PixelNetwork:
    """Takes the place of every network."""
    stand_in = PixelNetwork()
    monkeypatch.setattr(
        LoadedBackbone, "function", lambda *args, **options: stand_in.function(*args, **options)
    )
    return stand_in


@pytest.fixture
def accelerator(monkeypatch) -> None:
    """Takes the platform for an accelerator whose usual batch is 8 images."""
    monkeypatch.setattr("featcache.extraction.batching.on_cpu", lambda: False)
    monkeypatch.setattr("featcache.extraction.batching.ACCELERATOR_BATCH", 8)


def test_on_a_cpu_the_network_takes_two_photos_at_a_time(trained, files, pixel_network):
    fresh = Classifier.load(trained.folder)
    fresh.predict(files)
    fresh.predict(files[0])
    assert pixel_network.widths == [2] * 7, "12 photos, and one that is padded: one shape, compiled once"


@pytest.mark.usefixtures("accelerator")
def test_on_an_accelerator_the_network_takes_large_batches(trained, files, pixel_network):
    fresh = Classifier.load(trained.folder)
    fresh.predict(files)
    assert pixel_network.widths == [8, 8], "12 photos, the last batch is padded"
    del pixel_network.widths[:]
    for count in (1, 3, 4, 5, 6):
        fresh.predict(files[:count])
    assert pixel_network.widths == [1, 4, 4, 8, 8], "few are padded to a power of two: few shapes to compile"


@pytest.mark.usefixtures("accelerator")
def test_a_device_without_memory_for_a_batch_predicts_in_halves(trained, files, pixel_network):
    want = Classifier.load(trained.folder).predict_proba(files)
    del pixel_network.widths[:]
    pixel_network.room = 4
    np.testing.assert_array_equal(Classifier.load(trained.folder).predict_proba(files), want)
    assert sorted(pixel_network.widths) == [4, 4, 4, 8, 8], "both batches were refused: two halves and a rest"


@pytest.mark.slow
@pytest.mark.usefixtures("accelerator")
def test_both_schedules_give_the_same(trained, classifier, files, tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    mixed = [*files[:5], tmp_path / "text.jpg", *files[5:]]
    loaded = Classifier.load(trained.folder)  # `classifier` may have run before, as on a CPU
    large = loaded.predict(mixed)
    proba = loaded.predict_proba(files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featcache.extraction.batching.on_cpu", lambda: True)
        small, want = classifier.predict(mixed), classifier.predict_proba(files)
    # XLA sums the same float32 products in another order where batches are wider: some 1e-6 of a probability.
    np.testing.assert_allclose(proba, want, rtol=0, atol=1e-5)
    assert [p.id for p in large] == [p.id for p in small] == [str(path) for path in mixed]
    assert [p.error for p in large] == [p.error for p in small]
    for ours, theirs in zip(large, small, strict=True):
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_classifier_of_colours_alone_runs_no_network(
    trained, files, tmp_path, pixel_network, monkeypatch, on_cpu
):
    monkeypatch.setattr("featcache.extraction.batching.on_cpu", lambda: on_cpu)
    head = train_head(trained.cache, layer=STATISTICS, head="ridge", output=tmp_path / "colours")
    cache = FeatureCache(trained.cache)
    rows = [cache.ids.index(file.relative_to(trained.photos).as_posix()) for file in files]
    want = head.probabilities(cache.features(rows, STATISTICS))
    got = Classifier.load(tmp_path / "colours").predict_proba(files)
    np.testing.assert_allclose(got, want, atol=1e-6)  # the same numbers, whoever computes them
    assert pixel_network.widths == []


# What cannot be read ----------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_unreadable_photos_are_named_and_shift_no_others(classifier, files, tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "cut.png").write_bytes(files[0].read_bytes()[:200])
    bad = [tmp_path / name for name in ("text.jpg", "empty.png", "pipe.jpg", "cut.png")]
    mixed = [bad[0], files[0], bad[1], bad[2], files[4], files[8], bad[3]]
    got = classifier.predict(mixed)
    assert [p.id for p in got] == [str(path) for path in mixed]
    assert [p.error and p.error.split(":")[0] for p in got] == [
        "not an image", None, "empty file", "not a regular file", None, None, "truncated"
    ]  # fmt: skip
    for prediction, file in ((got[1], files[0]), (got[4], files[4]), (got[5], files[8])):
        [alone] = classifier.predict(file)
        assert prediction.classes == alone.classes
        np.testing.assert_allclose(prediction.probabilities, alone.probabilities, atol=1e-5)
    assert all(p.classes == p.probabilities == () for p in got if p.error)


def test_probabilities_of_unreadable_photos_are_refused(classifier, files, tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(ImageError, match=r"not an image: .*text\.jpg: "):
        classifier.predict_proba([files[0], tmp_path / "text.jpg"])


def test_only_unreadable_photos(classifier, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_text("no photo")
    assert [bool(p.error) for p in classifier.predict(tmp_path)] == [True] * 3


def test_missing_photos_and_empty_folders(classifier, tmp_path):
    with pytest.raises(MissingFileError, match=r"no image .*gone\.jpg"):
        classifier.predict([tmp_path / "gone.jpg"])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(MissingFileError, match=f"no images in {tmp_path}"):
        classifier.predict(tmp_path)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (3, "images of type int; give paths, folders, file:// URLs, bytes, open files, PIL images or uint8"),
        ([3], "images of type int"),
        ({"a.jpg": 1.5}.items(), "images of type tuple"),
        ("https://a.b/c.jpg", r"https://a\.b/c\.jpg: photos are not downloaded; save it first"),
        ("s3://b/c.jpg", r"save it first \(aws s3 cp s3://b/c\.jpg \.\) and name the file"),
        ("file://elsewhere/c.jpg", r"the file is on another machine, elsewhere; expected file:///PATH"),
        (np.zeros((8, 8, 3)), r"pixels are float64, expected uint8 in 0\.\.255"),
        (np.zeros((8, 8, 4), np.uint8), r"pixels have shape \(8, 8, 4\), expected one picture"),
        (np.zeros(5, np.uint8), "images of type uint8"),
    ],
)
def test_what_are_no_images(classifier, images, says):
    with pytest.raises(UsageError, match=says):
        classifier.predict(images)


def test_no_class_at_all_is_too_few(classifier, files):
    with pytest.raises(UsageError, match="top 0: ask for at least one class"):
        classifier.predict(files[0], top=0)


# The backbone behind it -------------------------------------------------------------------------------------


def test_a_backbone_that_gives_other_features_is_refused(classifier, files):
    changed = {**classifier.recipe, "backbone": {**classifier.recipe["backbone"], "revision": 99}}
    other = replace(classifier, recipe=changed, fingerprint="00" * 32)
    with pytest.raises(IdentityError) as refused:
        other.predict(files[0])
    first, *lines = str(refused.value).splitlines()
    assert "the backbone on this machine gives other features" in first
    assert [line.strip() for line in lines] == ["backbone.revision: 99 in the classifier, 1 here"]


def test_a_backbone_that_is_unknown_here(classifier, files):
    with pytest.raises(UnknownNameError, match="no backbone 'hypernet"):
        replace(classifier, backbone="hypernet.v1").predict(files[0])


def test_weights_of_ones_own_that_are_gone(classifier, files):
    moved = replace(classifier, backbone="mobilenet_v2.custom", weights="/nowhere/mine.pth")
    with pytest.raises(MissingFileError, match=r"no weights file /nowhere/mine\.pth"):
        moved.predict(files[0])


def test_a_classifier_trained_elsewhere_needs_no_cache(trained, files, tmp_path):
    folder = shutil.copytree(trained.folder, tmp_path / "copied")
    loaded = Classifier.load(folder)
    alone = replace(loaded, provenance={**loaded.provenance, "cache": "/nowhere.h5"})
    assert alone.predict(files[0])[0].classes == loaded.predict(files[0])[0].classes


# A backbone's own classes -----------------------------------------------------------------------------------


def test_a_backbones_own_classes(network, files):
    predictor = backbone_predictor(network)
    assert len(predictor.classes) == len(set(predictor.classes)) == network.shapes(["logits"])["logits"][0]

    [prediction] = predictor.predict(files[0], top=5)
    probabilities = predictor.predict_proba(files[0])[0]
    best = np.argsort(-probabilities)[:5]
    assert prediction.classes == tuple(predictor.classes[i] for i in best)
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-5)
    assert not prediction.unknown, "a backbone's own classes have no threshold"


def test_what_is_no_backbone_is_refused():
    with pytest.raises(
        UsageError, match=r"^backbone 3: expected the name of one, or what featcache\.load_backbone returns$"
    ):
        backbone_predictor(3)


def test_a_backbones_probabilities_are_the_softmax_of_its_logits(network):
    # An array of the input's own size on every side is neither resized nor cropped but for the centre.
    image = photo("train/cat/0.png", height=73, width=73)
    predictor = backbone_predictor("efficientnet_lite0")
    assert predictor.network is network
    left = round((73 - 64) / 2)
    crop = image[left : left + 64, left : left + 64]
    logits = network.function(network.layers(["logits"]))(network.state, np.stack([crop, crop]))["logits"]
    want = softmax(np.asarray(logits, np.float64), axis=1)
    np.testing.assert_allclose(predictor.predict_proba(image)[0], want[0], rtol=1e-4, atol=1e-7)  # float32
