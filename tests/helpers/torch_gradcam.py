"""Goldens of Grad-CAM as pytorch-grad-cam computes it: made with torch, compared without it.

``cd tests && python -m helpers.torch_gradcam`` writes ``explain/goldens/grad_cam.json`` in an environment that has
torch, torchvision and pytorch-grad-cam (nothing of featcache is needed there).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from helpers.torch_reference import drawn

FILE = Path(__file__).parents[1] / "explanations" / "goldens" / "grad_cam.json"

NETWORK = "resnet18.tv_in1k"
SIZE = (96, 128)
CLASSES = (7, 512)
STAGES = ("layer3", "layer4")
"""Modules of torchvision, whose names our network knows, too."""


def pixels() -> np.ndarray:
    """Return the picture, uint8 ``[1, height, width, 3]``; the network takes it scaled to −1..1."""
    return np.random.default_rng(18).integers(0, 256, (1, *SIZE, 3), np.uint8)


def golden() -> dict[str, Any]:
    """Run the reference: maps of each stage and class, not scaled, ``[h, w]``."""
    import torch
    import torchvision
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.set_num_threads(2)
    model = torchvision.models.resnet18(weights=None).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(drawn(name, shape)) for name, shape in shapes.items()})
    x = torch.from_numpy((pixels() / np.float32(127.5) - 1).transpose(0, 3, 1, 2).copy())
    maps = {}
    for stage in STAGES:
        for number in CLASSES:
            with GradCAM(model=model, target_layers=[getattr(model, stage)[-1]]) as cam:
                cam(input_tensor=x, targets=[ClassifierOutputTarget(number)])
                # Before it is scaled to 0..1 and enlarged: the weighted sum, and what is positive of it.
                values = cam.activations_and_grads
                found = cam.get_cam_image(
                    x,
                    cam.target_layers[0],
                    [ClassifierOutputTarget(number)],
                    values.activations[0].detach().numpy(),
                    values.gradients[0].detach().numpy(),
                    False,
                )
            maps[f"{stage}/{number}"] = [[float(f"{v:.7g}") for v in row] for row in np.maximum(found[0], 0)]
    return {"network": NETWORK, "maps": maps}


def compare(kept: dict[str, Any], made: dict[str, Any]) -> None:
    """Compare two goldens; another version or processor sums in another order."""
    assert kept["maps"].keys() == made["maps"].keys()
    for name, value in kept["maps"].items():
        largest = np.max(value)
        assert largest > 0, name
        np.testing.assert_allclose(made["maps"][name], value, rtol=0, atol=1e-4 * largest, err_msg=name)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(golden(), separators=(",", ":")) + "\n", "utf-8")
