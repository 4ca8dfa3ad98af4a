"""EfficientNet-Lite beside timm; for the published weights, in their other layout, see ``test_parity.py``."""

import pytest
from helpers.golden import assert_equals_golden, assert_mapping_is_strict


def test_lite0_equals_timm(tmp_path):
    assert_equals_golden("efficientnet_lite0.in1k", tmp_path, runs=[1])


@pytest.mark.slow
def test_lite0_equals_timm_at_another_size(tmp_path):
    assert_equals_golden("efficientnet_lite0.in1k", tmp_path, runs=[0])


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_larger_ones_equal_timm(number, tmp_path):
    assert_equals_golden(f"efficientnet_lite{number}.in1k", tmp_path, runs=[0])


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict("efficientnet_lite0.in1k", tmp_path)
