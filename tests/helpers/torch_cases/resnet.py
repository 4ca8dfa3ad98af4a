"""ResNet of torchvision and timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _torchvision(depth: int) -> Any:
    import torchvision

    return getattr(torchvision.models, f"resnet{depth}")(weights=None)


def _timm(depth: int) -> Any:
    import timm

    return timm.create_model(f"resnet{depth}.a1_in1k", pretrained=False)


# In torchvision "relu" inside a block is one module that is called several times.
_BLOCKS = ("relu", "maxpool", r"layer\d\.\d+", r"layer[14]\.\d\.bn3", "fc")

# torchvision's older files lack the counters, and they would be a sixth of the golden.
_COUNTERS = (r".*num_batches_tracked",)

CASES = (
    *(
        TorchCase(
            f"resnet{depth}.tv_in1k",
            build=lambda depth=depth: _torchvision(depth),
            points=_BLOCKS,
            sizes=((224, 224), (97, 131)) if depth == 18 else ((97, 131),),
            dropped=_COUNTERS,
        )
        for depth in (18, 34, 50, 101, 152)
    ),
    TorchCase(
        "resnet18.a1_in1k",
        build=lambda: _timm(18),
        points=("act1", "maxpool", r"layer\d\.\d", r"layer\d\.\d\.(act1|act2|bn2)", "global_pool", "fc"),
        sizes=((97, 131),),
    ),
    TorchCase(
        "resnet50.a1_in1k",
        build=lambda: _timm(50),
        points=("act1", "maxpool", r"layer\d\.\d", r"layer\d\.0\.(act\d|bn3)", "global_pool", "fc"),
        sizes=((97, 131),),
    ),
)
