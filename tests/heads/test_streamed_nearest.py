"""Rows that come in blocks, against a full sort in float64."""

import numpy as np
import pytest

from featcache.errors import DataError, UsageError
from featcache.heads import streamed_nearest
from featcache.heads.streamed_nearest import StreamedNearest, widened


def brute(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Cosine similarities, float64 ``[Q, M]``; 0 of rows of zeros."""
    unit = []
    for x in (query, rows):
        norms = np.linalg.norm(x.astype(np.longdouble), axis=1, keepdims=True)
        unit.append((x / np.where(norms > 0, norms, 1)).astype(float))
    return unit[0] @ unit[1].T


def test_every_float16_is_widened_as_numpy_does():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    want, got = every.astype(np.float32), widened(every)
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[finite].view(np.uint32), want[finite].view(np.uint32))
    assert np.isnan(got[~finite]).all()
    assert (~finite).sum() == 2**11


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("queries", "most"), [(1, 12), (30, 3)])
@pytest.mark.parametrize("strip", [7, 512])
def test_the_nearest_are_those_of_a_full_sort(dtype, queries, most, strip, monkeypatch):
    monkeypatch.setattr(streamed_nearest, "STRIP_ROWS", strip)
    random = np.random.default_rng(queries)
    rows, query = random.normal(size=(400, 20)).astype(dtype), random.normal(size=(queries, 20))
    numbers = random.permutation(1000)[:400]
    hidden = np.where(np.arange(queries) % 2, -1, numbers[np.arange(queries)])
    found = StreamedNearest(query, most, hidden)
    for part in np.split(np.arange(400), [1, 60, 310]):
        found.add(numbers[part], rows[part])
    near = brute(rows, query)
    near[hidden[:, None] == numbers] = -np.inf
    order = np.argsort(-near, axis=1)[:, :most]
    np.testing.assert_array_equal(found.found, numbers[order])
    np.testing.assert_allclose(found.similarity, np.take_along_axis(near, order, axis=1), atol=1e-6)


def test_rows_that_float32_cannot_square_keep_their_direction():
    directions = np.random.default_rng(0).normal(size=(6, 8))
    rows = (directions * 10.0 ** np.array([[-30], [-20], [0], [18], [25], [35]])).astype(np.float32)
    found = StreamedNearest(rows[4:5], 6)
    found.add(np.arange(6), rows)
    near = brute(rows, rows[4:5])
    np.testing.assert_allclose(found.similarity, np.sort(near)[:, ::-1], atol=1e-6)
    assert found.found[0, 0] == 4


def test_a_row_of_zeros_is_similar_to_nothing_and_of_equal_rows_the_first_stands_first():
    rows = np.array([[0, 0], [1, 0], [0, 0], [1, 0]], np.float16)
    found = StreamedNearest(np.array([[2.0, 0.0], [0.0, 0.0]]), 5)
    found.add(np.arange(4), rows)
    assert found.found.tolist() == [[1, 3, 0, 2, -1], [0, 1, 2, 3, -1]]
    assert found.similarity.tolist() == [[1, 1, 0, 0, -np.inf], [0, 0, 0, 0, -np.inf]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_not_finite_is_named(bad, dtype):
    rows = np.ones((4, 3), dtype)
    rows[2, 1] = bad
    with pytest.raises(DataError, match="row 72 of the rows holds NaN or infinity"):
        StreamedNearest(np.ones((1, 3)), 2).add(np.arange(70, 74), rows)
    with pytest.raises(DataError, match="row 2 of the queries holds NaN or infinity"):
        StreamedNearest(rows, 2)


def test_another_width_is_refused():
    with pytest.raises(UsageError, match=r"rows \(1, 4\) and queries \(1, 3\): expected the same width"):
        StreamedNearest(np.ones((1, 3)), 2).add(np.arange(1), np.ones((1, 4), np.float32))
