"""MobileNetV3 of torchvision and timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase

SIZES = ((96, 96), (67, 90))


def _torchvision(name: str) -> Any:
    import torchvision

    return getattr(torchvision.models, name)(weights=None)


def _timm(name: str) -> Any:
    import timm

    return timm.create_model(name, pretrained=False)


CASES = (
    *(
        TorchCase(
            f"{name}.tv_in1k",
            build=lambda name=name: _torchvision(name),
            points=(r"features\.\d+", r"classifier\.1", r"classifier"),
            sizes=SIZES,
        )
        for name in ("mobilenet_v3_small", "mobilenet_v3_large")
    ),
    *(
        TorchCase(
            ours,
            build=lambda theirs=theirs: _timm(theirs),
            points=(r"bn1", r"blocks\.\d+\.\d+", r"classifier"),
            sizes=SIZES,
        )
        for ours, theirs in (
            ("mobilenet_v3_small.lamb_in1k", "mobilenetv3_small_100"),
            ("mobilenet_v3_small_075.lamb_in1k", "mobilenetv3_small_075"),
            ("mobilenet_v3_large.ra_in1k", "mobilenetv3_large_100"),
        )
    ),
)
