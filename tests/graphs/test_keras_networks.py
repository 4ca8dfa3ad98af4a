"""From Keras' own network to ONNX: the same weights in keras.applications, and in the graph of ours.

An oracle that shares nothing with ours but the file of weights: neither layers, nor JAX's trace of them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx
from helpers.drawing import images
from helpers.graphs import run_graph
from helpers.keras_oracle import KerasCase, reference, run_keras, save
from helpers.support import scaled_error

from featcache.backbones import load
from featcache.graphs.convert import onnx_model

TOLERANCE = 1e-4
"""See `helpers.keras_oracle`: rounding of a hundred layers, and of weights that hold their normalisation."""

CASES = (
    KerasCase(
        "mobilenet_v2.keras_in1k_224",
        lambda applications, shape, top: applications.MobileNetV2(
            shape, include_top=top, weights=None, classifier_activation=None
        ),
    ),
    KerasCase(
        "densenet121.keras_in1k",
        lambda applications, shape, top: applications.DenseNet121(
            include_top=top, weights=None, input_shape=shape, classifier_activation=None
        ),
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_network_of_keras_and_the_graph_of_ours_agree(case: KerasCase, tmp_path: Path):
    size = (64, 64)
    model = reference(case, size)
    loaded = load(case.name, weights=save(model, tmp_path / "own.weights.h5"))

    def function(x: Any) -> dict[str, Any]:
        return {"logits": nnx.merge(loaded.graphdef, loaded.state)(x, taps=("logits",))["logits"]}

    x = images(*size)
    ours = run_graph(onnx_model(function, {"x": ((*size, 3), np.float32)}), {"x": x})["logits"]
    before, last = (layer.name for layer in model.layers[-2:])
    theirs = run_keras(model, x, [before, last])[last]
    assert theirs.std() > 1e-3 * np.abs(theirs).max() > 0
    assert scaled_error(ours, theirs) < TOLERANCE
