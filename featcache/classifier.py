"""The thing a user keeps: a head with everything needed to use it on a photo, in one folder.

``classifier.json`` says which backbone, transforms, layer and classes, and how it was made;
``head.safetensors`` holds the numbers.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache import FeatureCache
from featcache.errors import IdentityError, IntegrityError, MissingFileError, StorageError, UsageError
from featcache.identity import Recipe, canonical_json, differences, sha256_file, sha256_json
from featcache.metrics import Evaluation, Scores, evaluate
from featcache.outputs import class_probabilities
from featcache.settings import DESCENT, Settings

FORMAT = "featcache-classifier"
FORMAT_VERSION = 1
DOCUMENT = "classifier.json"
TENSORS = "head.safetensors"


@dataclass(frozen=True)
class Classifier:
    """A trained head and what its features must be.

    Parameters
    ----------
    backbone
        ``arch.tag`` of the backbone.
    weights
        Path of the weights file where it is not a published one.
    recipe
        All that decides the features.
    layer, fingerprint
        Which features of that recipe, and their fingerprint: features of another are refused.
    head
        Kind of head.
    parameters
        The head's numbers, on raw features.
    classes
        Class names in the order of the outputs.
    metrics
        What was measured when it was trained: split to scores.
    training
        Hyperparameters, epochs and history.
    provenance
        The cache it was trained on, versions, time.
    """

    backbone: str
    weights: str | None
    recipe: Mapping[str, Any]
    layer: str
    fingerprint: str
    head: str
    parameters: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    metrics: Mapping[str, Any]
    training: Mapping[str, Any]
    provenance: Mapping[str, Any]

    # On features --------------------------------------------------------------------------------------------

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return class probabilities float32 ``[N, C]`` of raw features ``[N, D]`` (or maps ``[N, H, W, C]``)."""
        flat = np.asarray(features, np.float32).reshape(len(features), -1)
        wanted = self._width
        if flat.shape[1] != wanted:
            raise UsageError(f"features of width {flat.shape[1]}; this classifier takes {wanted}")
        return class_probabilities(self.loss, self.logits(flat), len(self.classes))

    @property
    def settings(self) -> Settings:
        """How it was trained; what an older featcache did not know has its default."""
        known = {field.name for field in fields(Settings)}
        told = {name: value for name, value in self.training.items() if name in known}
        return Settings(**{**told, "hidden": tuple(told.get("hidden", (256,))), "head": self.head})

    @property
    def loss(self) -> str:
        """The loss it was trained with, which says how to read its outputs."""
        return self.settings.loss if self.head in DESCENT else "softmax"

    @property
    def _width(self) -> int:
        """Width D of the features that it takes."""
        for name, axis in (("features", 1), ("kernel_0", 0), ("kernel", 0)):
            if name in self.parameters:
                return int(self.parameters[name].shape[axis])
        raise IntegrityError(f"a {self.head} head without numbers; train it again")

    def logits(self, flat: np.ndarray) -> np.ndarray:
        """Return raw outputs ``[N, C]`` of features ``[N, D]``."""
        from featcache.scoring import outputs

        single = {name: value[None] for name, value in self.parameters.items()}
        return outputs(self.settings, single, flat, classes=len(self.classes))[0]

    def evaluate(
        self, cache: str | os.PathLike[str] | FeatureCache | None = None, split: str = "test"
    ) -> Evaluation:
        """Score the classifier on a split of a cache.

        Parameters
        ----------
        cache
            A cache of the same recipe; by default the one it was trained on.
        split
            Name of the split, or ``"all"``.

        Raises
        ------
        IdentityError
            If the cache's features are of another identity; lists the differences.
        """
        opened = self._open(cache)
        self.require_same_features(opened)
        features, labels = opened.arrays(split, self.layer)
        return evaluate(
            self._own_labels(opened, labels), self.probabilities(features), classes=self.classes, split=split
        )

    def _open(self, cache: str | os.PathLike[str] | FeatureCache | None) -> FeatureCache:
        if isinstance(cache, FeatureCache):
            return cache
        if cache is not None:
            return FeatureCache(cache)
        trained_on = Path(self.provenance["cache"])
        if not trained_on.exists():
            raise MissingFileError(
                f"the cache it was trained on, {trained_on}, is gone; name one with --cache"
            )
        return FeatureCache(trained_on)

    def require_same_features(self, cache: FeatureCache) -> None:
        """Refuse a cache whose features are not what this head was trained on.

        Raises
        ------
        IdentityError
            With the differences, field by field.
        """
        held = cache.layers.get(self.layer)
        if held is not None and held.fingerprint == self.fingerprint:
            return
        lines = differences(cache.recipe, self.recipe)
        if held is None:
            lines.append(f"layers: {', '.join(cache.layers)} in the cache, {self.layer} asked for")
        raise IdentityError(
            f"{cache.path} holds other features than this classifier was trained on:\n  " + "\n  ".join(lines)
        )

    def _own_labels(self, cache: FeatureCache, labels: np.ndarray) -> np.ndarray:
        """Translate a cache's labels to this classifier's, by class name."""
        unknown = [name for name in cache.classes if name not in self.classes]
        if unknown:
            raise UsageError(
                f"{cache.path} has classes this classifier does not know: {', '.join(unknown[:5])}; "
                f"it knows {', '.join(self.classes[:10])}"
            )
        return np.array([self.classes.index(name) for name in cache.classes], np.int32)[labels]

    # On images ----------------------------------------------------------------------------------------------

    @cached_property
    def _predictor(self) -> Any:
        from featcache.prediction import classifier_predictor

        return classifier_predictor(self)

    def predict(self, images: Any, *, top: int = 5) -> "list[Any]":
        """Classify photos.

        Parameters
        ----------
        images
            A path, a folder, a uint8 array ``[H, W, 3]``, or a sequence of these.
        top
            How many classes to give for each.

        Returns
        -------
        list of featcache.prediction.Prediction
            In the order of the images; one that cannot be read has its `error` set and no classes.
        """
        return self._predictor.predict(images, top=top)

    def predict_proba(self, images: Any) -> np.ndarray:
        """Return class probabilities ``[N, C]`` of photos; raises `ImageError` for one that cannot be read."""
        return self._predictor.predict_proba(images)

    # On disk ------------------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the classifier to a folder; an earlier classifier there is replaced at once, or not at all.

        Raises
        ------
        UsageError
            If the folder exists and holds anything else.
        StorageError
            If it cannot be written.
        """
        target = Path(folder).resolve()  # a link stays, and what it leads to is replaced
        if target.exists() and not (target / DOCUMENT).is_file() and any(_listing(target)):
            raise UsageError(f"{target} exists and is no classifier; choose another place with --output")
        fresh = target.with_name(f".{target.name}.new-{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            fresh.mkdir(parents=True)
            self._write(fresh)
            _replace_folder(fresh, target)
        except OSError as error:
            raise StorageError(
                f"cannot write the classifier to {target}: {error.strerror or error}; "
                "choose another place with --output"
            ) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return Path(folder)

    def _write(self, folder: Path) -> None:
        from safetensors.numpy import save

        # Numbers of rows and labels, which a knn head remembers, stay whole numbers.
        kinds = {
            name: np.int32 if np.issubdtype(value.dtype, np.integer) else np.float32
            for name, value in self.parameters.items()
        }
        tensors = {
            name: np.atleast_1d(np.ascontiguousarray(value, kinds[name]))
            for name, value in self.parameters.items()
        }
        (folder / TENSORS).write_bytes(save(tensors))
        document = self._document(sha256_file(folder / TENSORS))
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        # Names that are not UTF-8 hold lone surrogates, which only JSON's own escapes can write.
        (folder / DOCUMENT).write_bytes(text.encode("utf-8", "backslashreplace"))

    def _document(self, tensors_sha256: str) -> dict[str, Any]:
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "backbone": self.backbone,
            "weights": self.weights,
            "recipe": dict(self.recipe),
            "layer": self.layer,
            "fingerprint": self.fingerprint,
            "head": self.head,
            "head_sha256": tensors_sha256,
            "classes": list(self.classes),
            "metrics": dict(self.metrics),
            "training": dict(self.training),
            "provenance": dict(self.provenance),
        }
        return {**document, "document_sha256": sha256_json(document)}

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Classifier":
        """Read a classifier from its folder.

        Raises
        ------
        MissingFileError
            If there is none.
        IntegrityError
            If it is damaged or was edited by hand, or of a newer version.
        """
        from safetensors.numpy import load_file

        path = Path(folder)
        document = _read_document(path)
        tensors = path / TENSORS
        if not tensors.is_file() or sha256_file(tensors) != document["head_sha256"]:
            raise IntegrityError(
                f"{tensors} is missing, damaged or of another classifier; train the head again"
            )
        fields = {
            name: document[name]
            for name in (
                "backbone",
                "weights",
                "recipe",
                "layer",
                "fingerprint",
                "head",
                "metrics",
                "training",
                "provenance",
            )
        }
        return cls(**fields, classes=tuple(document["classes"]), parameters=load_file(tensors))

    def with_scores(self, scores: Scores) -> "Classifier":
        """Return a copy that also records these scores."""
        return replace(self, metrics={**self.metrics, scores.split: scores.to_json()})

    @property
    def recipe_fingerprint(self) -> str:
        """The fingerprint that the recorded recipe and layer give; equals `fingerprint` unless edited."""
        return Recipe.from_json(self.recipe).fingerprint(self.layer)


def _listing(folder: Path) -> Sequence[str]:
    return os.listdir(folder) if folder.is_dir() else [folder.name]


def _replace_folder(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target`; the old one is moved aside first and removed last."""
    old = target.with_name(f".{target.name}.old-{os.getpid()}")
    if not target.exists():
        os.replace(fresh, target)
        return
    os.replace(target, old)
    try:
        os.replace(fresh, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _read_document(folder: Path) -> dict[str, Any]:
    path = folder / DOCUMENT
    if not path.is_file():
        raise MissingFileError(
            f"no classifier in {folder} (no {DOCUMENT}); train one with: featcache train-head CACHE"
        )
    try:
        document = json.loads(path.read_text("utf-8"))
        checksum = document.pop("document_sha256")
        version = document["format_version"]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise IntegrityError(f"{path} is damaged: not a classifier's document") from error
    if document.get("format") == FORMAT and isinstance(version, int) and version > FORMAT_VERSION:
        raise IntegrityError(
            f"{path} has format version {version}, this featcache reads {FORMAT_VERSION}: upgrade featcache"
        )
    if sha256_json(json.loads(canonical_json(document))) != checksum:
        raise IntegrityError(f"{path} does not match its checksum: damaged or edited by hand")
    return document
