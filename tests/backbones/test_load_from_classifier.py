"""A classifier with a backbone of its own: saved and moved with it, extracted with, refused where it was changed."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder
from PIL import Image
from scipy.special import softmax

from featcache import Classifier, FeatureCache, extract, train_head
from featcache.backbones import classifier_folder, load
from featcache.backbones.finetuned import save_finetuned, truncate_after, with_tensors
from featcache.backbones.input_size import with_size
from featcache.backbones.load_from_classifier import load_recorded
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.summary import describe
from featcache.classifier.classifier import BACKBONE, DOCUMENT, TENSORS
from featcache.classifier.prediction import backbone_predictor
from featcache.cli import main
from featcache.errors import (
    IdentityError,
    IntegrityError,
    MissingFileError,
    StorageError,
    UnknownNameError,
    UsageError,
    WeightsError,
)
from featcache.extraction.spec import ExtractionSpec

NAME = "mobilenet_v1_025"
LAYER = "conv_pw_2_relu"
"""An early one compiles in a second."""


@pytest.fixture(scope="module")
def original() -> LoadedBackbone:
    return with_size(load(NAME, weights="random"), 32)


@pytest.fixture(scope="module")
def tuned(original) -> LoadedBackbone:
    """What fine-tuning leaves: some weights moved, and nothing behind the layer that the head takes."""
    moved = {n: v * 1.5 + 0.1 for n, v in original.tensors.items() if n.startswith(f"{LAYER}.")}
    return truncate_after(with_tensors(original, moved), LAYER)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = {f"{split}/{name}": n for split, n in (("train", 4), ("test", 2)) for name in ("cat", "dog")}
    return photo_folder(tmp_path_factory.mktemp("own") / "photos", tree)


@pytest.fixture(scope="module")
def classifier(tuned, photos) -> Classifier:
    cache = extract(photos, backbone=tuned, layers=[LAYER], output=photos.parent / "tuned.h5").path
    return replace(train_head(cache, head="ridge", val_fraction=0.25), network=tuned)


@pytest.fixture(scope="module")
def plain(original, photos) -> Classifier:
    cache = extract(photos, backbone=original, layers=[LAYER], output=photos.parent / "plain.h5").path
    return train_head(cache, head="ridge", val_fraction=0.25)


@pytest.fixture
def saved(classifier, tmp_path) -> Path:
    return classifier.save(tmp_path / "mine")


def files_of(photos: Path) -> list[Path]:
    return sorted((photos / "test").glob("*/*.png"))


def by_hand(network: LoadedBackbone, classifier: Classifier, files: list[Path]) -> np.ndarray:
    """Probabilities of photos: the network's own features, and the head in numpy."""
    resized = [Image.open(file).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR) for file in files]
    pixels = np.stack([np.asarray(image) for image in resized])
    [features] = network.function(network.layers([LAYER]))(network.state, pixels).values()
    head, features = classifier.parameters, np.asarray(features, np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)  # the head's default scaling
    return softmax(features @ head["kernel"] + head["bias"], axis=1)


# Saved, moved, copied ---------------------------------------------------------------------------------------


def test_predictions_are_those_of_its_own_network(classifier, tuned, original, photos):
    files = files_of(photos)
    cooled = replace(classifier, calibration=replace(classifier.calibration, temperature=1.0))
    got = cooled.predict_proba(files)
    # float32 features of 16 values against the same network in another batch size, then float64.
    np.testing.assert_allclose(got, by_hand(tuned, classifier, files), atol=1e-5)
    assert np.abs(got - by_hand(original, classifier, files)).max() > 0.01, "the plain one gives others"


