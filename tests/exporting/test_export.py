"""`featcache.export`: what is in the file, that it gives what `predict` gives, and what is refused."""

import errno
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from flax import nnx
from helpers.explained import tiny_transformer
from helpers.refusing_disk import refuse_reads, refuse_writes
from helpers.tiny_finetuning import (
    FAMILY,
    PRETRAINED,
    SIZE,
    Config,
    build,
    registered,
    tiny_classifier,
    tiny_network,
    tiny_photos,
)

import featcache
from featcache.backbones.chain import Backbone, variables
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.nn.basic import Dense
from featcache.classifier.known.familiarity import Familiarity, sample_of
from featcache.classifier.known.knowledge import Knowledge
from featcache.classifier.known.thresholds import HeldOutScores
from featcache.classifier.photos import photos_of
from featcache.errors import (
    ExportError,
    MissingExtraError,
    MissingFileError,
    StorageError,
    UnknownNameError,
    UsageError,
)
from featcache.exporting.program import of_classifier
from featcache.exporting.stablehlo import stablehlo_run
from featcache.graphs.sessions import open_session
from featcache.heads.probabilities import softmax
from featcache.images.views import PLAIN

HEADS = ("linear", "mlp", "logistic", "ridge", "knn", "prototype")
# Float32 on both sides; sums in another order.
CLOSE = {"rtol": 0, "atol": 2e-5}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with registered():
        root = tmp_path_factory.mktemp("exported")
        yield root, tiny_network(), tiny_photos(root / "photos")


@pytest.fixture(scope="module")
def ridge(made):
    _, network, photos = made
    return tiny_classifier(network, photos, head="ridge")


def pixels(classifier, photos: Path) -> tuple[list[Path], np.ndarray]:
    files = sorted(photos.glob("test/*/*"))
    transforms = classifier._predictor.transforms
    return files, np.stack([photo.prepare(transforms, PLAIN) for photo in photos_of(files)])


