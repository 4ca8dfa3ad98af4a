"""ResNet V2 beside Keras."""

import numpy as np
import pytest
from helpers.keras_oracle import (
    KerasCase,
    assert_built_as_keras,
    assert_equals_keras,
    assert_mapping_is_strict,
)

from featcache.backbones.registry import family_of, resolve

R50, R101, R152 = (
    KerasCase(
        f"resnet{depth}_v2.keras_in1k",
        lambda applications, shape, top, name=f"ResNet{depth}V2": getattr(applications, name)(
            include_top=top, weights=None, input_shape=shape, pooling="avg", classifier_activation=None
        ),
    )
    for depth in (50, 101, 152)
)


@pytest.mark.slow
def test_resnet50_v2_equals_keras(tmp_path):
    assert_equals_keras(R50, (224, 224), tmp_path)


@pytest.mark.slow
def test_resnet50_v2_without_its_top_equals_keras_at_another_size(tmp_path):
    assert_equals_keras(R50, (65, 97), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict(R50, (32, 32), tmp_path)


def test_the_published_file_calls_the_classifier_probs():
    weights = resolve("ResNet50V2")
    table = family_of(weights).key_tables["keras"](weights.config)
    translated = table.translate("probs.kernel", np.zeros((2048, 1000)))
    assert translated is not None
    assert translated[0] == "logits.kernel"


@pytest.mark.slow
def test_the_deepest_equals_keras(tmp_path):
    assert_equals_keras(R152, (65, 97), tmp_path, suffix=".h5", top=False)


@pytest.mark.slow
def test_the_one_between_has_the_shapes_of_keras():
    assert_built_as_keras(R101, (65, 97))
