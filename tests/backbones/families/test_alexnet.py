"""AlexNet beside torchvision."""

import pytest
from helpers.golden import assert_equals_golden, assert_mapping_is_strict


def test_alexnet_without_its_top_equals_torchvision(tmp_path):
    assert_equals_golden("alexnet.tv_in1k", tmp_path, without=r"classifier\..*")


# Most of its time goes into a quarter of a gigabyte for the dense layers.
@pytest.mark.slow
def test_alexnet_equals_torchvision(tmp_path):
    assert_equals_golden("alexnet.tv_in1k", tmp_path, uncovered=["flatten"])


@pytest.mark.slow
def test_mapping_is_strict(tmp_path):
    assert_mapping_is_strict("alexnet.tv_in1k", tmp_path, without=r"classifier\..*")
