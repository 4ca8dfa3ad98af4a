"""The code on ``docs/reference/cache-format.md`` runs, and what it says of the bytes is so."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.small_caches import small

from featcache.cache.layout import FURTHER_COLUMNS, ROW_COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cache-format.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def want():
    return small()


def test_the_two_line_read(want, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    want.publish(Path("flowers-efficientnet_lite0.h5"))
    names: dict = {}
    exec(BLOCKS[0], names)
    present = [row for row in range(len(want.rows)) if row not in want.quarantined]
    np.testing.assert_array_equal(names["features"][present], want.features["pool"][present])
    assert np.isnan(names["features"][list(want.quarantined)]).all()
    assert names["labels"].tolist() == want.rows.labels.tolist()


def test_the_reader_that_checks_everything(want, tmp_path):
    path = want.publish(tmp_path / "a.h5").path
    names: dict = {}
    exec(BLOCKS[1], names)
    present = [row for row in range(len(want.rows)) if row not in want.quarantined]
    for layer, values in want.features.items():
        features, labels, ids = names["read"](path, layer)
        np.testing.assert_array_equal(features, values[present])
        assert labels.tolist() == want.rows.labels[present].tolist()
        assert ids[1] == b"train/rose/caf\xe9.jpg"
    data = bytearray(path.read_bytes())
    for position in (200, 4200, data.index(b"train/daisy/003"), data.index(values[5].tobytes()) + 3):
        damaged = data.copy()
        damaged[position] ^= 1
        (tmp_path / "b.h5").write_bytes(damaged)
        with pytest.raises((AssertionError, StopIteration)):
            names["read"](tmp_path / "b.h5", layer)


def test_every_column_is_on_the_page():
    text = PAGE.read_text()
    assert all(f"`rows/{name}`" in text for name in ("id", *ROW_COLUMNS, *FURTHER_COLUMNS))
