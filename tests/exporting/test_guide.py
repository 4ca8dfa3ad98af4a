"""The programs of docs/guide/export.md, as they stand there, in processes that cannot import featcache."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.support import SHARED, needs_shared
from helpers.tiny_finetuning import registered, tiny_classifier, tiny_network, tiny_photos
from PIL import ExifTags, Image

import featcache
from featcache.classifier.photos import photos_of
from featcache.exporting.export import program_of
from featcache.images.resizing import prepare
from featcache.images.views import PLAIN

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "export.md"
MARKS = {
    "pixels.py": "def pixels(",
    "classify.py": "onnxruntime.InferenceSession(",
    "run.py": "export.deserialize(",
    "one.py": "infer_shapes(",
}
LITERT = "FEATCACHE_LITERT_PYTHON"
READ = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

model = Interpreter(sys.argv[1])
model.allocate_tensors()
(taken,), given = model.get_input_details(), model.get_output_details()
found = {}
for image in np.load(sys.argv[2]):
    model.set_tensor(taken["index"], image[None])
    model.invoke()
    for each in given:
        found.setdefault(each["name"].rpartition(":")[2], []).append(model.get_tensor(each["index"])[0])
np.savez(sys.argv[3], **{name: np.stack(values) for name, values in found.items()})
"""
ABSENT = {
    "classify.py": ("featcache", "jax", "jaxlib", "flax", "onnx"),
    "run.py": ("featcache", "flax", "onnx", "onnxruntime"),
}


