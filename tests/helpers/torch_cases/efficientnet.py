"""EfficientNet of torchvision and timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _torchvision() -> Any:
    import torchvision

    return torchvision.models.efficientnet_b0(weights=None)


def _timm(name: str) -> Any:
    import timm

    return timm.create_model(name, pretrained=False)


_SIZES = ((96, 96), (75, 131))

CASES = (
    TorchCase(
        "efficientnet_b0.tv_in1k",
        build=_torchvision,
        points=(r"features\.\d(\.\d)?", r"features\.[16]\.0\.block\.\d", r"classifier\.1"),
        sizes=_SIZES,
    ),
    TorchCase(
        "efficientnet_b0.ns_jft_in1k",
        build=lambda: _timm("tf_efficientnet_b0.ns_jft_in1k"),
        points=("bn[12]", r"blocks\.\d\.\d", r"blocks\.[05]\.0\.(bn\d|se)", "global_pool", "classifier"),
        sizes=_SIZES,
    ),
)
