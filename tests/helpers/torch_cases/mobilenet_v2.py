"""MobileNetV2 of torchvision and timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase

SIZES = ((96, 96), (67, 90))


def _torchvision() -> Any:
    import torchvision

    return torchvision.models.mobilenet_v2(weights=None)


def _timm(name: str) -> Any:
    import timm

    return timm.create_model(name, pretrained=False)


CASES = (
    TorchCase(
        "mobilenet_v2.tv_in1k",
        build=_torchvision,
        points=(r"features\.\d+", r"classifier"),
        sizes=SIZES,
    ),
    *(
        TorchCase(
            ours,
            build=lambda theirs=theirs: _timm(theirs),
            points=(r"bn1", r"blocks\.\d+\.\d+", r"bn2", r"global_pool", r"classifier"),
            sizes=SIZES,
        )
        for ours, theirs in (
            ("mobilenet_v2_050.lamb_in1k", "mobilenetv2_050"),
            ("mobilenet_v2_140.ra_in1k", "mobilenetv2_140"),
        )
    ),
)
