"""Load the backbone that a classifier was trained on: stored in its folder, or named by it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from featcache.backbones.load_by_name import load_named
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import TUNED
from featcache.core.classifier_folder import own_weights, read_beside_document
from featcache.core.identity import LayerIdentity, differences
from featcache.errors import IdentityError, UnknownNameError, WeightsError
from featcache.images.given_path import require_classifier
from featcache.images.transforms import Transforms


def load_folder(folder: Path, *, arch: str | None = None) -> LoadedBackbone:
    """Load the backbone of a classifier, stored in its folder or named by it, with its transforms.

    Parameters
    ----------
    folder
        Of the classifier.
    arch
        The architecture that it must be of; ``None`` for any.

    Raises
    ------
    MissingFileError
        If there is no classifier.
    IntegrityError
        If the classifier is damaged; an `IdentityError` if the backbone here is not the one it was trained on.
    WeightsError
        If its weights cannot be loaded, or are of another architecture.
    """
    require_classifier(folder)
    return read_beside_document(folder, lambda document: _load(folder, document, arch))


def _load(folder: Path, document: dict[str, Any], arch: str | None) -> LoadedBackbone:
    found = document["backbone"].rpartition(".")[0]
    if arch not in (None, found):
        raise WeightsError(
            f"the classifier in {folder} has a {found}, not {arch}; name it as the backbone: {found}"
        )
    base = document["provenance"].get("base")
    network = load_recorded(document["backbone"], own_weights(folder, document), base=base)
    recipe = document["recipe"]
    lines = differences(recipe["backbone"], network.recipe().to_json()["backbone"])
    if lines and not _same_to_layer(document, network):
        text = "\n  ".join(lines).replace("in the cache", "in the classifier").replace("asked for", "here")
        raise IdentityError(f"the backbone here is not the one that {folder} was trained on:\n  {text}")
    transforms = Transforms.from_json(dict(recipe["transforms"]))
    return replace(network, pretrained=replace(network.pretrained, transforms=transforms))


def _same_to_layer(document: dict[str, Any], network: LoadedBackbone) -> bool:
    """Return whether a network gives a classifier's features, although it differs behind their layer."""
    layer = document["layer"]
    try:
        digest = network.weights_sha256_to(layer)
    except UnknownNameError:
        return False
    here = {"backbone": network.recipe().to_json()["backbone"]}
    recorded = {"backbone": document["recipe"]["backbone"]}
    return LayerIdentity(recorded, layer, document.get("layer_weights_sha256")).same_as(
        LayerIdentity(here, layer, digest)
    )


def load_recorded(backbone: str, weights: str | None, *, base: str | None = None) -> LoadedBackbone:
    """Load a backbone as a classifier names it.

    Parameters
    ----------
    backbone
        ``arch.tag``.
    weights
        Path of its weights, or ``"random"``; ``None`` for the published weights of the tag.
    base
        ``arch.tag`` of the published weights whose layout and configuration `weights` have; the architecture's
        default by default.

    Raises
    ------
    WeightsError
        If the weights cannot be loaded.
    """
    arch, _, tag = backbone.rpartition(".")
    if weights is not None:
        return load_named(base or arch, weights, recorded=True)
    if tag == TUNED:
        raise WeightsError(
            f"the weights of {backbone} were changed by fine-tuning and not kept with the classifier; extract with "
            "the folder of the fine-tuned classifier as the backbone, and train on that cache"
        )
    return load_named(backbone)
