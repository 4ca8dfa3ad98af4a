"""The file of a classifier's own backbone, as after fine-tuning, which is saved with its head."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbones.registry import TUNED
from featcache.core.identity import differences
from featcache.errors import IdentityError

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier


def tuned_name(classifier: "Classifier") -> str:
    """Return ``arch.tag`` of a classifier's own backbone."""
    return f"{classifier.recipe['backbone']['arch']}.{TUNED}"


def own_backbone(classifier: "Classifier") -> Iterable[bytes | memoryview] | None:
    """Return the content of the fine-tuned backbone's file; ``None`` for a published backbone.

    Raises
    ------
    IdentityError
        If the network is not what the head was trained on.
    """
    if classifier.network is None:
        return _kept_backbone(classifier)
    from featcache.backbones.finetuned import pack

    lines = differences(classifier.recipe["backbone"], classifier.network.recipe().to_json()["backbone"])
    if lines:
        text = (
            "\n  ".join(lines).replace("in the cache", "in the recipe").replace("asked for", "in the network")
        )
        raise IdentityError(f"the classifier's network is not what its head was trained on:\n  {text}")
    return pack(classifier.network)


def _kept_backbone(classifier: "Classifier") -> Iterable[bytes | memoryview] | None:
    if classifier.weights is None or classifier.backbone != tuned_name(classifier):
        return None
    from featcache.backbones.finetuned import checked_bytes

    return [checked_bytes(Path(classifier.weights), classifier.recipe["backbone"]["weights_sha256"])]
