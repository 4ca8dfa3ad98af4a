"""`featcache.export` in half precision and eight bits, from the photos to the file."""

import json

import onnx
import pytest
from helpers.tiny_finetuning import registered, tiny_classifier, tiny_network, tiny_photos

import featcache
from featcache.errors import ExportError, UsageError
from featcache.exporting import fewer_bits
from featcache.exporting.fewer_bits import photos_apart


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with registered():
        root = tmp_path_factory.mktemp("fewer")
        network, photos = tiny_network(), tiny_photos(root / "photos")
        yield network, photos, tiny_classifier(network, photos, head="ridge")


def types(path) -> set[int]:
    return {each.data_type for each in onnx.load(path).graph.initializer}


def test_half_precision_is_written_and_judged(made, tmp_path):
    _, photos, classifier = made
    found = classifier.export(tmp_path / "half.onnx", float16=True, photos=photos)
    assert onnx.TensorProto.FLOAT16 in types(found.path)
    assert found.kind == "ONNX, opset 17, float16"
    assert found.cost.agreement == 1
    assert found.cost.sizes[1] == found.size
    assert found.to_json()["cost"]["measured"] == "class"
    told = json.loads((tmp_path / "preprocessing.json").read_text())
    assert told["model"] == "half.onnx"


def test_eight_bits_are_measured_on_some_photos_and_judged_on_others(made, tmp_path, monkeypatch):
    monkeypatch.setattr(fewer_bits, "FEWEST_PHOTOS", 4)
    monkeypatch.setattr("featcache.exporting.quantised.FEWEST_PHOTOS", 4)
    _, photos, classifier = made
    found = classifier.export(tmp_path / "small.onnx", int8=True, photos=photos)
    assert onnx.TensorProto.INT8 in types(found.path)
    assert found.kind.endswith("int8")
    apart = photos_apart(classifier._predictor.transforms, given=photos)
    assert found.cost.photos == len(apart.judging)
    # No photo judges that measured.
    assert not {each.tobytes() for each in apart.calibration} & {each.tobytes() for each in apart.judging}
    assert {"agreement", "speed", "size"} <= {word for word, _ in found.rows()}


def test_model_in_eight_bits_that_disagrees_is_not_written(made, tmp_path, monkeypatch):
    monkeypatch.setattr(fewer_bits, "FEWEST_PHOTOS", 4)
    monkeypatch.setattr("featcache.exporting.quantised.FEWEST_PHOTOS", 4)

    def broken(model, photos):
        found = onnx.ModelProto()
        found.CopyFrom(model)
        for each in found.graph.initializer:
            if len(each.dims) > 1 and each.data_type == onnx.TensorProto.FLOAT:
                array = onnx.numpy_helper.to_array(each)
                each.CopyFrom(onnx.numpy_helper.from_array(-array, each.name))
        return found

    monkeypatch.setattr(fewer_bits, "to_int8", broken)
    _, photos, classifier = made
    with pytest.raises(
        ExportError, match=r"^nothing was written: in int8 this model has the same class for "
    ):
        classifier.export(tmp_path / "small.onnx", int8=True, photos=photos)
    assert list(tmp_path.iterdir()) == []


def test_backbone_has_no_photos_of_its_own(made, tmp_path):
    network, _, _ = made
    with pytest.raises(
        ExportError, match=r"a backbone has none of its own; give some hundred with --photos$"
    ):
        featcache.export(network, tmp_path / "small.onnx", int8=True)


@pytest.mark.parametrize(
    ("given", "output", "text"),
    [
        ({"float16": True, "int8": True}, "a.onnx", "float16 and int8 exclude each other"),
        ({"int8": True}, "a.stablehlo", r"int8 is for \.onnx models; name the output so"),
    ],
)
def test_what_does_not_go_together(made, tmp_path, given, output, text):
    with pytest.raises(UsageError, match=text):
        featcache.export(made[0], tmp_path / output, **given)
