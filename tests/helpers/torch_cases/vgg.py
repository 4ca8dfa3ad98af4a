"""VGG of torchvision; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _vgg(name: str) -> Any:
    import torchvision

    return getattr(torchvision.models, name)(weights=None)


CASES = tuple(
    TorchCase(
        f"vgg{depth}.tv_in1k",
        build=lambda depth=depth: _vgg(f"vgg{depth}"),
        points=(r"features\.\d+", r"avgpool", r"classifier\.(1|4|6)"),
        sizes=((96, 96), (80, 112)),
    )
    for depth in (11, 13, 16, 19)
)
