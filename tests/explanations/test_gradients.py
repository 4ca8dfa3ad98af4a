"""Grad-CAM against finite differences in float64 of the same small network, written in numpy."""

import numpy as np
import pytest
from helpers import explained
from helpers.tiny_finetuning import tiny_network

from featcache.backbones.layer import Layer
from featcache.explanations.gradients import gradient_heat, values_and_gradients
from featcache.explanations.places import as_grid


def outputs_after_block_1(network, subject, x):
    """The rest of the tiny network and the head, of the first block's output float64 ``[h, w, C]``: ``[3]``."""
    tensors = {name: value.astype(np.float64) for name, value in network.tensors.items()}
    for block in ("block_2", "block_3"):
        part = {name.rpartition(".")[2]: v for name, v in tensors.items() if name.startswith(f"{block}.norm")}
        x = x @ tensors[f"{block}.conv.kernel"][0, 0]
        x = (x - part["mean"]) / np.sqrt(part["var"] + 1e-3) * part["scale"] + part["bias"]
        x = np.clip(x, 0, 6)
    head = {name: value.astype(np.float64) for name, value in subject.head.parameters.items()}
    hidden = np.tanh(x.mean(axis=(0, 1)) @ head["kernel_0"] + head["bias_0"])
    return hidden @ head["kernel"] + head["bias"]


@pytest.fixture(scope="module")
def setting():
    network = tiny_network()
    subject = explained.subject(network, Layer("pool", "none"), hidden=5)
    images = explained.pictures(2)
    run = network.function([Layer("block_1", "map")])
    values = np.asarray(run(network.state, images)["block_1:map"]).astype(np.float64)
    return network, subject, images, values


def test_grad_cam_is_what_finite_differences_give(setting):
    network, subject, images, values = setting
    targets = np.array([[0, 2], [1, 0]])
    heat = gradient_heat(subject, "block_1", images, targets, by_channel=True)
    step = 1e-6
    for image, x in enumerate(values):
        # The mean gradient of a channel is how the output changes as the whole channel rises, over the places.
        slopes = []
        for channel in range(x.shape[2]):
            up, down = x.copy(), x.copy()
            up[..., channel] += step
            down[..., channel] -= step
            rise = outputs_after_block_1(network, subject, up) - outputs_after_block_1(network, subject, down)
            slopes.append(rise / (2 * step) / x[..., 0].size)
        for number, target in enumerate(targets[image]):
            expected = np.maximum(x @ np.array(slopes)[:, target], 0)
            assert expected.max() > 0
            np.testing.assert_allclose(heat[image, number], expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_gradient_times_value_is_what_finite_differences_give(setting):
    network, subject, images, values = setting
    heat = gradient_heat(subject, "block_1", images, np.array([[2], [2]]), by_channel=False)
    x, step = values[1], 1e-6
    for row, column in [(0, 0), (3, 5), (7, 7)]:
        up, down = x.copy(), x.copy()
        # Along the value itself: the slope is gradient times value.
        up[row, column] *= 1 + step
        down[row, column] *= 1 - step
        rise = outputs_after_block_1(network, subject, up) - outputs_after_block_1(network, subject, down)
        assert heat[1, 0, row, column] == pytest.approx(rise[2] / (2 * step), rel=1e-3, abs=1e-5)


def test_an_inner_point_has_a_gradient_and_patches_stand_in_their_places():
    network = explained.tiny_transformer()
    (layer,) = network.layers(["pool"])
    subject = explained.subject(network, layer)
    images = explained.pictures(1)
    for point in ("blocks.0_attn", "blocks.0"):
        values, gradients = values_and_gradients(subject, point, images, np.array([[1]]))
        assert gradients.shape == (1, 1, *values.shape[1:])
        assert np.abs(gradients).max() > 0
    grid = as_grid(values, network, network.transforms)
    np.testing.assert_array_equal(grid[0, 1, 2], values[0, 1 + 4 + 2])


def test_behind_the_last_block_no_patch_reaches_the_class_token():
    network = explained.tiny_transformer()
    (layer,) = network.layers(["pool"])
    subject = explained.subject(network, layer)
    _, gradients = values_and_gradients(subject, "blocks.1", explained.pictures(1), np.array([[0]]))
    assert np.abs(gradients[0, 0, 0]).max() > 0
    assert not gradients[0, 0, 1:].any()