def outputs(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(path)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def drawn(classifier, head: str, widths: tuple[int, ...] = (), outputs: int = 3, **training):
    """The classifier with a drawn head of another kind: nothing has to be trained."""
    draw = np.random.default_rng(0)
    sizes = (10, *widths, outputs)
    names = [*(f"_{number}" for number in range(len(widths))), ""]
    arrays = {}
    for name, before, after in zip(names, sizes, sizes[1:], strict=False):
        arrays |= {f"kernel{name}": draw.normal(size=(before, after)), f"bias{name}": draw.normal(size=after)}
    parameters = {name: (value / np.sqrt(len(value))).astype(np.float32) for name, value in arrays.items()}
    return replace(
        classifier,
        head=head,
        parameters=parameters,
        judged=None,
        training={**classifier.training, **training},
    )


def of_head(made, ridge, head: str):
    if head in ("mlp", "linear", "logistic"):
        widths = (12,) if head == "mlp" else ()
        return drawn(ridge, head, widths, activation="silu", scaling="unit", loss="softmax")
    _, network, photos = made
    if head == "ridge":
        return ridge
    settings = {"neighbours": 5} if head == "knn" else {}
    return replace(
        featcache.train_head(photos.with_suffix(".h5"), head=head, output=None, **settings), network=network
    )


@pytest.mark.parametrize("head", HEADS)
def test_every_head_gives_what_predict_gives(made, ridge, tmp_path, head):
    _, _, photos = made
    classifier = of_head(made, ridge, head)
    exported = featcache.export(classifier, tmp_path / "m.onnx")
    files, images = pixels(classifier, photos)
    found = outputs(exported.path, images)
    assert list(found) == ["probabilities", "logits", "features", "distance"]
    predicted = classifier.predict_proba(files)
    np.testing.assert_allclose(found["probabilities"], predicted, **CLOSE)
    assert (found["probabilities"].argmax(axis=1) == predicted.argmax(axis=1)).all()
    told = classifier.predict(files)
    np.testing.assert_allclose(found["distance"], [each.distance for each in told], **CLOSE)
    # One photo alone gives what it gives among others.
    np.testing.assert_allclose(
        outputs(exported.path, images[:1])["probabilities"], found["probabilities"][:1], **CLOSE
    )
    assert exported.parity.photos == 32
    assert max(exported.parity.differences.values()) < 1e-5
    assert "32 photos that it was trained with" in exported.parity.origin


def test_a_head_on_a_map_measures_distances_of_the_mean_over_its_places(made, tmp_path):
    _, network, _ = made
    photos = tiny_photos(tmp_path / "photos")
    classifier = tiny_classifier(network, photos, layer="block_1:map", head="prototype")
    exported = featcache.export(classifier, tmp_path / "m.onnx")
    assert exported.outputs["features"] == (8, 8, 6)
    files, images = pixels(classifier, photos)
    found = outputs(exported.path, images)
    told = classifier.predict(files)
    np.testing.assert_allclose(found["probabilities"], classifier.predict_proba(files), **CLOSE)
    np.testing.assert_allclose(found["distance"], [each.distance for each in told], **CLOSE)


@pytest.mark.parametrize(("task", "loss"), [("answers", "sigmoid"), ("numbers", "squared")])
def test_labels_and_numbers(made, ridge, tmp_path, task, loss):
    _, _, photos = made
    classifier = replace(drawn(ridge, "linear", loss=loss, scaling="none"), task=task)
    exported = featcache.export(classifier, tmp_path / "m.onnx")
    files, images = pixels(classifier, photos)
    found = outputs(exported.path, images)
    first = {"answers": "probabilities", "numbers": "values"}[task]
    assert next(iter(found)) == first
    assert ("logits" in found) == (task == "answers")
    np.testing.assert_allclose(found[first], classifier.predict_proba(files), rtol=1e-5, atol=2e-5)
    told = json.loads((tmp_path / "preprocessing.json").read_text())
    assert told["task"] == {"answers": "multilabel", "numbers": "regression"}[task]
    assert told["classes"] == ["cat", "dog", "owl"]


def test_one_sigmoid_for_two_classes(made, ridge, tmp_path):
    _, _, photos = made
    classifier = replace(
        drawn(ridge, "linear", outputs=1, loss="sigmoid", scaling="unit"), classes=("cat", "dog")
    )
    exported = featcache.export(classifier, tmp_path / "m.onnx")
    assert exported.outputs["logits"] == (1,)
    assert exported.outputs["probabilities"] == (2,)
    files, images = pixels(classifier, photos)
    found = outputs(exported.path, images)
    np.testing.assert_allclose(found["probabilities"], classifier.predict_proba(files), **CLOSE)
    told = json.loads((tmp_path / "preprocessing.json").read_text())
    assert "one column, of the second class" in told["outputs"]["logits"]


def test_the_file_says_what_it_is(made, ridge, tmp_path):
    _, network, _ = made
    odd = ("cat", "dög\nof two lines", "owl")
    far = Familiarity(sample_of(np.eye(10, dtype=np.float32)), HeldOutScores.of(np.full(200, 0.25)))
    classifier = replace(ridge, classes=odd, known=Knowledge(familiarity=far))
    exported = featcache.export(classifier, tmp_path / "m.onnx")
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    told = {each.key: each.value for each in model.metadata_props}
    document = json.loads((tmp_path / "preprocessing.json").read_text())
    assert json.loads(told["preprocessing"]) == document
    assert json.loads(told["classes"]) == list(odd) == document["classes"]
    assert json.loads(told["thresholds"]) == {
        "probability": classifier.calibration.threshold,
        "distance": pytest.approx(0.25),
    }
    assert document["unknown"]["below_probability"] == classifier.calibration.threshold
    assert told["fingerprint"] == classifier.fingerprint
    assert told["weights_sha256"] == network.weights_sha256
    assert (told["task"], told["layer"], told["backbone"]) == ("multiclass", "pool", network.name)
    assert document["input"] == {
        "name": "images", "dtype": "uint8", "layout": "NHWC", "channels": "RGB", "height": SIZE, "width": SIZE,
    }  # fmt: skip
    assert document["transforms"] == network.transforms.to_json()
    assert list(document["outputs"]) == ["probabilities", "logits", "features", "distance"]
    assert (tmp_path / "labels.txt").read_text("utf-8") == "cat\ndög of two lines\nowl\n"
    (images,) = model.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert dims == ["N", SIZE, SIZE, 3]


def test_layers_of_a_backbone(made, ridge, tmp_path):
    _, network, _ = made
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    exported = featcache.export(network, tmp_path / "m.onnx", layer=["block_2:max", "block_1:map"])
    found = outputs(exported.path, images)
    layers = network.layers(["block_2:max", "block_1:map"])
    expected = network.function(layers)(network.state, images)
    assert {name: value.shape for name, value in found.items()} == {
        "block_2:max": (3, 8),
        "block_1:map": (3, 8, 8, 6),
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-4)
    assert not (tmp_path / "labels.txt").exists()
    assert list(featcache.export(network, tmp_path / "m.onnx").outputs) == ["features"]
    only = ridge.export(tmp_path / "m.onnx", layer="block_3:avg")
    assert list(only.outputs) == ["features"]
    assert json.loads((tmp_path / "preprocessing.json").read_text())["task"] == "features"


def with_classes() -> LoadedBackbone:
    """The tiny network with a layer of 1,000 classes."""

    def built(config: Config, rngs: nnx.Rngs | None) -> Backbone:
        chain = build(config, rngs)
        return Backbone(
            {**{name: chain.stages[name] for name in chain.order}, "logits": Dense(10, 1000, rngs=rngs)}
        )

    config = Config(classes=1000)
    graphdef, state = nnx.split(built(config, nnx.Rngs(0)))
    tensors = {name: np.asarray(leaf[...]) for name, (_, leaf) in variables(state).items()}
    pretrained = replace(PRETRAINED, config=config)
    family = replace(FAMILY, build=built)
    return LoadedBackbone(family, pretrained, "custom", graphdef, state, tensors, None)


def test_a_backbones_own_classes(tmp_path):
    network = with_classes()
    exported = featcache.export(network, tmp_path / "m.onnx", layer="logits")
    assert exported.outputs == {"probabilities": (1000,), "logits": (1000,)}
    assert (tmp_path / "labels.txt").read_text().splitlines()[0] == "tench"
    assert exported.parity.origin == "16 images that come with featcache"
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    found = outputs(exported.path, images)
    logits = np.asarray(network.function(network.layers(["logits"]))(network.state, images)["logits"])
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["probabilities"], softmax(logits), **CLOSE)


