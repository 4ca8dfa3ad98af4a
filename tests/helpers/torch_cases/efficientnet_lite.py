"""EfficientNet-Lite of timm; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _timm(number: int) -> Any:
    import timm

    return timm.create_model(f"tf_efficientnet_lite{number}.in1k", pretrained=False)


_BLOCKS = ("bn[12]", r"blocks\.\d\.\d", "global_pool", "classifier")

CASES = (
    TorchCase(
        "efficientnet_lite0.in1k",
        build=lambda: _timm(0),
        points=(*_BLOCKS, r"blocks\.[016]\.0\.bn\d"),
        sizes=((96, 96), (75, 131)),
    ),
    *(
        TorchCase(
            f"efficientnet_lite{number}.in1k",
            build=lambda number=number: _timm(number),
            points=_BLOCKS,
            sizes=((70, 45),),
            # A sixth of the golden; that they are ignored is tested with Lite0.
            dropped=(r".*num_batches_tracked",),
        )
        for number in (1, 2, 3, 4)
    ),
)
