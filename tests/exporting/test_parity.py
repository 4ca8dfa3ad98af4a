"""What an exported model may differ by, and what is said where it differs by more."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.tiny_finetuning import registered, tiny_classifier, tiny_network, tiny_photos

import featcache
from featcache.errors import ExportError
from featcache.exporting import export as module
from featcache.exporting.check_photos import CheckPhotos, check_photos
from featcache.exporting.parity import TOLERANCES, compare
from featcache.exporting.program import Program, of_classifier

MOST = TOLERANCES["float32"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    with registered():
        yield tiny_classifier(
            tiny_network(), tiny_photos(tmp_path_factory.mktemp("p") / "photos"), head="ridge"
        )


@pytest.fixture(scope="module")
def program(classifier) -> Program:
    return of_classifier(classifier)


@pytest.fixture(scope="module")
def photos(classifier, program) -> CheckPhotos:
    return check_photos(program.transforms, classifier=classifier)


def changed(program: Program, name: str, change):
    """A model that gives what JAX gives, but for one output."""

    def run(images: np.ndarray):
        found = {each: np.array(value) for each, value in program.reference(images).items()}
        found[name] = change(found[name])
        return found

    return run


def only_first(by: float):
    def change(values: np.ndarray) -> np.ndarray:
        values[0] += by
        return values

    return change


def test_what_is_rounding_passes_and_is_told(program, photos):
    parity = compare(program, changed(program, "distance", lambda x: x + np.float32(5e-5)), photos, MOST)
    assert parity.differences["distance"] == pytest.approx(5e-5, rel=0.05)
    assert parity.differences["logits"] < 1e-6
    assert str(parity).startswith("on 32 photos that it was trained with, largest differences from JAX: prob")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("probabilities", lambda x: x + np.float32(2e-4), r"probabilities differ from JAX's by 2\.0e-04, and 1e-04"),
        ("features", lambda x: x * np.float32(1.01), r"features differ from JAX's by 1\.0e-02 of the largest value"),
        ("logits", lambda x: x * np.float32(np.nan), r"logits differ from JAX's by inf of the largest value"),
        ("distance", lambda x: x[:, None], r"distance are \(32, 1\), expected \(32,\)"),
    ],
)  # fmt: skip
def test_what_is_more_than_rounding_is_an_error_that_says_where(program, photos, name, change, said):
    with pytest.raises(ExportError, match=said):
        compare(program, changed(program, name, change), photos, MOST)


def test_the_photo_that_differs_is_named(program, photos):
    number = 7

    def run(images):
        found = {name: np.array(value) for name, value in program.reference(images).items()}
        same = (images == photos.images[number]).all(axis=(1, 2, 3))
        found["probabilities"][same] += np.float32(0.01)
        return found

    with pytest.raises(
        ExportError, match=rf"nothing was written: on {photos.names[number]} the ONNX model's prob"
    ):
        compare(program, run, photos, MOST)


def test_another_class_is_an_error_within_the_tolerance(program, photos):
    values = program.reference(photos.images)["probabilities"][0]
    second, first = np.argsort(values)[-2:]
    ahead = values[first] - values[second]

    def nearer(found: np.ndarray) -> np.ndarray:
        if len(found) == 1:  # the first photo, which runs by itself
            found[0, first] -= np.float32(0.51) * ahead
            found[0, second] += np.float32(0.51) * ahead
        return found

    wide = replace(MOST, probability=float(0.75 * ahead))
    with pytest.raises(
        ExportError, match=rf"takes {photos.names[0]} for another class than JAX, .* surer of its own"
    ):
        compare(program, changed(program, "probabilities", nearer), photos, wide)
    # Two that are as good as equal may change places.
    compare(
        program,
        changed(program, "probabilities", nearer),
        photos,
        replace(wide, probability=float(1.01 * ahead)),
    )


def test_nothing_is_written_where_the_model_differs(classifier, tmp_path, monkeypatch):
    def broken(program, document):
        content, run, kind = module._as_onnx(program, document)
        return content, lambda images: run(images[..., ::-1]), kind  # colours swapped

    monkeypatch.setattr(module, "_FORMATS", {".onnx": broken})
    (tmp_path / "m.onnx").write_bytes(b"the one before")
    with pytest.raises(ExportError, match="nothing was written"):
        featcache.export(classifier, tmp_path / "m.onnx")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("m.onnx", b"the one before")]


def test_votes_that_hang_on_rounding_are_not_compared(classifier, photos, tmp_path_factory):
    """Two training rows are one: which of them votes is nobody's to say."""
    draw = np.random.default_rng(0)
    rows = np.repeat(draw.normal(size=(6, 10)).astype(np.float32), 2, axis=0)
    parameters = {
        "features": rows,
        "labels": np.arange(12, dtype=np.int32) % 3,
        "weight": np.ones(12, np.float32),
        "neighbours": np.int32(3),  # the second of a pair is in, or out
    }
    training = {**classifier.training, "settings": {**classifier.training.get("settings", {}), "head": "knn"}}
    knn = replace(classifier, head="knn", parameters=parameters, training=training)
    program = of_classifier(knn)
    parity = compare(program, changed(program, "probabilities", lambda x: x + np.float32(0.1)), photos, MOST)
    assert parity.undecided == 32
    assert list(parity.differences) == ["features", "distance"]  # of the others nothing is claimed
