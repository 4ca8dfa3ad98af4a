"""Inception-v3 of torchvision and of timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase

_POINTS = (r"Conv2d_\w+", r"maxpool\d", r"Pool\d", r"Mixed_\w\w", r"global_pool", r"fc")


def _torchvision() -> Any:
    import torchvision

    # With the auxiliary classifier, as it is published; its own normalisation is part of the transforms here.
    return torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=False)


def _timm() -> Any:
    import timm

    return timm.create_model("inception_v3.tf_in1k", pretrained=False)


CASES = (
    TorchCase("inception_v3.tv_in1k", _torchvision, _POINTS, ((107, 86),)),
    TorchCase("inception_v3.tf_in1k", _timm, _POINTS, ((299, 299), (75, 97))),
)
