"""Grad-CAM of a torchvision network beside pytorch-grad-cam's, with the same random weights.

``pip install torch torchvision grad-cam && pytest -m torch`` makes the golden again.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import torch_gradcam
from helpers.golden import loaded_from_file

from featcache.explanations.gradients import gradient_heat
from featcache.explanations.subject import Subject, of_backbone


def kept():
    return json.loads(torch_gradcam.FILE.read_text("utf-8"))


@pytest.mark.torch
def test_golden_is_what_pytorch_grad_cam_computes():
    pytest.importorskip("pytorch_grad_cam")
    torch_gradcam.compare(kept(), torch_gradcam.golden())


def subject(folder) -> Subject:
    from featcache.classifier.prediction import backbone_predictor

    network = loaded_from_file(torch_gradcam.NETWORK, folder)
    half = (0.5, 0.5, 0.5)
    transforms = replace(network.transforms.with_size(*torch_gradcam.SIZE), mean=half, std=half)
    network = replace(network, pretrained=replace(network.pretrained, transforms=transforms))
    return of_backbone(backbone_predictor(network))


@pytest.mark.slow
def test_grad_cam_is_that_of_pytorch_grad_cam(tmp_path):
    explained = subject(tmp_path)
    classes = np.array([torch_gradcam.CLASSES])
    maps = kept()["maps"]
    for stage in torch_gradcam.STAGES:
        point = explained.network.network.resolve(stage)
        heat = gradient_heat(explained, point, torch_gradcam.pixels(), classes, by_channel=True)
        for number, found in zip(torch_gradcam.CLASSES, heat[0], strict=True):
            expected = np.array(maps[f"{stage}/{number}"])
            assert expected.max() > 0
            # Two float32 networks of 18 layers, forwards and backwards.
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max())
