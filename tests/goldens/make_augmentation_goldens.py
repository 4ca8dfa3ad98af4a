"""Write torchvision_augmentation.npz: torchvision's crops and colours of a photo, and what it draws.

Run by hand in an environment that has torch and torchvision (the test run has neither):

    /opt/fct/bin/python tests/goldens/make_augmentation_goldens.py

Pictures are kept at each STEP-th row and column.
"""

from pathlib import Path

import numpy as np
import torch
from photos import photo
from PIL import Image
from torchvision.transforms import ColorJitter, RandomResizedCrop, functional
from torchvision.transforms.functional import pil_to_tensor

STEP = 5
SIZE = (97, 131)
BOXES = ((0, 0, 131, 97), (17, 30, 88, 93), (100, 90, 131, 97), (64, 8, 65, 9))  # left, top, right, bottom
FACTORS = {
    "brightness": (0.0, 0.6, 1.37),
    "contrast": (0.0, 0.6, 1.37),
    "saturation": (0.0, 0.6, 1.37),
    "hue": (-0.5, -0.1, 0.07, 0.5),
}
QUANTILES = np.linspace(0, 1, 21)
DRAWS = 20_000
JITTER = (0.4, 1.5, 0.4, 0.1)
PICTURES = ((375, 500), (500, 333), (60, 400))


def main() -> None:
    image = Image.fromarray(photo(*SIZE))
    goldens = {}
    for left, top, right, bottom in BOXES:
        crop = functional.resized_crop(image, top, left, bottom - top, right - left, [48, 40], antialias=True)
        goldens[f"crop/{left},{top},{right},{bottom}"] = pil_to_tensor(crop)
    for name, factors in FACTORS.items():
        for factor in factors:
            goldens[f"{name}/{factor}"] = pil_to_tensor(getattr(functional, f"adjust_{name}")(image, factor))
    goldens = {name: crop.permute(1, 2, 0).numpy()[::STEP, ::STEP] for name, crop in goldens.items()}
    torch.manual_seed(0)
    for height, width in PICTURES:
        picture = torch.empty(3, height, width)
        boxes = [RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(DRAWS)]
        tops, lefts, heights, widths = np.array(boxes, float).T
        drawn = {
            "area": heights * widths / (height * width),
            "aspect": np.log(widths / heights),
            "left": lefts / np.maximum(width - widths, 1),
            "top": tops / np.maximum(height - heights, 1),
        }
        goldens[f"drawn/{height},{width}"] = np.stack([np.quantile(v, QUANTILES) for v in drawn.values()])
    jitter = ColorJitter(*JITTER)
    ranges = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    factors = [ColorJitter.get_params(*ranges)[1:] for _ in range(DRAWS)]
    goldens["factors"] = np.quantile(np.array(factors, float), QUANTILES, axis=0)
    path = Path(__file__).with_name("torchvision_augmentation.npz")
    np.savez_compressed(path, **goldens)
    print(f"{path}: {len(goldens)} entries, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
