"""Write torchvision_transforms.npz: what torchvision and timm make of the photos, before normalisation.

Run by hand in an environment that has torch, torchvision and timm (the test run has none of them):

    /opt/fct/bin/python tests/goldens/make_torchvision_goldens.py

Every crop is kept at each STEP-th row and column: enough to see a shift by one pixel or another filter.
"""

from pathlib import Path

import numpy as np
import torch
from photos import SIZES, photo
from PIL import Image
from timm.data import create_transform
from torchvision import models, transforms
from torchvision.transforms.functional import pil_to_tensor

STEP = 7


def torchvision_preset(weights: models.WeightsEnum):
    """The preset's own resize and crop, without its conversion to float and its normalisation."""
    preset = weights.transforms()
    resize = transforms.Resize(preset.resize_size, preset.interpolation, antialias=preset.antialias)
    return transforms.Compose([resize, transforms.CenterCrop(preset.crop_size), pil_to_tensor])


def timm_preset(size: tuple[int, int], interpolation: str, crop_pct: float):
    return create_transform(
        (3, *size), interpolation=interpolation, crop_pct=crop_pct, crop_mode="center", normalize=False
    )


PRESETS = {
    "mobilenet_v2": torchvision_preset(models.MobileNet_V2_Weights.IMAGENET1K_V1),
    "resnet50_v2": torchvision_preset(models.ResNet50_Weights.IMAGENET1K_V2),
    "inception_v3": torchvision_preset(models.Inception_V3_Weights.IMAGENET1K_V1),
    "timm_bicubic": timm_preset((224, 224), "bicubic", 0.875),
    "timm_lanczos": timm_preset((160, 160), "lanczos", 0.95),
    "timm_portrait": timm_preset((192, 128), "bicubic", 0.9),
}


def main() -> None:
    goldens = {}
    for height, width in SIZES:
        image = Image.fromarray(photo(height, width))
        for name, preset in PRESETS.items():
            crop = preset(image)
            assert crop.dtype == torch.uint8
            goldens[f"{name}/{height}x{width}"] = crop.permute(1, 2, 0).numpy()[::STEP, ::STEP]
    path = Path(__file__).with_name("torchvision_transforms.npz")
    np.savez_compressed(path, **goldens)
    print(f"{path}: {len(goldens)} crops, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
