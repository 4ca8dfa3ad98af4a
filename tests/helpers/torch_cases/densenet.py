"""DenseNet of torchvision; see `torch_reference`."""

from typing import Any

from helpers.torch_reference import TorchCase


def _densenet121() -> Any:
    import torchvision

    return torchvision.models.densenet121(weights=None)


# The two deeper ones have the same names and other numbers of them; their goldens would be lists of tensors.
CASES = (
    TorchCase(
        "densenet121.tv_in1k",
        build=_densenet121,
        points=(
            r"features\.(relu0|pool0|norm5)",
            r"features\.(denseblock|transition)\d",
            r"features\.transition\d\.(relu|conv)",
            # A layer's output in torchvision is what it adds: the whole map shows at the end of a dense block.
            r"features\.denseblock[14]\.denselayer[26]",
            "classifier",
        ),
        sizes=((97, 131), (224, 224)),
        dropped=(r".*num_batches_tracked",),  # of which the published files have none
    ),
)
