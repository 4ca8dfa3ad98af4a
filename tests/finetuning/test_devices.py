"""Batches shared out over several devices train like batches on one."""

import numpy as np
import pytest
from helpers.four_devices import computed


@pytest.mark.slow
def test_four_devices_train_like_one(tmp_path):
    found = computed("finetuning", tmp_path)
    for case in ("uneven", "even"):
        assert set(found[f"four/devices of {case}"].tolist()) == {4}
        assert set(found[f"one/devices of {case}"].tolist()) == {1}
        names = [name for name in found if name.startswith(f"one/{case}/")]
        assert len(names) == (12 if case == "uneven" else 8)
        for name in names:
            own = name.removeprefix("one/")
            assert np.abs(found[name] - found[f"start/{own}"]).max() > 1e-3, "it was trained"
            # Batches of 5 are padded to 8 with rows of zeros, which would change means, variances and mixup's pairs by
            # far more than this; sums over a batch are taken in another order.
            np.testing.assert_allclose(found[f"four/{own}"], found[name], rtol=1e-4, atol=1e-5, err_msg=own)
