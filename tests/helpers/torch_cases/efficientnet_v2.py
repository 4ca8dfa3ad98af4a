"""EfficientNetV2 of torchvision and timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _torchvision() -> Any:
    import torchvision

    return torchvision.models.efficientnet_v2_s(weights=None)


def _timm() -> Any:
    import timm

    return timm.create_model("tf_efficientnetv2_b0.in1k", pretrained=False)


CASES = (
    TorchCase(
        "efficientnet_v2_s.tv_in1k",
        build=_torchvision,
        points=(r"features\.\d(\.\d+)?", r"features\.[234]\.0\.block\.\d", r"classifier\.1"),
        # Many blocks at an odd size: 97×75, 49×38, 25×19, 13×10, 7×5, 4×3.
        sizes=((97, 75),),
        # A sixth of the golden; that they are ignored is tested with the smaller EfficientNets.
        dropped=(r".*num_batches_tracked",),
    ),
    TorchCase(
        "efficientnet_v2_b0.in1k",
        build=_timm,
        points=("bn[12]", r"blocks\.\d\.\d", r"blocks\.[0134]\.0\.(bn\d|se)", "global_pool", "classifier"),
        sizes=((96, 96), (75, 131)),
    ),
)
