"""Classifiers whose checksums hold and whose content does not fit: only our errors, and never NaN."""

import contextlib
import copy
import hashlib
import json
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.fake_network import TRANSFORMS, WIDTH, FakeNetwork
from helpers.fuzz import FULL, fuzz
from helpers.mutations import change, mutated, text_of
from helpers.photo_folders import photo_folder
from hypothesis import strategies as st

import featcache
from featcache import Classifier, train_head
from featcache.backbones import load_from_classifier
from featcache.core.classifier_folder import DOCUMENT, TENSORS
from featcache.core.identity import sha256_json
from featcache.errors import DataError, FeatcacheError, IntegrityError
from featcache.images.transforms import Transforms

HEADS = ("prototype", "knn", "ridge")


@dataclass(frozen=True)
class Pretrained:
    """As much of `featcache.backbones.family.Pretrained` as loading replaces."""

    transforms: Transforms = TRANSFORMS
    arch: str = "fake"
    tag: str = "none"
    name: str = "fake.none"


@dataclass
class KnownNetwork(FakeNetwork):
    """What is loaded by whatever name."""

    pretrained: Pretrained = Pretrained()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Photos, a cache of a network that is their pixels, and a classifier of each head."""
    root = tmp_path_factory.mktemp("foreign")
    photo_folder(
        root / "photos", {f"{part}/{name}": 3 for part in ("train", "val", "test") for name in ("cat", "dog")}
    )
    cache = featcache.extract(root / "photos", backbone=FakeNetwork(), output=root / "a.h5", workers=1)
    for head in HEADS:
        train_head(cache.path, head=head, output=root / head)
    return root


@pytest.fixture
def known_network(monkeypatch):
    monkeypatch.setattr(load_from_classifier, "load_recorded", lambda *named, base=None: KnownNetwork())


def read_tensors(folder: Path) -> tuple[dict[str, Any], bytes]:
    data = (folder / TENSORS).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def write(folder: Path, document: Any, header: Any, content: bytes) -> None:
    """Write a classifier by hand, its checksums made right as far as there is something to check."""
    text = text_of(header)
    (folder / TENSORS).write_bytes(struct.pack("<Q", len(text)) + text + content)
    if isinstance(document, dict):
        if document.get("head_sha256") == "":
            document["head_sha256"] = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
        # What no reader gets as far as has no checksum: NaN, or a key that stands twice.
        with contextlib.suppress(ValueError, RecursionError):
            document["document_sha256"] = sha256_json(document)
    (folder / DOCUMENT).write_bytes(text_of(document))


@st.composite
def foreign(draw: st.DrawFn, valid: dict[str, tuple[dict, dict, bytes]]) -> tuple[Any, Any, bytes]:
    document, header, content = copy.deepcopy(valid[draw(st.sampled_from(sorted(valid)))])
    part = draw(st.sampled_from(("document", "document", "header", "content")))
    if part == "document":
        return draw(mutated(document)), header, content
    if part == "header":
        return document, draw(mutated(header)), content
    values = np.frombuffer(content[: len(content) // 4 * 4], "<f4").copy()
    strange = (np.nan, np.inf, -np.inf, 0, -1, 3e38, np.float32(2**31))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(-40, 40)) if draw(st.booleans()) else draw(st.integers(0, len(values) - 1))
        values[place % len(values)] = draw(st.sampled_from(strange))
    return document, header, values.tobytes()


def valid_parts(trained: Path) -> dict[str, tuple[dict, dict, bytes]]:
    parts = {}
    for head in HEADS:
        document = json.loads((trained / head / DOCUMENT).read_text())
        del document["document_sha256"]
        parts[head] = (document | {"head_sha256": ""}, *read_tensors(trained / head))
    return parts


def use(folder: Path, trained: Path) -> str:
    """Do with a classifier what may be done with one; returns how far that went."""
    try:
        kept = Classifier.load(folder)
    except IntegrityError:
        return "refused"
    with contextlib.suppress(DataError):  # finite numbers that overflow
        values = kept.values(np.random.default_rng(0).random((2, kept._finished.width), np.float32))
        assert values.shape == (2, len(kept.classes))
        assert np.isfinite(values).all()
    kept.settings, kept.loss, kept.tta, repr(kept)
    kept.save(folder.with_name("saved"))
    for work in (
        lambda: kept.probabilities(np.zeros((1, WIDTH), np.float32)),
        lambda: kept.evaluate(trained / "a.h5", "test").to_json(),
        lambda: kept.evaluate(),
        lambda: kept.predict(trained / "photos" / "test" / "cat" / "0.png"),
    ):
        with contextlib.suppress(FeatcacheError):
            work()
    return "used"


@pytest.mark.usefixtures("known_network")
def test_the_valid_ones_are_used(trained, tmp_path):
    for head, parts in valid_parts(trained).items():
        (tmp_path / head).mkdir()
        write(tmp_path / head, *parts)
        assert use(tmp_path / head, trained) == "used"
        kept = Classifier.load(tmp_path / head)
        assert kept.evaluate().accuracy == Classifier.load(trained / head).evaluate(trained / "a.h5").accuracy
        (prediction,) = kept.predict(trained / "photos" / "test" / "cat" / "0.png")
        assert prediction.classes[0] == "cat"


@pytest.mark.usefixtures("known_network")
@pytest.mark.parametrize("cases", [40, pytest.param(FULL, marks=[pytest.mark.slow, pytest.mark.timeout(0)])])
def test_classifiers_of_strange_content(cases, trained, tmp_path):
    folder = tmp_path / "classifier"
    folder.mkdir()

    def case(parts: tuple[Any, Any, bytes]) -> str:
        write(folder, *parts)
        with contextlib.suppress(FeatcacheError):
            load_from_classifier.load_folder(folder)
        shutil.rmtree(tmp_path / "saved", ignore_errors=True)
        return use(folder, trained)

    fuzz("classifiers", foreign(valid_parts(trained)), case, cases)


# Each kind, with its message --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("classes", ["cat"], r"head\.safetensors is damaged: kernel is float32 1280×2, expected float32 N×1"),
        (
            "classes",
            ["cat", "cat"],
            r"classifier\.json is damaged: classes holds 'cat' twice, expected each name",
        ),
        ("classes", [], r"classes is a list of 0, expected a list of 1 to"),
        (
            "head",
            "mlp",
            r"head\.safetensors is damaged: it holds 'bias', 'kernel', expected 'bias', 'bias_0'",
        ),
        ("head", "forest", r"head is 'forest', expected one of linear, mlp"),
        ("training hidden", [0], r"training\.hidden\[0\] is 0, expected a whole number of 1 to 2147483647"),
        ("training learning_rate", "fast", r"training\.learning_rate is 'fast', expected a number"),
        ("training learning_rate", -1, r"training: learning_rate -1: expected above 0"),
        ("training loss", "hinge", r"training: no loss 'hinge'"),
        ("training selection", {"test": 3}, r"training\.selection\.test is 3, expected a text .*, or null"),
        (
            "training view_recipe",
            {"policy": "none", "seed": 0, "count": 4},
            r"view_recipe\.policy is 'none', expected an ob",
        ),
        ("calibration temperature", 0, r"calibration\.temperature is 0, expected a number of at least 1e-06"),
        ("calibration rejection", [], r"calibration\.rejection is a list of 0, expected an object, or null"),
        ("recipe", None, r"recipe is null, expected an object"),
        ("recipe backbone", ..., r"recipe\.backbone is missing, expected an object"),
        ("fingerprint", "AB" * 32, r"fingerprint is 'ABAB.*', expected 64 hexadecimal digits"),
        ("provenance cache", "\0", r"provenance\.cache is '\\x00', expected the path of a file"),
        ("weights", 7, r"weights is 7, expected the path of a file, or null"),
        ("metrics", {"val": 0.9}, r"metrics\.val is 0\.9, expected an object"),
        ("task", "classy", r"task is 'classy', expected one of classes, answers, numbers"),
        ("format_version", 2, r"has format version 2, this featcache reads 1: upgrade featcache"),
        ("format_version", "1", r"is damaged: not a classifier's document"),
        ("more", "@deep@", r"not a classifier's document: it is nested more than 32 levels deep"),
        ("more", float("nan"), r"not a classifier's document: NaN is no number in JSON"),
        ("more", "@long number@", r"a whole number has 5,000 digits, expected at most 20"),
        ("@twice@head", "knn", r"the key 'head' stands twice"),
    ],
)
def test_what_does_not_fit_is_named(key, value, text, trained, tmp_path):
    document, header, content = valid_parts(trained)["ridge"]
    change(document, key, value)
    write(tmp_path, document, header, content)
    with pytest.raises(IntegrityError, match=text):
        Classifier.load(tmp_path)


@pytest.mark.parametrize(
    ("head", "name", "change", "text"),
    [
        ("ridge", "bias", np.nan, "bias holds NaN or infinity, expected finite numbers"),
        ("prototype", "kernel", -np.inf, "kernel holds NaN or infinity"),
        ("knn", "weight", -1.0, "weight holds no row that counts, or a negative one"),
        ("knn", "labels", 7, "labels are 0 to 7, expected 0 to 1"),
        ("knn", "neighbours", 0, "neighbours is 0, expected at least 1"),
        ("ridge", "bias", {"shape": [1, 2]}, "bias is float32 1×2, expected float32 2"),
        ("ridge", "bias", {"dtype": "I32"}, "bias is int32 2, expected float32 2"),
        ("ridge", "bias", {"dtype": "F8_E9"}, "it is no safetensors file of numbers"),
        ("ridge", "seen_images", {"shape": [8, 3]}, "seen_images is int32 8×3, expected int32 N×2"),
    ],
)
def test_tensors_that_do_not_fit_are_named(head, name, change, text, trained, tmp_path):
    document, header, content = valid_parts(trained)[head]
    first = header[name]["data_offsets"][0]
    if isinstance(change, dict):
        header[name] |= change
    else:
        kind = "<i4" if name in ("labels", "neighbours") else "<f4"
        content = content[:first] + np.array([change], kind).tobytes() + content[first + 4 :]
    write(tmp_path, document, header, content)
    with pytest.raises(IntegrityError, match=rf"head\.safetensors is damaged: {text}"):
        Classifier.load(tmp_path)
