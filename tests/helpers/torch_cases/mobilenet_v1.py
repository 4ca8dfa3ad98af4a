"""MobileNet of timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _mobilenet() -> Any:
    import timm

    return timm.create_model("mobilenetv1_100", pretrained=False)


CASES = (
    TorchCase(
        "mobilenet_v1_100.ra4_e3600_r224_in1k",
        build=_mobilenet,
        points=(r"bn1", r"blocks\.\d+\.\d+(\.bn1)?", r"global_pool", r"classifier"),
        sizes=((96, 96), (67, 90)),
    ),
)