def program(name: str) -> str:
    """Return a program of the guide."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (block,) = [each for each in blocks if MARKS[name] in each]
    return block


def ran(name: str, model: Path, photos: list[Path], place: Path) -> list[list[str]]:
    """Run a program in a process where what it must not need cannot be imported; return the words of each line."""
    for each in ("pixels.py", name):
        (place / each).write_text(program(each))
    start = (
        f"import sys, runpy; sys.modules.update(dict.fromkeys({ABSENT[name]!r})); "
        f"sys.argv = sys.argv[1:]; runpy.run_path({name!r}, run_name='__main__'); "
        f"assert not any(sys.modules.get(each) for each in {ABSENT[name]!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", start, name, str(model.parent), *map(str, photos)],
        cwd=place,
        env={"PATH": "", "JAX_PLATFORMS": "cpu", "HOME": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.rsplit(" ", 2) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    with registered():
        root = tmp_path_factory.mktemp("guide")
        photos = tiny_photos(root / "photos")
        yield tiny_classifier(tiny_network(), photos, head="ridge"), sorted(photos.glob("test/*/*"))


@pytest.mark.one_by_default
@pytest.mark.parametrize(("name", "ending"), [("classify.py", "onnx"), ("run.py", "stablehlo")])
def test_the_programs_name_the_classes_that_predict_names(tiny, tmp_path, name, ending):
    classifier, photos = tiny
    (tmp_path / "m").mkdir()
    exported = featcache.export(classifier, tmp_path / "m" / f"m.{ending}")
    assert max(exported.parity.differences.values()) < 1e-5
    lines = ran(name, exported.path, photos, tmp_path)
    predicted = classifier.predict(photos)
    assert [words[:2] for words in lines] == [[each.id, each.classes[0]] for each in predicted]
    # Printed with as many digits as a float32 has.
    np.testing.assert_allclose(
        [float(words[2]) for words in lines], [each.probabilities[0] for each in predicted], atol=1e-5
    )


def odd_photos(folder: Path) -> list[Path]:
    """Write photos of many modes and orientations."""
    draw = np.random.default_rng(0)
    colours = draw.integers(0, 256, (50, 70, 4), np.uint8)
    rgb = Image.fromarray(colours[..., :3].copy())
    Image.fromarray(colours).save(folder / "rgba.png")
    Image.fromarray(colours).convert("LA").save(folder / "la.png")
    Image.fromarray(draw.integers(0, 2**16, (50, 70), np.uint16)).save(folder / "grey of 16 bits.png")
    Image.fromarray(draw.integers(0, 2**16, (50, 70), np.uint16)).save(folder / "grey of 16 bits.tif")
    rgb.convert("1").save(folder / "1.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.quantize(16).save(folder / "p.png", transparency=3)
    rgb.convert("L").save(folder / "l.png", transparency=120)
    for orientation in (1, 6, 7):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        rgb.save(folder / f"turned {orientation}.jpg", exif=exif)
    return sorted(folder.iterdir())


@pytest.mark.parametrize(("size", "mode"), [((32, 32), "center"), ((20, 33), "center"), ((32, 20), "squash")])
def test_the_pixels_of_the_guide_are_featcaches(tmp_path, size, mode):
    transforms = replace(tiny_network().transforms.with_size(*size), crop_mode=mode)
    made: dict[str, Any] = {}
    exec(program("pixels.py"), made)
    for photo in odd_photos(tmp_path):
        ours = prepare(photo.read_bytes(), transforms)
        np.testing.assert_array_equal(made["pixels"](photo, transforms.to_json()), ours, err_msg=photo.name)
    with pytest.raises(AssertionError):  # rather than other pixels
        made["pixels"](photo, replace(transforms, rgb="drop").to_json())


def test_a_threshold_is_minded(tiny, tmp_path):
    classifier, photos = tiny
    featcache.export(classifier, tmp_path / "m.onnx")
    file = tmp_path / "preprocessing.json"
    told = json.loads(file.read_text())
    told["unknown"]["below_probability"] = 1.1
    file.write_text(json.dumps(told))
    assert {words[1] for words in ran("classify.py", tmp_path / "m.onnx", photos, tmp_path)} == {"unknown"}
    distances = [each.distance for each in classifier.predict(photos)]
    told["unknown"] = {"below_probability": None, "beyond_distance": float(np.median(distances))}
    file.write_text(json.dumps(told))
    lines = ran("classify.py", tmp_path / "m.onnx", photos, tmp_path)
    assert [words[1] == "unknown" for words in lines] == [each > np.median(distances) for each in distances]


@needs_shared
@pytest.mark.slow
def test_300_cats_and_dogs_from_their_files(tmp_path):
    data = SHARED / "data" / "cats_vs_dogs"
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for file in sorted((data / "train" / name).iterdir())[:60]:
            (tmp_path / "photos" / name / file.name).symlink_to(file)
    cache = featcache.extract(tmp_path / "photos", output=tmp_path / "f.h5")
    classifier = featcache.train_head(cache, output=None)
    photos = sorted((data / "test").glob("*/*"))
    assert len(photos) == 300
    exported = featcache.export(classifier, tmp_path / "m.onnx")
    lines = ran("classify.py", exported.path, photos, tmp_path)
    predicted = classifier.predict(photos)
    named = ["unknown" if each.unknown else each.classes[0] for each in predicted]
    assert [words[1] for words in lines] == named
    assert {"cat", "dog", "unknown"} == set(named)
    np.testing.assert_allclose(
        [float(words[2]) for words in lines], [each.probabilities[0] for each in predicted], atol=1e-3
    )


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"), [("efficientnet_lite0", None), ("mobilenet_v2", "mobilenet_v2-b0353104.pth")]
)
def test_real_weights_name_the_same_of_1000_classes(tmp_path, name, file):
    photos = sorted((SHARED / "data" / "cats_vs_dogs" / "test").glob("*/*"))[::5]
    weights = None if file is None else SHARED / "weights" / file
    # Which compares the first classes of all of them.
    exported = featcache.export(name, tmp_path / "m.onnx", layer="logits", weights=weights, photos=photos)
    assert exported.parity.photos == 60
    assert exported.parity.differences["probabilities"] < 1e-4
    assert exported.parity.differences["logits"] < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(
    LITERT not in os.environ, reason=f"{LITERT} names no Python with onnx2tf and ai-edge-litert"
)
def test_the_recipe_for_litert(tiny, tmp_path):
    classifier, photos = tiny
    python = Path(os.environ[LITERT])
    exported = featcache.export(classifier, tmp_path / "m.onnx")
    (tmp_path / "one.py").write_text(program("one.py"))
    (tmp_path / "read.py").write_text(READ)
    # What onnx2tf would download.
    draw = np.random.default_rng(0).random((20, 128, 128, 3), np.float32)
    np.save(tmp_path / "calibration_image_sample_data_20x128x128x3_float32.npy", draw)
    images = np.stack([each.prepare(classifier._predictor.transforms, PLAIN) for each in photos_of(photos)])
    np.save(tmp_path / "images.npy", images)
    for line in (
        [python, "one.py", "m.onnx", "one.onnx"],
        [python.with_name("onnx2tf"), "-i", "one.onnx", "-o", "out", "-n", "-kat", "images"],
        [python, "read.py", "out/one_float32.tflite", "images.npy", "found.npz"],
    ):
        environment = {"PATH": str(python.parent), "HOME": str(tmp_path)}
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    expected = program_of(classifier, None, None)[0].reference(images)
    with np.load(tmp_path / "found.npz") as found:
        assert len(found) == len(exported.outputs) == 4
        for number, name in enumerate(sorted(exported.outputs)):
            np.testing.assert_allclose(found[str(number)], expected[name], rtol=1e-4, atol=1e-4)
