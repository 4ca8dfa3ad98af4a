"""`export` in half precision and in eight bits: which photos are taken for it, what is told, and what is refused."""

import numpy as np
import onnx
import pytest
from helpers.tiny_finetuning import registered, tiny_classifier, tiny_network, tiny_photos
from PIL import Image

import featcache
from featcache.errors import ExportError, UsageError
from featcache.exporting import fewer_bits


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with registered():
        root = tmp_path_factory.mktemp("made")
        photos = tiny_photos(root / "photos", train=20)
        yield root, tiny_classifier(tiny_network(), photos, head="ridge")


@pytest.fixture
def many(tmp_path):
    """Forty photos that are no two alike."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def halves(path) -> int:
    """Return how many numbers of a model are stored as halves."""
    stored = onnx.load(path).graph.initializer
    return sum(int(np.prod(each.dims)) for each in stored if each.data_type == onnx.TensorProto.FLOAT16)


def test_half_precision_is_compared_with_jax(made, tmp_path):
    _, classifier = made
    exported = classifier.export(tmp_path / "m.onnx", float16=True)
    assert exported.kind == "ONNX, opset 17, float16"
    assert halves(exported.path) > 100
    # Halves have eleven bits: 5e-4 of a number, over a few layers.
    assert 0 < exported.parity.differences["probabilities"] < 1e-2
    assert exported.cost is None


def test_photos_that_it_has_learnt_from_measure_ranges_and_others_judge(made, tmp_path, monkeypatch):
    _, classifier = made
    monkeypatch.setattr(fewer_bits, "FEWEST_PHOTOS", 4)
    monkeypatch.setattr(fewer_bits, "require_agreement", lambda cost: None)
    exported = classifier.export(tmp_path / "m.onnx", int8=True)
    cost = exported.cost
    assert cost is not None
    assert cost.labelled == cost.photos > 0
    rows = dict(exported.rows())
    assert rows["accuracy"].startswith(f"{100 * cost.accuracy[0]:.1f} % before, ")
    assert {"in float32", "agreement", "speed", "size"} <= rows.keys()
    assert exported.to_json()["cost"]["photos"] == cost.photos


def test_photos_that_are_given_are_shared_out(made, tmp_path, many, monkeypatch):
    _, classifier = made
    monkeypatch.setattr(fewer_bits, "require_agreement", lambda cost: None)
    cost = classifier.export(tmp_path / "m.onnx", int8=True, photos=many).cost
    assert (cost.photos, cost.labelled, cost.accuracy) == (20, 0, None)


def test_few_photos(made, tmp_path, many):
    _, classifier = made
    few = [*sorted(many.iterdir())[:5]] * 10
    with pytest.raises(
        ExportError, match=r"at least 32 different photos, .*; different photos given: 5; give some hun"
    ):
        classifier.export(tmp_path / "m.onnx", int8=True, photos=few)
    assert not (tmp_path / "m.onnx").exists()


def test_a_backbone_needs_photos(made, tmp_path):
    with pytest.raises(ExportError, match="ranges of values on, and there are none; give some hundred"):
        featcache.export(tiny_network(), tmp_path / "m.onnx", int8=True)


def test_what_does_not_go_together(made, tmp_path):
    _, classifier = made
    with pytest.raises(UsageError, match="two models; export one after the other"):
        classifier.export(tmp_path / "m.onnx", float16=True, int8=True)
    with pytest.raises(UsageError, match=r"a .stablehlo file computes in float32; .* or leave out --int8"):
        classifier.export(tmp_path / "m.stablehlo", int8=True)
