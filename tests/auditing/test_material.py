"""What an audit sees of a cache: names, labels in words, one vector for each photo."""

from pathlib import Path

import numpy as np
import pytest
from helpers.feature_caches import feature_cache

from featcache.auditing.material import Audited
from featcache.errors import DataError


def test_rows_have_names_labels_and_vectors(tmp_path: Path) -> None:
    features = np.arange(24, dtype=np.float32).reshape(6, 4)
    colours = np.ones((6, 54), np.float32)
    splits = ["train"] * 4 + ["test"] * 2
    cache = feature_cache(tmp_path / "a.h5", features, [0, 1, 2, 0, 1, 2], splits, statistics=colours)
    seen = Audited(cache, rows=np.array([5, 1, 2]))
    assert list(seen.rows) == [1, 2, 5]
    assert (seen.ids, seen.splits) == (
        ("train/1.jpg", "train/2.jpg", "test/5.jpg"),
        ("train", "train", "test"),
    )
    assert [seen.label_of(place) for place in range(3)] == ["bee", "cat", "cat"]
    np.testing.assert_array_equal(seen.vectors(slice(1, 3)), features[[2, 5]])
    np.testing.assert_array_equal(seen.vectors(np.array([2, 0])), features[[5, 1]])
    assert seen.statistics(slice(None)).shape == (3, 54)
    np.testing.assert_array_equal(seen.sha256, cache.sha256[[1, 2, 5]])


def test_a_map_is_averaged_over_its_places(tmp_path: Path) -> None:
    maps = np.arange(2 * 2 * 2 * 3, dtype=np.float32).reshape(2, 2, 2, 3)
    seen = Audited(feature_cache(tmp_path / "a.h5", maps, [0, 1], ["train"] * 2))
    np.testing.assert_allclose(seen.vectors(slice(None)), maps.mean(axis=(1, 2)))
    assert seen.statistics(slice(None)) is None


@pytest.mark.parametrize(
    ("task", "labels", "told"),
    [
        ("answers", [[1, 0, 1], [0, 0, 0]], ["ant, cat", ""]),
        ("numbers", [[1.5, 2, 3], [0, 0, -1]], ["ant 1.5, bee 2, cat 3", "ant 0, bee 0, cat -1"]),
    ],
)
def test_labels_and_numbers_in_words(tmp_path: Path, task: str, labels: list, told: list[str]) -> None:
    cache = feature_cache(tmp_path / "a.h5", np.ones((2, 3), np.float32), labels, ["train"] * 2, task=task)
    seen = Audited(cache)
    assert [seen.label_of(place) for place in range(2)] == told
    assert (seen.labels.dtype == bool) == (task == "answers")


def test_rows_that_are_not_finite_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.ones((3, 2), np.float32)
    cache = feature_cache(tmp_path / "a.h5", features, [0, 1, 2], ["train"] * 3)
    # A writer refuses such rows; caches by earlier versions may hold them.
    spoilt = np.array([[1, 1], [np.nan, 1], [1, 1]], np.float32)
    monkeypatch.setattr(cache, "features", lambda rows, layer: spoilt[rows])
    with pytest.raises(DataError, match=r"1 of 3 rows of .*hold NaN or infinity \(train/1\.jpg\)"):
        Audited(cache).vectors(slice(None))
