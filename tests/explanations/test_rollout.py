"""Attention rollout against a loop in numpy over blocks and heads."""

import numpy as np
import pytest
from helpers import explained

from featcache.backbones.layer import Layer
from featcache.explanations.rollout import rollout_heat


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def normed(x, tensors, name):
    mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * tensors[f"{name}.scale"] + tensors[f"{name}.bias"]


@pytest.mark.parametrize("pooling", ["token", "map"])
def test_rollout_is_the_product_of_mean_attention_and_half_the_identity(pooling):
    network = explained.tiny_transformer(pooling=pooling)
    (layer,) = network.layers(["pool"])
    subject = explained.subject(network, layer)
    images = explained.pictures(2)
    heat = rollout_heat(subject, images)
    assert heat.shape == (2, 1, 4, 4)
    tensors = {name: value.astype(np.float64) for name, value in network.tensors.items()}
    names = ("patch_embed", "blocks.0", "norm")
    tapped = network.function([Layer(name, "map") for name in names])(network.state, images)
    for image in range(2):
        flow = None
        for block, before in (("blocks.0", "patch_embed"), ("blocks.1", "blocks.0")):
            x = normed(np.asarray(tapped[f"{before}:map"][image], np.float64), tensors, f"{block}.norm1")
            qkv = x @ tensors[f"{block}.attn.qkv.kernel"] + tensors[f"{block}.attn.qkv.bias"]
            query, key, _ = np.split(qkv, 3, axis=1)
            weights = []
            for head in range(2):
                at = slice(64 * head, 64 * head + 64)
                weights.append(softmax(query[:, at] @ key[:, at].T / 8))
            step = 0.5 * np.mean(weights, axis=0) + 0.5 * np.eye(len(x))
            flow = step if flow is None else step @ flow
        if pooling == "token":
            expected = flow[0, 1:]
        else:
            x = np.asarray(tapped["norm:map"][image], np.float64)
            query = tensors["pool.latent"][0] @ tensors["pool.q.kernel"] + tensors["pool.q.bias"]
            key = np.split(x @ tensors["pool.kv.kernel"] + tensors["pool.kv.bias"], 2, axis=1)[0]
            read = [softmax(query[:, a : a + 64] @ key[:, a : a + 64].T / 8) for a in (0, 64)]
            expected = (np.mean(read, axis=0) @ flow)[0]
        np.testing.assert_allclose(heat[image, 0].ravel(), expected, rtol=1e-4, atol=1e-6)
