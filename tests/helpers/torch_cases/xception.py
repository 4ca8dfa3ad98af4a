"""Xception of timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _timm() -> Any:
    import timm

    return timm.create_model("legacy_xception.tf_in1k", pretrained=False)


CASES = (
    TorchCase(
        "xception.tf_in1k",
        _timm,
        # Not the blocks themselves: timm's block2 is our block3. The ReLU after each shows it.
        (r"act\d", r"block\d+\.rep\.\d", r"global_pool", r"fc"),
        ((107, 86),),
    ),
)