def test_its_backbone_is_saved_beside_its_head(classifier, tuned, saved, photos):
    assert sorted(path.name for path in saved.iterdir()) == [BACKBONE, DOCUMENT, TENSORS]
    document = json.loads((saved / DOCUMENT).read_text())
    assert (document["backbone"], document["weights"]) == (f"{NAME}.tuned", BACKBONE)
    assert document["format_version"] == 1, "who cannot read the backbone says that it has no such weights"
    loaded = Classifier.load(saved)
    assert loaded.weights == str((saved / BACKBONE).absolute())
    assert (loaded.network, loaded.recipe, loaded.fingerprint) == (
        None,
        classifier.recipe,
        classifier.fingerprint,
    )
    files = files_of(photos)
    np.testing.assert_allclose(loaded.predict_proba(files), classifier.predict_proba(files), atol=1e-6)
    assert loaded.evaluate().accuracy == classifier.evaluate().accuracy


def test_its_folder_can_be_moved(classifier, saved, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = Classifier.load("mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    want = classifier.predict_proba(files_of(photos))
    np.testing.assert_allclose(loaded.predict_proba(files_of(photos)), want, atol=1e-6)
    moved = shutil.move(saved, tmp_path / "elsewhere" / "moved")
    again = Classifier.load(moved)
    np.testing.assert_allclose(again.predict_proba(files_of(photos)), want, atol=1e-6)


def test_a_copy_keeps_its_backbone(saved, tmp_path):
    calibrated = replace(Classifier.load(saved), metrics={})
    copy = calibrated.save(tmp_path / "copy")
    assert (copy / BACKBONE).read_bytes() == (saved / BACKBONE).read_bytes()
    shutil.rmtree(saved)
    assert load(str(copy)).weights_sha256 == calibrated.recipe["backbone"]["weights_sha256"]
    with pytest.raises(WeightsError, match=r"backbone\.safetensors cannot be read \(No such file"):
        calibrated.save(tmp_path / "another")
    assert not (tmp_path / "another").exists()


def test_copies_with_other_scores_and_calibration_keep_the_network(classifier, tuned, photos):
    features, labels = FeatureCache(photos.parent / "tuned.h5").arrays("test")
    assert classifier.calibrated(features, labels).network is tuned
    assert classifier.with_scores(classifier.evaluate()).network is tuned
    assert "network" not in repr(classifier)


def test_a_network_that_the_head_was_not_trained_on_is_not_saved(classifier, original, tmp_path):
    with pytest.raises(IdentityError) as refused:
        replace(classifier, network=original).save(tmp_path / "mine")
    first, *lines = str(refused.value).splitlines()
    assert first == "the classifier's network is not what its head was trained on:"
    [line] = lines
    assert line.strip().startswith("weights_sha256: ")
    assert not (tmp_path / "mine").exists()


def test_saved_over_another_classifier(classifier, plain, saved):
    plain.save(saved)
    assert sorted(path.name for path in saved.iterdir()) == [DOCUMENT, TENSORS]
    assert Classifier.load(saved).weights == "random"
    classifier.save(saved)
    assert sorted(path.name for path in saved.iterdir()) == [BACKBONE, DOCUMENT, TENSORS]
    Classifier.load(saved).save(saved)
    assert Classifier.load(saved).fingerprint == classifier.fingerprint, "over itself"


def test_a_failure_while_its_backbone_is_written_keeps_the_earlier_one(
    classifier, plain, tmp_path, monkeypatch
):
    folder = plain.save(tmp_path / "mine")

    def full(path: Path, *args, real=Path.open, **options):
        if path.name == BACKBONE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match=r"cannot write the classifier to .*mine: No space left"):
        classifier.save(folder)
    monkeypatch.undo()
    assert Classifier.load(folder).backbone == f"{NAME}.random"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# Damage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("open_it", [Classifier.load, lambda folder: load(str(folder))])
@pytest.mark.parametrize("what", ["a bit", "all of it", "another network"])
def test_a_damaged_backbone_is_found(saved, original, open_it, what):
    path = saved / BACKBONE
    if what == "a bit":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif what == "all of it":
        path.unlink()
    else:
        save_finetuned(path, original)
    with pytest.raises(
        IntegrityError, match=r"backbone\.safetensors is missing, damaged or of another classif"
    ):
        open_it(saved)


def test_a_backbone_that_was_exchanged_later_is_refused(saved, original, photos, tmp_path):
    loaded = Classifier.load(saved)
    save_finetuned(saved / BACKBONE, original, through=LAYER)
    with pytest.raises(
        IdentityError, match="gives other features than the classifier was trained on"
    ) as refused:
        loaded.predict(files_of(photos))
    assert "backbone.weights_sha256: " in str(refused.value)
    with pytest.raises(
        WeightsError, match=r"the weights in .* are not those expected: .*put the right one back"
    ):
        loaded.save(tmp_path / "copy")


def test_a_fine_tuned_backbone_that_nobody_kept(classifier, photos):
    lost = replace(classifier, network=None)
    with pytest.raises(
        WeightsError, match=f"the weights of {NAME}.tuned were changed by fine-tuning and not kept"
    ):
        lost.predict(files_of(photos))


# Its folder as a backbone -----------------------------------------------------------------------------------


def test_a_folder_is_a_backbone(saved, tuned, plain, tmp_path):
    network = load(str(saved))
    assert (network.name, network.recipe()) == (f"{NAME}.tuned", tuned.recipe())
    assert load(NAME, weights=saved).recipe() == tuned.recipe()
    assert load(f"{saved}/", image_size=48).transforms.input_size == (48, 48)
    named = load(str(plain.save(tmp_path / "plain")))
    assert (named.name, named.transforms.input_size) == (f"{NAME}.random", (32, 32)), "with its transforms"


def test_folders_that_are_no_backbone(saved, tmp_path, monkeypatch):
    with pytest.raises(
        WeightsError, match=rf"the classifier in .*mine has a {NAME}, not mobilenet_v2; name it as"
    ):
        load("mobilenet_v2", weights=saved)
    with pytest.raises(UsageError, match="a classifier's folder has weights of its own; leave --weights out"):
        load(str(saved), weights="random")
    with pytest.raises(MissingFileError, match=r"no classifier in .*/gone \(no classifier.json\)"):
        load(str(tmp_path / "gone"))
    monkeypatch.chdir(tmp_path)
    for name in ("tmp", "", "~nobody", "x" * 5000):
        with pytest.raises(UnknownNameError, match="no backbone"):
            load(name)


def test_a_backbones_name_means_the_backbone_whatever_lies_here(saved, tmp_path, monkeypatch):
    shutil.copytree(saved, tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    assert classifier_folder(NAME) is None
    assert load(NAME, weights="random").name == f"{NAME}.random"
    assert load(f"./{NAME}").name == load("mine").name == f"{NAME}.tuned"
    monkeypatch.chdir(saved)
    assert load(".").name == f"{NAME}.tuned"
    with pytest.raises(UnknownNameError, match="no backbone ''"):
        load("")


def test_a_named_backbone_that_became_another_is_refused(plain, original, tmp_path):
    """The classifier names a file of weights, and the file has other numbers now."""
    save_finetuned(tmp_path / "file.safetensors", original)
    path = str(tmp_path / "file.safetensors")
    folder = replace(plain, backbone=f"{NAME}.custom", weights=path).save(tmp_path / "mine")
    assert load(str(folder)).transforms == original.transforms
    save_finetuned(path, with_tensors(original, {"logits.bias": np.ones(1000)}))
    assert load(str(folder)).transforms == original.transforms  # it lies behind the layer
    first = next(iter(original.tensors))
    save_finetuned(path, with_tensors(original, {first: original.tensors[first] + 1}))
    with pytest.raises(IdentityError, match=r"the backbone here is not the one that .*mine was trained on"):
        load(str(folder))


def test_it_has_no_classes_of_its_own(saved):
    with pytest.raises(
        UsageError, match=rf"{NAME}\.tuned has no classes of its own, only features: train a head"
    ):
        backbone_predictor(str(saved))


def test_extracted_with_its_folder(saved, classifier, tuned, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["extract", str(photos), "--backbone", "mine/", "--layer", LAYER]
    assert main(command) == 0, capsys.readouterr().err
    cache = FeatureCache(tmp_path / f"photos-{NAME}.tuned-{LAYER}.h5")
    assert cache.backbone == f"{NAME}.tuned"
    assert cache.layers[f"{LAYER}:avg"].fingerprint == classifier.fingerprint
    want, _ = FeatureCache(photos.parent / "tuned.h5").arrays("all")
    np.testing.assert_allclose(cache.arrays("all")[0], want, atol=1e-6)
    other = FeatureCache(photos.parent / "plain.h5")
    assert other.layers[f"{LAYER}:avg"].fingerprint != classifier.fingerprint
    assert classifier.evaluate(cache).accuracy == classifier.evaluate().accuracy
    with pytest.raises(IdentityError, match=r"backbone\.weights_sha256: "):
        classifier.evaluate(other)


def test_a_head_on_features_of_a_fine_tuned_backbone_takes_it_along(saved, tuned, photos, tmp_path):
    cache = extract(photos, backbone=str(saved), layers=[LAYER], output=tmp_path / "features.h5").path
    further = train_head(cache, head="ridge", output=tmp_path / "further", val_fraction=0.25)
    assert further.weights == str(saved / BACKBONE)
    shutil.rmtree(saved)
    cooled = Classifier.load(tmp_path / "further")
    cooled = replace(cooled, calibration=replace(cooled.calibration, temperature=1.0))
    files = files_of(photos)
    np.testing.assert_allclose(cooled.predict_proba(files), by_hand(tuned, cooled, files), atol=1e-5)


def test_another_classifier_in_the_same_folder_is_another_request(saved, classifier, plain):
    wanted = ExtractionSpec(backbone=str(saved), layers=(LAYER,))
    first = wanted.digest()
    assert first == wanted.digest() is not None
    replace(classifier, metrics={}).save(saved)
    second = wanted.digest()
    plain.save(saved)
    assert len({first, second, wanted.digest()}) == 3


def test_a_cache_of_the_folders_earlier_classifier_is_not_taken_for_done(
    saved, plain, photos, tmp_path, monkeypatch
):
    arguments = {"backbone": str(saved), "layers": [LAYER], "output": tmp_path / "features.h5"}
    assert extract(photos, **arguments).computed == 12
    again = extract(photos, **arguments)
    assert (again.computed, again.reused) == (0, 12)
    plain.save(saved)
    with pytest.raises(IdentityError, match=r"backbone\.weights_sha256: "):
        extract(photos, **arguments)


def test_its_stages_are_shown(saved, tuned, capsys):
    summary = describe(str(saved))
    assert (summary.pretrained.name, summary.pretrained.top1) == (f"{NAME}.tuned", None)
    assert summary.weights_path == str(saved / BACKBONE)
    assert [stage.name for stage in summary.stages] == [*tuned.network.order]
    assert (str(summary.layer), summary.features, summary.image_size) == (f"{LAYER}:avg", 32, (32, 32))
    assert main(["backbones", "show", str(saved)]) == 0
    out, err = capsys.readouterr()
    assert f"{LAYER}:avg at the end, 32 features" in out
    assert f"changed from {NAME}.keras_in1k_224" in out
    assert str(saved / BACKBONE) in out.replace("\n" + " " * 14, "")
    assert f"next: featcache extract DATASET -b {saved} -l STAGE" in err


def test_weights_of_ones_own_are_read_in_the_layout_they_had():
    """``inception_v3.random`` does not say that it was built as TF-slim's, whose configuration is another."""
    network = load("inception_v3.tf_in1k", weights="random")
    again = load_recorded(network.name, "random", base=network.pretrained.name)
    assert again.pretrained.name == "inception_v3.tf_in1k"
    assert (
        again.weights_sha256 == network.weights_sha256 != load_recorded(network.name, "random").weights_sha256
    )


def test_a_classifier_knows_what_its_weights_are_based_on(trained):
    assert trained.classifier.provenance["base"].startswith("efficientnet_lite0.")
