"""AlexNet of torchvision; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _alexnet() -> Any:
    import torchvision

    return torchvision.models.alexnet(weights=None)


CASES = (
    TorchCase(
        "alexnet.tv_in1k",
        build=_alexnet,
        points=(r"features\.\d+", "avgpool", r"classifier\.[256]"),
        sizes=((224, 224), (135, 203)),
    ),
)
