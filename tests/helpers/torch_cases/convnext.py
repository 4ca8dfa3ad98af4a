"""ConvNeXt of torchvision and timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _torchvision() -> Any:
    import torchvision

    return torchvision.models.convnext_tiny(weights=None)


def _timm() -> Any:
    import timm

    return timm.create_model("convnext_tiny.fb_in1k", pretrained=False)


_SIZES = ((96, 96), (75, 131))

CASES = (
    TorchCase(
        "convnext_tiny.tv_in1k",
        build=_torchvision,
        points=(
            r"features\.\d",
            r"features\.[1357]\.\d",
            r"features\.[15]\.0\.block\.0",
            r"classifier\.[12]",
        ),
        sizes=_SIZES,
    ),
    TorchCase(
        "convnext_tiny.fb_in1k",
        build=_timm,
        points=(
            "stem",
            r"stages\.\d\.downsample",
            r"stages\.\d\.blocks\.\d",
            r"stages\.[02]\.blocks\.0\.conv_dw",
            r"head\.(flatten|fc)",
        ),
        sizes=_SIZES,
    ),
)
