"""How the published ImageNet accuracies were measured, and transforms that are named instead of spelled out.

The transforms of weights are what their framework does to pictures that it is given; its accuracy may have been
measured with others. Keras' loaders squash a picture to the input size, but the accuracies beside its weights come from
central crops, which are worth some points.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from featcache.backbones.families.presets import crop_pct_of
from featcache.backbones.family import Pretrained
from featcache.backbones.registry import family_of
from featcache.errors import UsageError
from featcache.images.named_transforms import PUBLISHED, read_name
from featcache.images.transforms import Transforms

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone


@dataclass(frozen=True)
class Protocol:
    """How a published accuracy was measured.

    Parameters
    ----------
    words
        What is known of it, and who says so.
    transforms
        The same as a record; ``None`` where not all of it is published.
    """

    words: str
    transforms: Transforms | None


def protocol_of(pretrained: Pretrained) -> Protocol | None:
    """Return how the accuracy of these weights was measured; ``None`` if there is none, or that is not known.

    Examples
    --------
    >>> from featcache.backbones.registry import resolve
    >>> protocol_of(resolve("mobilenet_v1_025")).transforms.describe()[:48]
    'central 87.5 % of both sides resized to 224×224 '
    """
    if pretrained.top1 is None:
        return None
    publisher = re.split(r"[\s,]", pretrained.source)[0]
    if publisher in ("torchvision", "timm", "TensorFlow"):
        return Protocol(f"{publisher} measured with these transforms", pretrained.transforms)
    measure = _OF_KERAS.get(family_of(pretrained).name)
    return measure(pretrained.transforms) if publisher == "Keras" and measure else None


def _of_slim(transforms: Transforms) -> Protocol:
    # Its inception_preprocessing: tf.image.central_crop, then resize_bilinear.
    cropped = replace(transforms, crop_mode="squash", crop_pct=0.875)
    return Protocol("TF-Slim measured on the central 87.5 % of both sides, squashed", cropped)


def _of_efficientnet(transforms: Transforms) -> Protocol:
    side = transforms.input_size[0]
    crop_pct = crop_pct_of(side, side + 32)  # CROP_PADDING of the authors' evaluation
    cropped = replace(transforms, crop_mode="center", crop_pct=crop_pct, interpolation="bicubic")
    return Protocol(
        f"the authors measured on a centre crop of {side} from {side + 32} pixels, bicubic", cropped
    )


def _of_keras(transforms: Transforms) -> Protocol:
    del transforms
    return Protocol(
        "Keras measured on a single centre crop (README of keras-applications), of which size is not published",
        None,
    )


# The others' accuracies (ConvNeXt, EfficientNetV2, MobileNetV3) are stated by Keras without saying how they came about.
_OF_KERAS: dict[str, Callable[[Transforms], Protocol]] = {
    "mobilenet_v1": _of_slim,
    "mobilenet_v2": _of_slim,
    "efficientnet": _of_efficientnet,
    **dict.fromkeys(
        ("vgg", "resnet", "resnet_v2", "densenet", "inception_v3", "inception_resnet_v2", "xception"),
        _of_keras,
    ),
}


def named_transforms(pretrained: Pretrained, text: str) -> Transforms:
    """Return the transforms that a text means for some weights.

    Parameters
    ----------
    pretrained
        The weights, whose own transforms give all that the text does not say.
    text
        ``"published"`` (with which the published accuracy was measured), ``"center:0.875"`` (the short side is resized
        to the input size divided by that, the centre is cropped) or ``"squash:0.875"`` (that share of both sides around
        the centre is resized whatever the aspect ratio); without a number it is 1.

    Raises
    ------
    UsageError
        If it is none of these, or the published ones are not known.
    """
    mode, crop_pct = read_name(text)
    if mode != PUBLISHED:
        return replace(pretrained.transforms, crop_mode=mode, crop_pct=crop_pct)
    protocol = protocol_of(pretrained)
    if protocol is None or protocol.transforms is None:
        what = "is not known" if protocol is None else f"is not known whole ({protocol.words})"
        raise UsageError(
            f"transforms {text!r}: with which the accuracy of {pretrained.name} was measured {what}; give them as "
            "center:CROP_PCT or squash:CROP_PCT, such as center:0.875"
        )
    return protocol.transforms


def with_transforms(network: "LoadedBackbone", text: str | None) -> "LoadedBackbone":
    """Return the backbone with transforms that are named (see `named_transforms`); ``None`` for those that it has."""
    if text is None:
        return network
    transforms = named_transforms(network.pretrained, text)
    return replace(network, pretrained=replace(network.pretrained, transforms=transforms))
