"""Four devices compute what one does: features, predictions, sweeps and heads; and a chosen one computes alone.

Of fine-tuning: ``tests/finetuning/test_devices.py``.
"""

import numpy as np
import pytest
from helpers.four_devices import computed


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> dict[str, np.ndarray]:
    return computed("photos", tmp_path_factory.mktemp("photos"))


def test_batches_of_photos_are_shared_out_over_the_devices_that_are_chosen(photos):
    assert {tuple(each) for each in photos["four/devices"].tolist()} == {(0, 1, 2, 3)}
    assert {tuple(each) for each in photos["one/devices"].tolist()} == {(0,)}
    assert {tuple(each) for each in photos["third/devices"].tolist()} == {(2,)}


@pytest.mark.parametrize("of", ["map", "views", "tight", "probabilities"])
def test_features_and_predictions_are_those_of_one_device(photos, of):
    """Of batches of 6, of 5 images with 3 views each, of batches of 18 halved twice where memory runs out."""
    assert np.ptp(photos[f"one/{of}"]) > 0.1
    # The programs differ in the width of a batch alone, whose sums XLA may take in another order.
    np.testing.assert_allclose(photos[f"four/{of}"], photos[f"one/{of}"], rtol=1e-5, atol=1e-5)


def test_a_chosen_device_computes_what_the_first_does(photos):
    np.testing.assert_array_equal(photos["third/map"], photos["one/map"])


def test_a_sweep_of_seven_heads_over_four_devices_is_that_of_one(tmp_path):
    found = computed("swept", tmp_path)
    assert (max(found["four/devices"]), found["one/devices"].tolist()) == (4, [])
    assert found["four/order"].tolist() == found["one/order"].tolist()
    # Two heads a device in the place of seven are a product of other shape, whose sums XLA may take in another order.
    for name in ("losses", "best kernel", "best bias"):
        np.testing.assert_allclose(found[f"four/{name}"], found[f"one/{name}"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_seven_heads_over_four_devices_are_those_of_one(tmp_path):
    found = computed("heads", tmp_path)
    cases = {tuple(name.split("/")[1:]) for name in found if name.startswith("one/")}
    assert {case for case, _ in cases} == {"with all", "streamed", "streamed folds", "logistic"}
    for case, value in sorted(cases):
        four, one = (found[f"{devices}/{case}/{value}"] for devices in ("four", "one"))
        if value == "devices":
            # 12,000 bytes hold few heads at a time, which have no use for more devices.
            assert (int(four) > 1, int(one)) == (True, 1), case
        else:
            # As above, over some hundred steps of descent.
            np.testing.assert_allclose(four, one, rtol=1e-3, atol=1e-4, err_msg=f"{case}: {value}")
