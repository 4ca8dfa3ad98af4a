"""Inception-ResNet-v2 of timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _timm() -> Any:
    import timm

    return timm.create_model("inception_resnet_v2.tf_in1k", pretrained=False)


CASES = (
    TorchCase(
        "inception_resnet_v2.tf_in1k",
        _timm,
        (
            r"conv2d_\w+",
            r"maxpool_\da",
            r"mixed_\w\w",
            r"repeat(_\d)?\.\d+",
            r"block8",
            r"global_pool",
            r"classif",
        ),
        ((107, 86),),
        # Half as many names as the golden has, and Inception-v3's have them too.
        dropped=(r".*\.num_batches_tracked",),
    ),
)