def test_a_transformer(tmp_path):
    network = tiny_transformer()
    exported = featcache.export(network, tmp_path / "m.onnx")
    assert max(exported.parity.differences.values()) < 1e-5


def test_a_view_that_is_averaged_is_told(ridge, tmp_path):
    averaging = replace(ridge, training={**ridge.training, "tta": True})
    assert (
        featcache.export(averaging, tmp_path / "m.onnx")
        .notes[0]
        .startswith("this classifier averages over several views")
    )


def test_photos_of_the_user(ridge, made, tmp_path):
    _, _, photos = made
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    file = sorted(photos.glob("test/*/*"))[0]
    assert featcache.export(ridge, tmp_path / "m.onnx", photos=[bad, file]).parity.origin == "1 photo given"
    with pytest.raises(
        featcache.FeatcacheError, match=r"none of the photos to compare .* can be read \(.*bad.jpg"
    ):
        featcache.export(ridge, tmp_path / "m.onnx", photos=[bad])


# Refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m.tflite", r"ends in .onnx or .stablehlo. LiteRT's converter .* docs/guide/export.md"),
        ("m.mlmodel", "Core ML has no converter"),
        ("model", r"output \S*model: expected a name that ends in .onnx or .stablehlo$"),
    ],
)
def test_other_endings(ridge, tmp_path, name, said):
    with pytest.raises(UsageError, match=said):
        featcache.export(ridge, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_what_lies_beside_it_is_never_replaced_by_mistake(ridge, tmp_path):
    (tmp_path / "labels.txt").write_text("my own")
    with pytest.raises(UsageError, match=r"labels\.txt is there, and not of an export"):
        featcache.export(ridge, tmp_path / "m.onnx")
    assert (tmp_path / "labels.txt").read_text() == "my own"
    (tmp_path / "preprocessing.json").write_text("[]")
    with pytest.raises(UsageError, match=r"preprocessing\.json is there, and not of an export"):
        featcache.export(ridge, tmp_path / "m.onnx")
    for name in ("labels.txt", "preprocessing.json"):
        (tmp_path / name).unlink()
    featcache.export(ridge, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"how photos are prepared for m\.onnx, which is there, too"):
        featcache.export(ridge, tmp_path / "other.onnx")
    (tmp_path / "labels.txt").write_text("Katze\nHund\nEule\n")
    for layer in (None, "block_1:avg"):  # neither overwritten nor removed
        with pytest.raises(
            UsageError, match=r"labels\.txt is not as an export wrote it, so it may be your own"
        ):
            featcache.export(ridge, tmp_path / "m.onnx", layer=layer)
    (tmp_path / "labels.txt").write_text("cat\ndog\nowl\n")
    again = featcache.export(ridge, tmp_path / "m.onnx", layer="block_1:avg")  # the same file is replaced
    assert list(again.outputs) == ["features"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "preprocessing.json"]


def test_a_model_that_cannot_be_written_leaves_all_as_it_was(ridge, tmp_path, monkeypatch):
    def refuse(source, target, real=os.replace):
        if str(target).endswith(".onnx"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(
            StorageError, match=r"cannot write \S*m\.onnx: No space left .* or name another file"
        ):
            featcache.export(ridge, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    featcache.export(ridge, tmp_path / "m.onnx")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(StorageError, match="No space left"):
            featcache.export(replace(ridge, classes=("a", "b", "c")), tmp_path / "m.onnx")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_cannot_be_read_or_kept_for_a_while_is_named(ridge, tmp_path, monkeypatch):
    featcache.export(ridge, tmp_path / "m.onnx")
    with monkeypatch.context() as patch:
        refuse_reads(patch, tmp_path / "labels.txt", errno.EACCES)
        with pytest.raises(StorageError, match=r"cannot read \S*labels\.txt: Permission denied"):
            featcache.export(ridge, tmp_path / "m.onnx")
    (tmp_path / "temporary").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        refuse_writes(patch, tmp_path / "temporary", errno.ENOSPC)
        with pytest.raises(StorageError, match=r"cannot write to \S*temporary: No space left .* set TMPDIR"):
            featcache.export(ridge, tmp_path / "m.onnx", int8=True)


def test_not_into_a_classifier_nor_below_a_file(ridge, tmp_path):
    plain = replace(ridge, network=None, weights="random")
    plain.save(tmp_path / "c")
    with pytest.raises(UsageError, match="a folder of featcache's own files"):
        featcache.export(ridge, tmp_path / "c" / "m.onnx")
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        StorageError, match=r"output \S+file is a file, expected a folder or nothing; name another file"
    ):
        featcache.export(ridge, tmp_path / "file" / "m.onnx")


def test_a_folder_of_its_own_is_made_and_goes_again_where_nothing_can_be_written(
    ridge, tmp_path, monkeypatch
):
    def refuse(*names, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(StorageError, match="No space left"):
            featcache.export(ridge, tmp_path / "models" / "one" / "m.onnx")
    assert not list(tmp_path.iterdir())
    featcache.export(ridge, tmp_path / "models" / "one" / "m.onnx")
    made = {path.name for path in (tmp_path / "models" / "one").iterdir()}
    assert made == {"m.onnx", "labels.txt", "preprocessing.json"}


def test_what_has_no_exact_form_is_refused_by_name(ridge, made, tmp_path):
    _, network, photos = made
    colours = replace(ridge, layer="image:statistics")
    with pytest.raises(ExportError, match="reads image:statistics, the colours of a photo"):
        featcache.export(colours, tmp_path / "m.onnx")
    cache = featcache.extract(
        photos,
        backbone=network,
        layers=("pool",),
        compute_dtype="bfloat16",
        image_statistics=False,
        output=tmp_path / "b.h5",
    )
    half = replace(featcache.train_head(cache, head="ridge", output=None), network=network)
    with pytest.raises(ExportError, match="computed in bfloat16, and other runtimes compute in float32"):
        featcache.export(half, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        MissingFileError,
        match=r"no classifier in mobilenet_v9 .*; nor is there a backbone of that name; .* 'mobilenet_v",
    ):
        featcache.export("mobilenet_v9")
    with pytest.raises(UnknownNameError, match="no stage 'nowhere'"):
        featcache.export(tiny_network(), layer="nowhere")
    with pytest.raises(UsageError, match="runtime is for the page that web writes"):
        featcache.export(tiny_network(), runtime="npm")
    with pytest.raises(UsageError, match="weights go with a backbone's name"):
        featcache.export(tiny_network(), weights="a.h5")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_the_error_names_it(ridge, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"the package {package}: pip install 'featcache\[onnx\]'"):
        featcache.export(ridge, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_stablehlo_needs_no_extra(ridge, made, tmp_path, monkeypatch):
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    exported = featcache.export(ridge, tmp_path / "m.stablehlo")
    assert exported.kind == "StableHLO for cpu, cuda, tpu"
    run = stablehlo_run(exported.path.read_bytes(), of_classifier(ridge))
    files, images = pixels(ridge, made[2])
    for few in (images, images[:1]):  # the batch size is open
        predicted = ridge.predict_proba(files[: len(few)])
        np.testing.assert_allclose(run(few)["probabilities"], predicted, **CLOSE)
