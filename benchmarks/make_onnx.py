"""ONNX graphs of torchvision's and timm's networks, as peers for ``benchmarks/zoo.py``.

Command, in an environment with torch, torchvision, timm, onnx and onnxscript:
``python benchmarks/make_onnx.py FOLDER [NAME ...]``

The weights are random (speed does not depend on them). Each graph takes NCHW float32 ``x`` of any batch size
and gives ``logits``.
"""

import sys
from pathlib import Path

# Ours to torchvision's or timm's: the same architecture, whatever its padding.
TORCHVISION = {
    "alexnet": "alexnet",
    "vgg16": "vgg16",
    "resnet50": "resnet50",
    "densenet121": "densenet121",
    "inception_v3": "inception_v3",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3_large",
    "efficientnet_b0": "efficientnet_b0",
    "convnext_tiny": "convnext_tiny",
}
TIMM = {
    "mobilenet_v1_100": "mobilenetv1_100",
    "xception": "legacy_xception",
    "inception_resnet_v2": "inception_resnet_v2",
    "resnet50_v2": "resnetv2_50",
    "efficientnet_v2_b0": "tf_efficientnetv2_b0",
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "vit_small_patch16_224": "vit_small_patch16_224",
    "vit_base_patch16_224": "vit_base_patch16_224",
}
SIZES = {"inception_v3": 299, "xception": 299, "inception_resnet_v2": 299}


def build(name: str):
    if name in TORCHVISION:
        import torchvision

        extra = {"init_weights": False} if name == "inception_v3" else {}
        return getattr(torchvision.models, TORCHVISION[name])(weights=None, **extra)
    import timm

    return timm.create_model(TIMM[name], pretrained=False)


def export(name: str, folder: Path) -> None:
    import torch

    size = SIZES.get(name, 224)
    torch.onnx.export(
        build(name).eval(),
        (torch.zeros(2, 3, size, size),),
        str(folder / f"{name}.onnx"),
        input_names=["x"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        dynamo=True,
    )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for wanted in sys.argv[2:] or (*TORCHVISION, *TIMM):
        export(wanted, target)
        print(wanted, flush=True)
